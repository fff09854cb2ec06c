"""Compensation for what rounding loses: algorithms on arrays and small torch modules, without a network's wiring."""

from quant_engine.compensation.gptq import gptq
from quant_engine.compensation.layer import layer_error

__all__ = ["gptq", "layer_error"]
