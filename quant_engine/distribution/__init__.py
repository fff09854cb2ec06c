"""Statistics of a tensor, taken once, from which the error of any quantizer follows without touching it again."""

from quant_engine.distribution.distribution import Distribution
from quant_engine.distribution.scale_search import MOST_REACH
from quant_engine.distribution.uniform import UniformFormat
from quant_engine.distribution.weighted import WeightedValues

__all__ = ["MOST_REACH", "Distribution", "UniformFormat", "WeightedValues"]
