"""Compensation for what rounding loses: algorithms on arrays and small torch modules, without a network's wiring."""

from quant_engine.compensation.adaround import AdaRoundSetting, AdaRoundStep, adaround, adaround_steps
from quant_engine.compensation.bias import bias_correction, clipped_normal_mean
from quant_engine.compensation.equalization import absorb, absorbable, equalization, equalize
from quant_engine.compensation.float_layer import FloatLayer
from quant_engine.compensation.gptq import gptq
from quant_engine.compensation.layer import layer_error, reached_weight
from quant_engine.compensation.learned_step import gradient_factor, initial_step, slopes
from quant_engine.compensation.rotation import RotatedTensor, hadamard, hadamard_quantize
from quant_engine.compensation.scaling import awq, smoothquant

__all__ = [
    "AdaRoundSetting",
    "AdaRoundStep",
    "FloatLayer",
    "RotatedTensor",
    "absorb",
    "absorbable",
    "adaround",
    "adaround_steps",
    "awq",
    "bias_correction",
    "clipped_normal_mean",
    "equalization",
    "equalize",
    "gptq",
    "gradient_factor",
    "hadamard",
    "hadamard_quantize",
    "initial_step",
    "layer_error",
    "reached_weight",
    "slopes",
    "smoothquant",
]
