"""Files that other tools read: a target each, with what it cannot say and what its own reader makes of it."""

from quant_engine.export.base import Export, Exporter, Finding, Severity, Verification
from quant_engine.export.table import EXPORTERS

__all__ = ["EXPORTERS", "Export", "Exporter", "Finding", "Severity", "Verification"]
