"""Number formats: which values a code can stand for, in the scaled domain."""

from quant_engine.formats.base import Format
from quant_engine.formats.block import BlockFormat
from quant_engine.formats.codebook import NF4, Codebook, power_of_two
from quant_engine.formats.fixed import FixedPointFormat
from quant_engine.formats.floating import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E8M0,
    FP16,
    FP32,
    TF32,
    FloatFormat,
)
from quant_engine.formats.integer import IntFormat
from quant_engine.formats.learned import KMeans, Quantiles, ScalarCodebook

FORMATS: dict[str, type] = {
    "IntFormat": IntFormat,
    "FixedPointFormat": FixedPointFormat,
    "FloatFormat": FloatFormat,
    "Codebook": Codebook,
    "BlockFormat": BlockFormat,
    "KMeans": KMeans,
    "Quantiles": Quantiles,
}

__all__ = [
    "BF16",
    "E2M1",
    "E2M3",
    "E3M2",
    "E4M3",
    "E5M2",
    "E8M0",
    "FORMATS",
    "FP16",
    "FP32",
    "NF4",
    "TF32",
    "BlockFormat",
    "Codebook",
    "FixedPointFormat",
    "FloatFormat",
    "Format",
    "IntFormat",
    "KMeans",
    "Quantiles",
    "ScalarCodebook",
    "power_of_two",
]
