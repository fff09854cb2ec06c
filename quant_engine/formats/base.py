"""What every number format answers."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import ArrayLike

from quant_engine.inputs import Float32Array, Float64Array


class Format(Protocol):
    """A frozen, hashable choice of codes and of the values they stand for before scaling."""

    @property
    def bits(self) -> int:
        """Width of a code."""

    def values(self) -> Float64Array:
        """Return the finite, sorted, distinct values of all codes."""

    def encode(self, u: ArrayLike) -> Any:
        """Return the code of the nearest value to each `u` of the scaled domain."""

    def decode(self, codes: ArrayLike) -> Float32Array:
        """Return the value of each code, in the scaled domain."""
