"""Statistics of a tensor, taken once, from which the error of any quantizer follows without touching it again."""

from quant_engine.distribution.centroids import MAX_LEVELS, optimal_codebooks, quantile_codebooks
from quant_engine.distribution.distribution import Distribution
from quant_engine.distribution.lloyd import LloydStep, linear_start, lloyd_steps, plus_plus_start, quantile_start
from quant_engine.distribution.scale_search import MAX_REACH
from quant_engine.distribution.uniform import UniformFormat
from quant_engine.distribution.weighted import WeightedValues

__all__ = [
    "MAX_LEVELS",
    "MAX_REACH",
    "Distribution",
    "LloydStep",
    "UniformFormat",
    "WeightedValues",
    "linear_start",
    "lloyd_steps",
    "optimal_codebooks",
    "plus_plus_start",
    "quantile_codebooks",
    "quantile_start",
]
