"""Integer-only inference: a frozen plan becomes a list of integer steps, and runs without a float on the way."""

from quant_engine.integer_only.accumulator import Accumulator, Bounds, bits_of
from quant_engine.integer_only.agreement import WAYS, LabelAgreement, agreeing, agreement, integer_accuracy
from quant_engine.integer_only.attribution import CAUSES, Difference
from quant_engine.integer_only.compiling import compile_plan
from quant_engine.integer_only.fixed_point import fixed_point
from quant_engine.integer_only.operations import Operations, count_operations
from quant_engine.integer_only.output_pixel import OutputPixel, Requantized
from quant_engine.integer_only.program import IntegerProgram
from quant_engine.integer_only.simulating import with_integer_bias
from quant_engine.integer_only.trace import trace_output

__all__ = [
    "CAUSES",
    "WAYS",
    "Accumulator",
    "Bounds",
    "Difference",
    "IntegerProgram",
    "LabelAgreement",
    "Operations",
    "OutputPixel",
    "Requantized",
    "agreeing",
    "agreement",
    "bits_of",
    "compile_plan",
    "count_operations",
    "fixed_point",
    "integer_accuracy",
    "trace_output",
    "with_integer_bias",
]
