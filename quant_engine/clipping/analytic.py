"""Analytic clipping: the range with the least expected error of a distribution fitted to the values."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.clipping.base import Blocks, Objective, covered
from quant_engine.distribution import UniformFormat, WeightedValues
from quant_engine.errors import QuantError
from quant_engine.inputs import LARGEST_FLOAT32, Float64Array, as_ranges
from quant_engine.kernels import moments
from quant_engine.kernels.parallel import over_ranges
from quant_engine.records import Record

LIKELIER_LAPLACE = math.sqrt(math.pi / (2.0 * math.e))  # mean |x − μ| / σ below which Laplace is the likelier


@final
@dataclass(frozen=True)
class ACIQ(Record):
    """The range μ ± α (or ±α, if symmetric) with the least expected error of a Gaussian or Laplace distribution.

    Expected error of 2^b cells of width Δ = 2α/2^b: Δ²/12 + 2 ∫ (x − α)² p(x) dx over x > α, which is least at
    α = a · σ (Gaussian; σ the standard deviation) or a · mean|x − μ| (Laplace), where a depends on b alone. It may lie
    beyond the extremes.

    Where all values have one sign, or codes are unsigned and ranges symmetric, p is the half distribution of the values
    that are not 0 (these and, for unsigned codes, negative ones cost the same at any α): σ² = mean x², or mean x. Its
    range is [0, α] with cells Δ = α/2^b, so a is that of b + 1 bits; but if signed codes are symmetric about 0, half of
    them lie where no value is, Δ = 2α/2^b, and a is that of b bits. "fit" takes, for each block, the distribution under
    which the values are likelier: Laplace where mean|x − μ| < √(π/2e) · σ.

    Values that are all equal get the range of `MinMax`.

    Raises:
        QuantError: for another distribution than "gaussian", "laplace" and "fit".

    Source: Banner et al., Post training 4-bit quantization of convolutional networks (2019), equations 5 to 12.

    Example:
        >>> from quant_engine import IntFormat
        >>> values = WeightedValues([-1.0, 1.0], [1, 1])
        >>> round(ACIQ("gaussian").range_of(values, IntFormat(4), True)[1], 6)
        2.559136
    """

    distribution: str = "gaussian"

    def __post_init__(self) -> None:
        """Check the field."""
        if not isinstance(self.distribution, str) or self.distribution not in CHOICES:
            raise QuantError(f"distribution={self.distribution!r} is none of {', '.join(CHOICES)}")

    def ranges(self, blocks: Blocks, format: UniformFormat, symmetric: bool) -> Float64Array:
        """Return the analytic range of every block."""
        lo, hi = blocks.extremes.T
        mirrored = _mirrored(lo, hi, format, symmetric)
        found = blocks.once(("spreads", mirrored.tobytes()), lambda: _spreads(blocks, mirrored))
        return np.array(
            [
                self._model(spread, one, other, format, symmetric).range
                for spread, one, other in zip(found, lo.tolist(), hi.tolist(), strict=True)
            ]
        )

    def range_of(self, values: WeightedValues, format: UniformFormat, symmetric: bool) -> tuple[float, float]:
        """Return the analytic range of the weighted values."""
        return self._model(_spread(values, format, symmetric), values.lo, values.hi, format, symmetric).range

    def objective(self, values: WeightedValues, format: UniformFormat, symmetric: bool, ranges: ArrayLike) -> Objective:
        """Return the expected squared error of the fitted distribution, or of equal values the share clipped."""
        model = self._model(_spread(values, format, symmetric), values.lo, values.hi, format, symmetric)
        if model.scale == 0.0:
            return Objective("clipped share", "", values.share_outside(covered(ranges, format, symmetric)))
        return Objective("expected squared error", "", model.errors(as_ranges(ranges)))

    def _model(self, spread: Float64Array, lo: float, hi: float, format: UniformFormat, symmetric: bool) -> _Model:
        """Return the distribution fitted to a block, and what it is asked for."""
        unsigned = symmetric and format.qmin == 0
        sides = 1 if unsigned or lo >= 0.0 or hi <= 0.0 else 2
        column = moments.SIDE_POWER if sides == 1 else moments.POWER
        sigma, deviation = math.sqrt(spread[column]), float(spread[column + 1])
        kind = self.distribution
        if kind == "fit":
            kind = "laplace" if deviation < LIKELIER_LAPLACE * sigma else "gaussian"
        return _Model(
            kind=kind,
            scale=0.0 if lo == hi else deviation if kind == "laplace" else sigma,
            centre=0.0 if symmetric or sides == 1 else float(spread[moments.MEAN]),
            bits=(format.qmax - format.qmin).bit_length(),
            sides=sides,
            negative=not unsigned and hi <= 0.0,
            signed_codes=symmetric and not unsigned,
            extremes=(lo, hi),
        )


def _spreads(blocks: Blocks, mirrored: NDArray[np.bool_]) -> Float64Array:
    """Return what the kernel writes for every block, of some the negative side."""
    values = blocks.values
    if mirrored.any():
        values = values * np.repeat(np.where(mirrored, np.float32(-1), np.float32(1)), np.diff(blocks.offsets))
    found = np.empty((blocks.count, moments.SPREADS))
    over_ranges(blocks.count, lambda a, b: moments.spreads(values, blocks.offsets, a, b, found), values.size)
    return found


def _mirrored(lo: ArrayLike, hi: ArrayLike, format: UniformFormat, symmetric: bool) -> NDArray[np.bool_]:
    """Say of which blocks only the negative side is looked at."""
    return np.asarray(hi) <= (-np.inf if symmetric and format.qmin == 0 else 0.0)


def _spread(values: WeightedValues, format: UniformFormat, symmetric: bool) -> Float64Array:
    """Return what the kernel writes for a block, of weighted values."""
    x, counts = values.values, values.counts
    side = np.maximum(-x if _mirrored(values.lo, values.hi, format, symmetric) else x, 0.0)
    above = float(counts[side > 0.0].sum()) or 1.0
    found = np.empty(moments.SPREADS)
    found[moments.MEAN] = values.mean
    found[moments.POWER] = values.sigma**2
    found[moments.DEVIATION] = np.dot(counts, np.abs(x - values.mean)) / values.total
    found[moments.SIDE_POWER] = np.dot(counts, side * side) / above
    found[moments.SIDE_MEAN] = np.dot(counts, side) / above
    return found


@dataclass(frozen=True)
class _Model:
    """A fitted distribution of `scale` about `centre`, its `sides` (one or two), and how codes cover it."""

    kind: str
    scale: float
    centre: float
    bits: int
    sides: int
    negative: bool
    signed_codes: bool
    extremes: tuple[float, float]

    @property
    def range(self) -> tuple[float, float]:
        if self.scale == 0.0:
            return self.extremes
        spared = self.sides == 1 and not self.signed_codes  # the codes that two sides would share all lie on one
        limit = max(0.5 * LARGEST_FLOAT32, *np.abs(self.extremes))  # where float32 ends
        reach = min(best_clip(self.kind, self.bits + spared) * self.scale, limit - abs(self.centre))
        if self.sides == 2 or self.signed_codes:
            return self.centre - reach, self.centre + reach
        return (-reach, 0.0) if self.negative else (0.0, reach)

    def errors(self, ranges: Float64Array) -> Float64Array:
        """Return the expected squared error of each range."""
        low, high = ranges[:, 0], ranges[:, 1]
        if self.signed_codes:
            high = np.maximum(-low, high)
            low = -high
        elif self.sides == 1:
            low, high = np.zeros(len(ranges)), -low if self.negative else high
        cells = np.square((high - low) / 2.0**self.bits) / 12.0
        beyond = np.array([BEYOND[self.kind](t) for t in ((high - self.centre) / self.scale).tolist()])
        below = beyond
        if self.sides == 2:
            below = np.array([BEYOND[self.kind](t) for t in ((self.centre - low) / self.scale).tolist()])
        return np.asarray(cells + self.scale**2 * (beyond + below))


@functools.cache
def best_clip(kind: str, bits: int) -> float:
    """Return the a that minimises a²/(3 · 4^b) + 2 ∫ (x − a)² p(x) dx over x > a, of a distribution of scale 1.

    >>> round(best_clip("gaussian", 8), 6), round(best_clip("laplace", 4), 6)
    (3.924035, 5.02864)
    """
    low, high = 0.0, 64.0
    while (middle := 0.5 * (low + high)) not in (low, high):
        if middle / (3.0 * 4.0**bits) < 2.0 * EXCESS[kind](middle):
            low = middle
        else:
            high = middle
    return low


def _gaussian_density(t: float) -> float:
    return math.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)


def _gaussian_excess(t: float) -> float:
    return _gaussian_density(t) - 0.5 * t * math.erfc(t / math.sqrt(2.0))


def _gaussian_beyond(t: float) -> float:
    return 0.5 * (1.0 + t * t) * math.erfc(t / math.sqrt(2.0)) - t * _gaussian_density(t)


def _laplace_excess(t: float) -> float:
    return 0.5 * math.exp(-abs(t)) + max(-t, 0.0)


def _laplace_beyond(t: float) -> float:
    return math.exp(-t) if t >= 0.0 else 2.0 + t * t - math.exp(t)


Integral = Callable[[float], float]
EXCESS: dict[str, Integral] = {"gaussian": _gaussian_excess, "laplace": _laplace_excess}  # ∫ (x − t) p(x) dx over x > t
BEYOND: dict[str, Integral] = {"gaussian": _gaussian_beyond, "laplace": _laplace_beyond}  # ∫ (x − t)² p(x) dx
CHOICES = (*EXCESS, "fit")
