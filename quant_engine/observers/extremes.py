"""Observers of the least and the greatest value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_integer, as_number
from quant_engine.errors import QuantError
from quant_engine.inputs import LARGEST_FLOAT32
from quant_engine.observers.base import Arrays, finite_batch, nothing_observed
from quant_engine.quantizer import QuantizerSpec

NOTHING = math.inf, -math.inf  # the extremes of no values


class MinMaxObserver:
    """The least and the greatest of all values; order and division into batches do not matter.

    Example:
        >>> observer = MinMaxObserver()
        >>> observer.update([0.5, -1.0]); observer.update([2.0])
        >>> observer.range()
        (-1.0, 2.0)
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.lo, self.hi = NOTHING

    def update(self, batch: Any) -> None:
        """Widen the range by a batch.

        Raises:
            QuantError: for values that are not finite real numbers.
        """
        _, lo, hi = finite_batch(batch)
        self.lo, self.hi = min(self.lo, lo), max(self.hi, hi)

    def merge(self, other: Self) -> None:
        """Widen the range by another observer's."""
        self.lo, self.hi = min(self.lo, other.lo), max(self.hi, other.hi)

    def range(self, spec: QuantizerSpec | None = None) -> tuple[float, float]:
        """Return (lo, hi), whatever the spec.

        Raises:
            QuantError: if nothing has been observed.
        """
        if self.lo > self.hi:
            raise nothing_observed()
        return self.lo, self.hi

    def to_arrays(self) -> Arrays:
        """Return the state."""
        return {"lo": np.array(self.lo), "hi": np.array(self.hi)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the state.

        Raises:
            QuantError: if an array is missing, or the two are no range.
        """
        observer = cls()
        observer.lo, observer.hi = extremes(*numbers(arrays, "lo", "hi"))
        return observer


class MovingAverageObserver:
    """An exponential moving average of each batch's extremes: lo ← lo + constant · (min − lo), and so for hi.

    The first batch sets both. Later batches weigh more by design, so the order of batches matters, and two observers
    cannot be merged: which came first is not known (Jacob et al. 2018, section 3.1).

    Raises:
        QuantError: unless 0 < constant ≤ 1.

    Example:
        >>> observer = MovingAverageObserver(0.5)
        >>> observer.update([-1.0, 1.0]); observer.update([-2.0, 4.0])
        >>> observer.range()
        (-1.5, 2.5)
    """

    def __init__(self, constant: float = 0.01) -> None:
        """Start with nothing seen."""
        self.constant = as_number(constant, "constant", high=1.0, above=0.0)
        self.lo, self.hi, self.batches = *NOTHING, 0

    def update(self, batch: Any) -> None:
        """Move the range towards a batch's.

        Raises:
            QuantError: for values that are not finite real numbers.
        """
        array, lo, hi = finite_batch(batch)
        if not array.size:
            return
        if self.batches:
            lo, hi = self.lo + self.constant * (lo - self.lo), self.hi + self.constant * (hi - self.hi)
        self.lo, self.hi, self.batches = lo, hi, self.batches + 1

    def merge(self, other: Self) -> None:
        """Take over another observer's state if this one has seen nothing; do nothing if the other has not.

        Raises:
            QuantError: if both have seen batches, or the constants differ.
        """
        if self.constant != other.constant:
            raise QuantError(f"moving averages of constants {self.constant} and {other.constant} cannot be merged")
        if self.batches and other.batches:
            raise QuantError(
                f"moving averages of {self.batches} and {other.batches} batches cannot be merged, as their result "
                "depends on the order of batches; observe all batches in one, or use a min–max or histogram observer"
            )
        if other.batches:
            self.lo, self.hi, self.batches = other.lo, other.hi, other.batches

    def range(self, spec: QuantizerSpec | None = None) -> tuple[float, float]:
        """Return (lo, hi), whatever the spec.

        Raises:
            QuantError: if nothing has been observed.
        """
        if not self.batches:
            raise nothing_observed()
        return self.lo, self.hi

    def to_arrays(self) -> Arrays:
        """Return the state."""
        return {name: np.array(getattr(self, name)) for name in ("constant", "lo", "hi", "batches")}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the state.

        Raises:
            QuantError: if an array is missing, the constant is none, or there are extremes without batches or the
                other way about.
        """
        constant, lo, hi, batches = numbers(arrays, "constant", "lo", "hi", "batches")
        observer = cls(constant)
        observer.lo, observer.hi = extremes(lo, hi)
        observer.batches = as_integer(batches, "batches", 0)
        if (observer.batches == 0) != ((observer.lo, observer.hi) == NOTHING):
            raise QuantError(f"batches={batches} with extremes {lo} and {hi}; give inf and -inf where there are none")
        return observer


def numbers(arrays: Mapping[str, NDArray[Any]], *names: str) -> list[Any]:
    """Return arrays of one element as plain values, whatever these are.

    Raises:
        QuantError: if one is missing or has several elements, and if there are other arrays.
    """
    if set(arrays) != set(names):
        raise QuantError(f"the arrays {', '.join(map(str, arrays))} are no observer's state of {', '.join(names)}")
    values = [np.asarray(arrays[name]) for name in names]
    for name, value in zip(names, values, strict=True):
        if value.size != 1:
            raise QuantError(f"{name} of shape {value.shape} is no observer's number; give an array of one element")
    return [value.item() for value in values]


def extremes(lo: Any, hi: Any) -> tuple[float, float]:
    """Return what an observer has seen: the least and the greatest value, or (∞, −∞) for nothing.

    Raises:
        QuantError: for what is no range within float32.
    """
    if isinstance(lo, float) and isinstance(hi, float) and (lo, hi) == NOTHING:
        return NOTHING
    low = as_number(lo, "lo", -LARGEST_FLOAT32, LARGEST_FLOAT32)
    high = as_number(hi, "hi", -LARGEST_FLOAT32, LARGEST_FLOAT32)
    if low > high:
        raise QuantError(
            f"lo={low} is above hi={high}; give the least and the greatest value, or inf and -inf for none"
        )
    return low, high
