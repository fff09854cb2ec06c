"""What a tensor's values are like, in a few numbers: why it is hard to quantize, though not how much it matters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array
from quant_engine.kernels.affine import block_extremes
from quant_engine.kernels.describe import count_codes, count_even, count_pairs, shifted_moments
from quant_engine.kernels.parallel import over_ranges
from quant_engine.quantizer import Quantizer

AT_ONCE = 1 << 16  # values, which stay in a cache of the processor from one kernel to the next
CODED_AT_ONCE = 3 << 18  # values, and their codes: an even number, and fewer than are shared out among threads
PAIRED = 1 << 18  # codes of a byte each from which counting two at once pays for reading 65,536 counts
SAMPLE, MOMENTS = 1 << 12, 5  # values whose mean is near that of all; what `shifted_moments` sums
LANES = 4  # of `count_codes`


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
    return described(np.ascontiguousarray(x).reshape(1, -1))[0]


def described(x: Float32Array) -> tuple[TensorStatistics, Float32Array]:
    """Return the statistics of a matrix of finite values, and the least and the greatest of each row, (rows, 2).

    The values are read once: moments are taken off the mean of a sample, and then off their own.

    Raises:
        QuantError: for a matrix without values.

    Example:
        >>> described(np.array([[-1, 1], [3, 5]], np.float32))[1].tolist()
        [[-1.0, 1.0], [3.0, 5.0]]
    """
    if not x.size:
        raise QuantError(f"x of shape {x.shape} has no values; give a tensor with some")
    flat, (rows, columns) = np.ascontiguousarray(x).reshape(-1), x.shape
    centre = float(np.mean(flat[:: max(flat.size // SAMPLE, 1)], dtype=np.float64))
    offsets = columns * np.arange(rows + 1)

    def found(start: int, stop: int) -> tuple[Float32Array, Float32Array, NDArray[np.float64]]:
        low, high = np.full(rows, np.inf, np.float32), np.full(rows, -np.inf, np.float32)
        sums = np.zeros(MOMENTS)
        for first in range(start, stop, AT_ONCE):
            last = min(first + AT_ONCE, stop)
            block_extremes(flat, offsets, first, last, low, high)
            sums += shifted_moments(flat, centre, first, last)
        return low, high, sums

    lows, highs, sums = zip(*over_ranges(flat.size, found), strict=True)
    ends = np.stack([np.minimum.reduce(lows), np.maximum.reduce(highs)], axis=1)
    return _statistics(float(ends[:, 0].min()), float(ends[:, 1].max()), flat.size, centre, np.sum(sums, axis=0)), ends


def _statistics(low: float, high: float, size: int, centre: float, sums: NDArray[np.float64]) -> TensorStatistics:
    """Return the statistics of values whose moments off a centre are summed."""
    off, second, third, fourth, zeros = (sums / size).tolist()
    variance = max(second - off**2, 0.0) if low < high else 0.0
    central = fourth - 4 * off * third + 6 * off**2 * second - 3 * off**4
    sigma = math.sqrt(variance)
    return TensorStatistics(
        min=low,
        max=high,
        sigma=sigma,
        kurtosis=central / variance**2 if variance**2 else 0.0,
        max_sigmas=max(-low, high) / sigma if sigma else 0.0,
        zeros=zeros,
        power=variance + (centre + off) ** 2,
    )


def extremes(x: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return the least and the greatest value of each row.

    Example:
        >>> [ends.tolist() for ends in extremes(np.array([[1, -2, 0], [5, 4, 3]], np.float32))]
        [[-2.0, 3.0], [1.0, 5.0]]
    """
    rows, columns = x.shape
    flat, offsets = np.ascontiguousarray(x).reshape(-1), columns * np.arange(rows + 1)
    parts = rows if rows > 1 else flat.size

    def found(start: int, stop: int) -> tuple[Float32Array, Float32Array]:
        low, high = np.full(rows, np.inf, np.float32), np.full(rows, -np.inf, np.float32)
        first, last = (start * columns, stop * columns) if rows > 1 else (start, stop)
        block_extremes(flat, offsets, first, last, low, high)
        return low, high

    ends = over_ranges(parts, found, flat.size)
    return np.minimum.reduce([low for low, _ in ends]), np.maximum.reduce([high for _, high in ends])


def even_histogram(x: Float32Array, bins: int, low: float, high: float) -> NDArray[np.int64]:
    """Return how many values lie in each of even bins from the least to the greatest value.

    Example:
        >>> even_histogram(np.array([0, 1, 2, 10], np.float32), 5, 0.0, 10.0).tolist()
        [2, 1, 0, 0, 1]
    """
    flat, per_unit = np.ascontiguousarray(x).reshape(-1), bins / (high - low) if high > low else 0.0

    def counted(start: int, stop: int) -> NDArray[np.int64]:
        counts = np.zeros((LANES, bins), np.int64)
        count_even(flat, low, per_unit, start, stop, counts)
        return np.asarray(counts.sum(axis=0))

    found: NDArray[np.int64] = np.sum(over_ranges(flat.size, counted), axis=0)
    return found


def occurring_codes(codes: NDArray[Any], lowest: int, highest: int) -> int:
    """Return how many different codes occur, of those from the lowest to the highest.

    Example:
        >>> occurring_codes(np.array([[-8, 3], [3, 7]], np.int8), -8, 7)
        3
    """
    return int(np.count_nonzero(code_counts(codes, lowest, highest)))


def code_counts(codes: NDArray[Any], lowest: int, highest: int) -> NDArray[np.int64]:
    """Return how often each code occurs, from the lowest to the highest.

    Example:
        >>> code_counts(np.array([[-2, 1], [1, 0]], np.int8), -2, 1).tolist()
        [1, 0, 1, 2]
    """
    flat = np.ascontiguousarray(codes).reshape(-1)

    def counted(start: int, stop: int) -> NDArray[np.int64]:
        return _tally([flat[2 * start : 2 * stop]], lowest, highest)

    found: NDArray[np.int64] = np.sum(over_ranges(-(-flat.size // 2), counted, flat.size), axis=0)
    return found


def _tally(parts: Iterable[NDArray[Any]], lowest: int, highest: int) -> NDArray[np.int64]:
    """Return how often each code occurs in all parts, each of which begins at an even address."""
    counts, pairs = np.zeros((LANES, highest - lowest + 1), np.int64), None
    for codes in parts:
        paired = codes.size & -2 if codes.itemsize == 1 and codes.size >= PAIRED else 0
        if paired:
            pairs = np.zeros((2, 1 << 16), np.uint32) if pairs is None else pairs
            count_pairs(codes[:paired].view(np.uint16), pairs)
        count_codes(codes[paired:], lowest, counts)
    found = counts.sum(axis=0)
    if pairs is not None:
        square = pairs.sum(axis=0, dtype=np.int64).reshape(256, 256)
        found += (square.sum(axis=0) + square.sum(axis=1))[np.arange(lowest, highest + 1) & 0xFF]
    return np.asarray(found)


def encoded_counts(x: Float32Array, quantizer: Quantizer) -> NDArray[np.int64]:
    """Return how often each code of a scalar format occurs in a tensor, from the lowest code to the highest.

    With one scale the codes are counted a run at a time, and never held all at once.

    Example:
        >>> from quant_engine import IntFormat, QuantizerSpec, fit
        >>> x = np.array([[-1.0, 0.1, 1.0, 0.9]], np.float32)
        >>> encoded_counts(x, fit(x, QuantizerSpec(IntFormat(2)))).tolist()
        [0, 1, 1, 2]
    """
    low, high = quantizer.spec.format.code_range
    if quantizer.scale.size > 1 or quantizer.spec.rounding != "nearest" or x.size <= CODED_AT_ONCE:
        return code_counts(quantizer.encode(x).codes, low, high)
    flat, shape = np.ascontiguousarray(x).reshape(-1), (1,) * (x.ndim - 1)

    def coded(start: int, stop: int) -> Iterator[NDArray[Any]]:
        for first in range(start, stop, CODED_AT_ONCE):
            part = flat[first : min(first + CODED_AT_ONCE, stop)]
            yield quantizer.encode(part.reshape(*shape, -1)).codes.reshape(-1)

    def counted(start: int, stop: int) -> NDArray[np.int64]:
        return _tally(coded(start, stop), low, high)

    found: NDArray[np.int64] = np.sum(over_ranges(flat.size, counted), axis=0)
    return found
