"""What a tensor's values are like, in a few numbers: why it is hard to quantize, though not how much it matters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array

BLOCK = 1 << 20  # values that are float64 at a time


@dataclass(frozen=True)
class TensorStatistics:
    """Numbers of a tensor, over all its values.

    Attributes:
        min: the least value.
        max: the greatest value.
        sigma: the standard deviation σ.
        kurtosis: E[(x − μ)⁴]/σ⁴: 3 for a Gaussian, more with outliers; 0 where all values are the same.
        max_sigmas: the largest magnitude in standard deviations; 0 where all values are the same.
        zeros: share of values that are exactly 0.
        power: the mean square.
    """

    min: float
    max: float
    sigma: float
    kurtosis: float
    max_sigmas: float
    zeros: float
    power: float


def tensor_statistics(x: Float32Array) -> TensorStatistics:
    """Return the statistics of finite values, in float64.

    Raises:
        QuantError: for a tensor without values.

    Example:
        >>> tensor_statistics(np.array([-1, 1, -1, 1], np.float32))
        TensorStatistics(min=-1.0, max=1.0, sigma=1.0, kurtosis=1.0, max_sigmas=1.0, zeros=0.0, power=1.0)
    """
    if not x.size:
        raise QuantError(f"x of shape {x.shape} has no values; give a tensor with some")
    flat = x.reshape(-1)
    low, high, mean = float(flat.min()), float(flat.max()), float(flat.mean(dtype=np.float64))
    second = fourth = 0.0
    for start in range(0, flat.size, BLOCK):
        squares = np.square(flat[start : start + BLOCK].astype(np.float64) - mean)
        second += float(squares.sum())
        fourth += float(np.dot(squares, squares))
    variance = second / flat.size if low < high else 0.0
    sigma = math.sqrt(variance)
    return TensorStatistics(
        min=low,
        max=high,
        sigma=sigma,
        kurtosis=fourth / flat.size / variance**2 if variance**2 else 0.0,
        max_sigmas=max(-low, high) / sigma if sigma else 0.0,
        zeros=1 - int(np.count_nonzero(flat)) / flat.size,
        power=second / flat.size + mean**2,
    )
