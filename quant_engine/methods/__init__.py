"""Quantizing a network: every method declares what it needs, goes in stages, and ends with a frozen plan."""

from quant_engine.methods.data_free import batch_norm_ranges, gaussian_images, norm_moments, synthetic_images
from quant_engine.methods.layer_by_layer import layer_hessian
from quant_engine.methods.pairs import Pair, scaling_pairs
from quant_engine.methods.rounding import uniform_plan
from quant_engine.methods.stages import Method, MethodProgress, Need, Setting
from quant_engine.methods.table import METHODS, available, compensate, compensated

__all__ = [
    "METHODS",
    "Method",
    "MethodProgress",
    "Need",
    "Pair",
    "Setting",
    "available",
    "batch_norm_ranges",
    "compensate",
    "compensated",
    "gaussian_images",
    "layer_hessian",
    "norm_moments",
    "scaling_pairs",
    "synthetic_images",
    "uniform_plan",
]
