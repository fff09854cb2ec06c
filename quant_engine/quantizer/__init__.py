"""One model of quantization: spec (how) → fit → quantizer (with what numbers) → codes, values, error."""

from quant_engine.quantizer.fitting import dequantize, fake_quantize, fit, fit_blocks, measure_each, quantize
from quant_engine.quantizer.in_order import measure_in_order
from quant_engine.quantizer.ranges import block_ranges, edit_ranges, ranges_of_blocks
from quant_engine.quantizer.report import ErrorReport, measure
from quant_engine.quantizer.results import QuantizedTensor, Quantizer
from quant_engine.quantizer.spec import QuantizerSpec
from quant_engine.quantizer.storage import Storage

__all__ = [
    "ErrorReport",
    "QuantizedTensor",
    "Quantizer",
    "QuantizerSpec",
    "Storage",
    "block_ranges",
    "dequantize",
    "edit_ranges",
    "fake_quantize",
    "fit",
    "fit_blocks",
    "measure",
    "measure_each",
    "measure_in_order",
    "quantize",
    "ranges_of_blocks",
]
