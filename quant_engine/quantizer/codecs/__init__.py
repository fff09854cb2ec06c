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
from quant_engine.quantizer.codecs.affine import AffineCodec
from quant_engine.quantizer.codecs.base import Codec, Fitted, Parameters, grid_of
from quant_engine.quantizer.codecs.codebooks import ScalarCodebookCodec
from quant_engine.quantizer.codecs.ggml import GgmlCodec
from quant_engine.quantizer.codecs.tables import FloatCodec, TableCodec
from quant_engine.quantizer.codecs.vectors import VectorCodec

CODECS: dict[type, Callable[[Any, str], Codec]] = {
    IntFormat: AffineCodec,
    FixedPointFormat: AffineCodec,
    FloatFormat: FloatCodec,
    Codebook: TableCodec,
    BlockFormat: GgmlCodec,
    KMeans: ScalarCodebookCodec,
    Quantiles: ScalarCodebookCodec,
    VectorCodebook: VectorCodec,
    ProductCodebook: VectorCodec,
}


@lru_cache(maxsize=256)
def codec_of(format: Any, rounding: str) -> Codec:
    """Return the codec of a format, which a spec has checked to be of one of these types."""
    return CODECS[type(format)](format, rounding)


__all__ = ["CODECS", "Codec", "Fitted", "Parameters", "ScalarCodebookCodec", "codec_of", "grid_of"]
