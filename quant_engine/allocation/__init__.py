"""Which choice each layer gets, so that the costs sum up to the least under a budget of sizes."""

from quant_engine.allocation.exact import allocate
from quant_engine.allocation.front import pareto
from quant_engine.allocation.greedy import greedy
from quant_engine.allocation.problem import Allocation

__all__ = ["Allocation", "allocate", "greedy", "pareto"]
