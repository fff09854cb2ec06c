"""Blocks of fitted quantizers, such as a file brings: each alone, and with another range while all others stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from explorer.tuning.layer_setting import Range, block_ranges_of
from quant_engine import FixedRange, PerTensor, QuantizedTensor, Quantizer, QuantizerSpec, fit
from quant_engine.inputs import Float32Array

Fitted = Quantizer | QuantizedTensor


def of_block(fitted: Fitted, block: int) -> Quantizer:
    """Return the quantizer of one block alone, with its scale and zero point to the bit."""
    _, *ends = block_ranges_of(fitted)[block]
    place = np.unravel_index(block, fitted.scale.shape)
    one = (1,) * fitted.scale.ndim
    return Quantizer(
        _alone(fitted.spec, *ends), fitted.scale[place].reshape(one), fitted.zero_point[place].reshape(one)
    )


def with_block(fitted: Fitted, values: Float32Array, block: int, ends: Range) -> Fitted:
    """Return a quantizer with another range of one block, whose values are given; codes of all others stay."""
    found, place = fit(values, _alone(fitted.spec, *ends)), np.unravel_index(block, fitted.scale.shape)
    scale, zero_point = fitted.scale.copy(), fitted.zero_point.copy()
    scale[place], zero_point[place] = found.scale.item(), found.zero_point.item()
    if isinstance(fitted, Quantizer):
        return Quantizer(fitted.spec, scale, zero_point)
    codes = fitted.codes.copy()
    codes[fitted.spec.granularity.blocks(codes.shape).slices(block)] = found.encode(values).codes
    return QuantizedTensor(codes, scale, zero_point, fitted.spec)


def _alone(spec: QuantizerSpec, lo: float, hi: float) -> QuantizerSpec:
    return replace(spec, granularity=PerTensor(), clipping=FixedRange(lo, hi))
