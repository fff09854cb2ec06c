"""Quantization of neural-network tensors: specs, fitted quantizers, exact error, and whole networks.

>>> import quant_engine as qe
>>> spec = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0), clipping=qe.MinMSE())
>>> qe.quantize([[0.1, -0.3], [2.0, 1.0]], spec).dequantize().shape
(2, 2)
"""

from quant_engine.clipping import ACIQ, CLIPPINGS, FixedRange, MinKL, MinMax, MinMSE, MovingAverage, Percentile
from quant_engine.distribution import Distribution
from quant_engine.errors import QuantError
from quant_engine.formats import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E8M0,
    FORMATS,
    FP16,
    FP32,
    NF4,
    TF32,
    BlockFormat,
    Codebook,
    FixedPointFormat,
    FloatFormat,
    IntFormat,
    KMeans,
    Quantiles,
    power_of_two,
)
from quant_engine.granularity import (
    GRANULARITIES,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerSample,
    PerTensor,
    PerToken,
)
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import (
    ErrorReport,
    QuantizedTensor,
    Quantizer,
    QuantizerSpec,
    Storage,
    dequantize,
    fake_quantize,
    fit,
    measure,
    quantize,
)

__all__ = [
    "ACIQ",
    "BF16",
    "CLIPPINGS",
    "E2M1",
    "E2M3",
    "E3M2",
    "E4M3",
    "E5M2",
    "E8M0",
    "FORMATS",
    "FP16",
    "FP32",
    "GRANULARITIES",
    "NF4",
    "TF32",
    "BlockFormat",
    "Codebook",
    "Distribution",
    "ErrorReport",
    "FixedPointFormat",
    "FixedRange",
    "FloatFormat",
    "IntFormat",
    "KMeans",
    "LayerPlan",
    "MinKL",
    "MinMSE",
    "MinMax",
    "MovingAverage",
    "PerChannel",
    "PerChannelGroup",
    "PerGroup",
    "PerSample",
    "PerTensor",
    "PerToken",
    "Percentile",
    "QuantError",
    "Quantiles",
    "QuantizationPlan",
    "QuantizedTensor",
    "Quantizer",
    "QuantizerSpec",
    "Storage",
    "dequantize",
    "fake_quantize",
    "fit",
    "measure",
    "power_of_two",
    "quantize",
]
