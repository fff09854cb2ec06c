"""A real tensor as a histogram that a phone can hold, from which it computes what clipping costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine import QuantError
from quant_engine.checks import as_list, as_number
from quant_engine.records import Record

MAX_BINS = 160


@dataclass(frozen=True)
class Histogram(Record):
    """A tensor's values in bins: enough to compute what clipping at any edge costs.

    Attributes:
        edges: ascending, one more than there are bins; the last is max |x|, the first its negative, or 0.
        counts: values in each bin.
        sums: Σx of each bin.
        squares: Σx² of each bin.

    Raises:
        QuantError: for other lengths, edges that do not ascend or do not fit, and numbers that are not finite.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    sums: tuple[float, ...]
    squares: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the lengths and every number."""
        for name in ("edges", "counts", "sums", "squares"):
            given = as_list(getattr(self, name), object, name, "give numbers")
            if len(given) > MAX_BINS + 1:
                raise QuantError(f"{name} has {len(given):,} numbers; a histogram has at most {MAX_BINS} bins")
            low = 0.0 if name in ("counts", "squares") else None
            object.__setattr__(self, name, tuple(as_number(one, name, low=low) for one in given))
        bins = len(self.edges) - 1
        if bins < 2 or any(len(part) != bins for part in (self.counts, self.sums, self.squares)):
            raise QuantError(f"{bins} bins do not fit {len(self.counts)} counts; give a count, Σx and Σx² for each")
        if np.any(np.diff(self.edges) <= 0) or self.edges[-1] <= 0 or self.edges[0] not in (0.0, -self.edges[-1]):
            raise QuantError(
                f"edges from {self.edges[0]:g} to {self.edges[-1]:g} do not ascend from 0, or −max, to max"
            )
        if sum(self.counts) <= 0:
            raise QuantError("a histogram of no values says nothing; count at least one")

    @classmethod
    def of(cls, values: ArrayLike, bins: int = MAX_BINS) -> Self:
        """Return the histogram of real values, from −max |x| to max |x|, or from 0 where none is negative.

        Raises:
            QuantError: for values of which none is other than 0, or that are not finite.

        Example:
            >>> Histogram.of([-1.0, 0.5, 0.75], bins=2).squares
            (1.0, 0.8125)
        """
        flat = np.asarray(values, np.float64).reshape(-1)
        most = float(np.abs(flat).max(initial=0.0))
        edges = np.linspace(-most if flat.min(initial=0.0) < 0 else 0.0, as_number(most, "max |x|", above=0), bins + 1)
        parts = [np.histogram(flat, edges, weights=flat**power)[0] for power in range(3)]
        return cls(tuple(edges.tolist()), *(tuple(part.tolist()) for part in parts))

    @property
    def betas(self) -> tuple[float, ...]:
        """The edges at which a range may end."""
        return tuple(edge for edge in self.edges if edge > 0)

    def clipped(self, beta: float) -> float:
        """Return the share of values outside of ±β, of whole bins beyond the nearest edge.

        >>> Histogram.of([-1.0, 0.25, 0.4, 1.0], bins=4).clipped(0.5)
        0.5
        """
        outside = self._outside(self._nearest(beta))
        return float(np.asarray(self.counts)[outside].sum() / sum(self.counts))

    def mse(self, beta: float, steps: int) -> float:
        """Return the mean squared error of a range of ±β: the clipped error, exact, and S²/12 for each value inside.

        S = β / steps; the rounding error S²/12 is that of steps which are fine against the distribution.
        """
        beta = self._nearest(beta)
        outside = self._outside(beta)
        n, x, square = (np.asarray(part)[outside] for part in (self.counts, self.sums, self.squares))
        clipped = float((square - 2 * beta * np.abs(x) + beta**2 * n).sum())
        inside = sum(self.counts) - float(n.sum())
        return (clipped + inside * (beta / steps) ** 2 / 12) / sum(self.counts)

    def _nearest(self, beta: float) -> float:
        return min(self.betas, key=lambda edge: abs(edge - beta))

    def _outside(self, beta: float) -> NDArray[np.bool_]:
        edges, slack = np.asarray(self.edges), 1e-9 * self.edges[-1]
        found: NDArray[np.bool_] = (edges[:-1] >= beta - slack) | (edges[1:] <= slack - beta)
        return found
