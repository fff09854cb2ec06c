"""Integer-only inference: a frozen plan becomes a list of integer steps, and runs without a float on the way."""

from quant_engine.integer_only.agreement import WAYS, Agreement, agreeing, agreement, integer_accuracy
from quant_engine.integer_only.compiling import compile_plan
from quant_engine.integer_only.explaining import CAUSES, Difference
from quant_engine.integer_only.fixed_point import fixed_point
from quant_engine.integer_only.following import OutputPixel, Requantized, follow
from quant_engine.integer_only.operations import Operations, count_operations
from quant_engine.integer_only.program import IntegerProgram
from quant_engine.integer_only.simulating import with_integer_bias
from quant_engine.integer_only.steps import Accumulator, Bounds, bits_of

__all__ = [
    "CAUSES",
    "WAYS",
    "Accumulator",
    "Agreement",
    "Bounds",
    "Difference",
    "IntegerProgram",
    "Operations",
    "OutputPixel",
    "Requantized",
    "agreeing",
    "agreement",
    "bits_of",
    "compile_plan",
    "count_operations",
    "fixed_point",
    "follow",
    "integer_accuracy",
    "with_integer_bias",
]
