"""What each number format does with a tensor: fit, codes, values, error, storage."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from quant_engine.formats import (
    BlockFormat,
    Codebook,
    FixedPointFormat,
    FloatFormat,
    IntFormat,
    KMeans,
    ProductCodebook,
    Quantiles,
    VectorCodebook,
)
from quant_engine.quantizer.codings.affine import AffineCoding
from quant_engine.quantizer.codings.base import Coding, Fitted, Parameters, grid_of
from quant_engine.quantizer.codings.codebooks import ScalarCodebookCoding
from quant_engine.quantizer.codings.ggml import GgmlCoding
from quant_engine.quantizer.codings.tables import FloatCoding, TableCoding
from quant_engine.quantizer.codings.vectors import VectorCoding

CODINGS: dict[type, Callable[[Any, str], Coding]] = {
    IntFormat: AffineCoding,
    FixedPointFormat: AffineCoding,
    FloatFormat: FloatCoding,
    Codebook: TableCoding,
    BlockFormat: GgmlCoding,
    KMeans: ScalarCodebookCoding,
    Quantiles: ScalarCodebookCoding,
    VectorCodebook: VectorCoding,
    ProductCodebook: VectorCoding,
}


@lru_cache(maxsize=256)
def coding_of(format: Any, rounding: str) -> Coding:
    """Return the coding of a format, which a spec has checked to be of one of these types."""
    return CODINGS[type(format)](format, rounding)


__all__ = ["CODINGS", "Coding", "Fitted", "Parameters", "ScalarCodebookCoding", "coding_of", "grid_of"]
