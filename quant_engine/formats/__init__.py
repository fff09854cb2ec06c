"""Number formats: which values a code can stand for, in the scaled domain."""

from quant_engine.formats.base import Format
from quant_engine.formats.integer import IntFormat

FORMATS: dict[str, type] = {"IntFormat": IntFormat}

__all__ = ["FORMATS", "Format", "IntFormat"]
