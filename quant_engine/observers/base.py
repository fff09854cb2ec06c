"""What every observer answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, as_float32, raise_non_finite
from quant_engine.quantizer import QuantizerSpec

Arrays = dict[str, NDArray[Any]]


class Observer(Protocol):
    """Statistics of one block of values, kept while batches go by."""

    def update(self, batch: Any) -> None:
        """Take a batch of any shape into account; an empty one changes nothing.

        Raises:
            QuantError: for values that are not finite real numbers; nothing of the batch is then kept.
        """

    def merge(self, other: Self) -> None:
        """Take into account what another observer has seen.

        Raises:
            QuantError: where the two cannot be joined.
        """

    def range(self, spec: QuantizerSpec) -> tuple[float, float]:
        """Return the clipping range (lo, hi) for a spec.

        Raises:
            QuantError: if nothing has been observed.
        """

    def to_arrays(self) -> Arrays:
        """Return the whole state as arrays (numbers as arrays of no dimension)."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild what `to_arrays` gave.

        Raises:
            QuantError: for arrays that are not such a state.
        """


def finite_batch(batch: Any) -> tuple[Float32Array, float, float]:
    """Return a batch as float32 with its extremes (∞, −∞ for an empty one).

    Raises:
        QuantError: for values that are not finite real numbers.
    """
    array = as_float32(batch, "the batch")
    if not array.size:
        return array, np.inf, -np.inf
    lo, hi = float(array.min()), float(array.max())
    if not np.isfinite([lo, hi]).all():
        raise_non_finite(array, "the batch")
    return array, lo + 0.0, hi + 0.0  # −0.0 and 0.0 are one value


def nothing_observed() -> QuantError:
    """Return the error for an observer that is asked before it has seen anything."""
    return QuantError("nothing has been observed; give update() at least one batch with values")
