"""What each number format does with a tensor: fit, codes, values, error, storage."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from quant_engine.quantizer.codings.affine import AffineCoding
from quant_engine.quantizer.codings.base import Coding, Fitted, Parameters
from quant_engine.quantizer.codings.codebooks import ScalarCodebookCoding
from quant_engine.quantizer.codings.ggml import GgmlCoding
from quant_engine.quantizer.codings.tables import FloatCoding, TableCoding

CODINGS: dict[str, Callable[[Any, str], Coding]] = {
    "IntFormat": AffineCoding,
    "FixedPointFormat": AffineCoding,
    "FloatFormat": FloatCoding,
    "BlockFormat": GgmlCoding,
    "KMeans": ScalarCodebookCoding,
    "Quantiles": ScalarCodebookCoding,
}


@lru_cache(maxsize=256)
def coding_of(format: Any, rounding: str) -> Coding:
    """Return the coding of a format: of its values as a table, where no other one is known."""
    return CODINGS.get(type(format).__name__, TableCoding)(format, rounding)


__all__ = ["CODINGS", "Coding", "Fitted", "Parameters", "ScalarCodebookCoding", "coding_of"]
