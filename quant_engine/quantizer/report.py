"""What a reconstruction loses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Float64Array, as_float32, as_float64, raise_non_finite
from quant_engine.kernels import affine
from quant_engine.kernels.parallel import over_ranges


@dataclass(frozen=True, repr=False)
class ErrorReport:
    """Sums over all values of e = x̂ − x, from which every metric follows.

    A value outside the outermost levels by more than 2⁻²² of them, which is what rounding to float32 takes off scale
    and level, is clipped; its error counts as clipping, all other error as rounding. GGUF's blocks clip nothing within
    their levels before float16 rounds these.
    """

    count: int
    squared_error: float
    clipped_squared_error: float
    clipped: int
    power_sum: float
    product_sum: float
    max_abs: float

    def __repr__(self) -> str:
        """Return what is asked for first: MSE, SQNR, how much is clipped, and the greatest error."""
        return (
            f"ErrorReport(count={self.count}, mse={self.mse:.4g}, sqnr_db={self.sqnr_db:.2f}, "
            f"clipped_share={self.clipped_share:.4g}, clipping_mse={self.clipping_mse:.4g}, max_abs={self.max_abs:.4g})"
        )

    def __add__(self, other: ErrorReport) -> ErrorReport:
        """Return the report on the values of both.

        Example:
            >>> (measure([0.0, 1.0], [0.0, 1.5]) + measure([4.0], [3.0])).mse == measure([0.0, 1, 4], [0, 1.5, 3]).mse
            True
        """
        ours, theirs = vars(self), vars(other)
        return ErrorReport(**{name: (max if name == "max_abs" else sum)((ours[name], theirs[name])) for name in ours})

    @property
    def mse(self) -> float:
        """Mean squared error, Σe²/n (0 for an empty tensor)."""
        return self.squared_error / self.count if self.count else 0.0

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return math.sqrt(self.mse)

    @property
    def clipping_mse(self) -> float:
        """The part of `mse` from clipped values."""
        return self.clipped_squared_error / self.count if self.count else 0.0

    @property
    def rounding_mse(self) -> float:
        """The part of `mse` from all other values."""
        return max(self.mse - self.clipping_mse, 0.0)

    @property
    def clipped_share(self) -> float:
        """Share of the values that are clipped."""
        return self.clipped / self.count if self.count else 0.0

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise, 10·log10(Σx²/Σe²) in dB; infinite without error."""
        if self.squared_error == 0.0:
            return math.inf
        return 10.0 * math.log10(self.power_sum / self.squared_error) if self.power_sum else -math.inf

    @property
    def cosine(self) -> float:
        """Cosine of the angle between x and x̂; 1 if both are zero, 0 if one is."""
        reconstructed = self.power_sum + 2.0 * self.product_sum + self.squared_error
        if self.power_sum == 0.0 or reconstructed <= 0.0:
            return 1.0 if self.squared_error == 0.0 else 0.0
        cosine = (self.power_sum + self.product_sum) / math.sqrt(self.power_sum * reconstructed)
        return min(max(cosine, -1.0), 1.0)


def report_from_totals(parts: list[Float64Array], count: int) -> ErrorReport | None:
    """Join the totals of a kernel's parts; None where some value was not finite."""
    totals = np.array(parts)
    sums = totals.sum(axis=0)
    if not np.isfinite(sums).all():
        return None
    return ErrorReport(
        count=count,
        squared_error=float(sums[affine.SQUARED_ERROR]),
        clipped_squared_error=float(sums[affine.CLIPPED_SQUARED_ERROR]),
        clipped=int(sums[affine.CLIPPED]),
        power_sum=float(sums[affine.POWER]),
        product_sum=float(sums[affine.PRODUCT]),
        max_abs=float(totals[:, affine.MAX_ERROR].max(initial=0.0)),
    )


def measure(x: Any, x_hat: Any, clip: tuple[ArrayLike, ArrayLike] | None = None) -> ErrorReport:
    """Compare a reconstruction with its original.

    `clip` = (lo, hi), the outermost levels, splits the error: values outside by more than 2⁻²² of them are clipped.
    Either may be an array that broadcasts against `x`, one range a channel for example, or infinite. Without `clip`
    nothing counts as clipped.

    Raises:
        QuantError: for shapes that differ, values that are not finite, and a `clip` that is no pair of numbers in order
            or does not broadcast.

    Example:
        >>> report = measure([0.0, 1.0, 4.0], [0.0, 1.5, 3.0], clip=(0.0, 3.0))
        >>> report.clipped, report.clipping_mse, report.rounding_mse
        (1, 0.3333333333333333, 0.08333333333333337)
    """
    original, reconstructed = as_float32(x), as_float32(x_hat, "x_hat")
    if original.shape != reconstructed.shape:
        raise QuantError(f"x has shape {original.shape} and x_hat {reconstructed.shape}; compare equal shapes")
    lows, highs = _bounds((-np.inf, np.inf) if clip is None else clip, original.shape)
    flat, flat_hat = (np.ascontiguousarray(a).reshape(-1) for a in (original, reconstructed))
    scalar = lows.ndim == 0 and highs.ndim == 0
    bounds = (np.float32(lows), np.float32(highs)) if scalar else (np.float32(-np.inf), np.float32(np.inf))

    def work(start: int, stop: int) -> Float64Array:
        totals = np.zeros(affine.TOTALS)
        affine.compare(flat[start:stop], flat_hat[start:stop], *bounds, totals)
        return totals

    report = report_from_totals(over_ranges(flat.size, work), flat.size)
    if report is None:
        for array, name in ((original, "x"), (reconstructed, "x_hat")):
            if not np.isfinite(array).all():
                raise_non_finite(array, name)
    assert report is not None
    return report if scalar else _with_clipping(report, original, reconstructed, lows, highs)


def _bounds(clip: Any, shape: tuple[int, ...]) -> tuple[Float32Array, Float32Array]:
    """Return the bounds of clipping, which lie outside the levels by what rounding to float32 takes off them."""
    if not isinstance(clip, tuple | list) or len(clip) != 2:
        raise QuantError(f"clip={clip!r} is not a pair; give (lo, hi), the outermost levels")
    low, high = as_float64(clip[0], "clip's lo"), as_float64(clip[1], "clip's hi")
    try:
        in_order = np.less_equal(low, high)
        np.broadcast_to(in_order, shape)
    except ValueError as error:
        raise QuantError(
            f"clip of shapes {low.shape}, {high.shape} does not broadcast to {shape}; give one range for each index of "
            "an axis, with 1 for the other axes"
        ) from error
    if not in_order.all():
        raise QuantError(f"clip has {int((~in_order).sum())} ranges that are NaN or have lo > hi; give lo ≤ hi")
    return clipping_bounds(low, high)


def clipping_bounds(lowest: ArrayLike, highest: ArrayLike) -> tuple[Float32Array, Float32Array]:
    """Return the least and the greatest value that the outermost levels do not clip."""
    with np.errstate(over="ignore"):
        lows, highs = np.asarray(lowest).astype(np.float32), np.asarray(highest).astype(np.float32)
        slack = affine.FLOAT32_ROUNDINGS
        return np.asarray(lows - np.abs(lows) * slack), np.asarray(highs + np.abs(highs) * slack)


def _with_clipping(
    report: ErrorReport, x: Float32Array, x_hat: Float32Array, lows: Float32Array, highs: Float32Array
) -> ErrorReport:
    """Return the report with the clipped part counted against arrays of bounds."""
    outside = (x < lows) | (x > highs)
    errors = x_hat[outside].astype(np.float64) - x[outside]
    return ErrorReport(
        **{**report.__dict__, "clipped": int(outside.sum()), "clipped_squared_error": float(np.dot(errors, errors))}
    )
