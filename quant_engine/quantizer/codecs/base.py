"""What every codec answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quant_engine.clipping import MinMax
from quant_engine.errors import QuantError
from quant_engine.granularity import BlockGrid, Granularity
from quant_engine.inputs import Float32Array
from quant_engine.quantizer.choices import SpecLike
from quant_engine.quantizer.report import ErrorReport
from quant_engine.quantizer.storage import Storage


@dataclass(frozen=True, eq=False)
class Parameters:
    """What is found in a tensor: scale and zero point of every block, and what else a format learns."""

    scale: Float32Array
    zero_point: NDArray[np.int32]
    learned: Float32Array | None = None


OWN_CHOICES: dict[str, Any] = {"symmetric": True, "clipping": MinMax(), "scale_format": None, "rounding": "nearest"}


def validate_choices(spec: SpecLike, why: str) -> None:
    """Check that a spec leaves range, scales, zero points and rounding to a format that finds them by itself.

    Raises:
        QuantError: for a choice, with the reason and the remedy.
    """
    for name, value in OWN_CHOICES.items():
        if getattr(spec, name) != value:
            raise QuantError(f"{name}={getattr(spec, name)!r} with {spec.format}: {why}; use {name}={value!r}")


def validate_unscaled(fitted: Fitted, why: str) -> None:
    """Check that scales are 1 and zero points 0, as they are of formats whose codewords stand for themselves.

    Raises:
        QuantError: for others, with the reason.
    """
    if (fitted.scale != 1.0).any() or fitted.zero_point.any():
        raise QuantError(f"{why}; give scales of 1 and zero points of 0")


class Fitted(Protocol):
    """A spec with its parameters (a `Quantizer`)."""

    @property
    def spec(self) -> SpecLike:
        """The spec."""

    @property
    def scale(self) -> Float32Array:
        """The scale of every block, in the shape of the grid."""

    @property
    def zero_point(self) -> NDArray[np.int32]:
        """The zero point of every block, in the shape of the grid."""

    @property
    def learned(self) -> Float32Array | None:
        """What else was learned."""


def grid_of(fitted: Fitted, grid: BlockGrid) -> BlockGrid:
    """Return the blocks of a tensor.

    Raises:
        QuantError: where they are others than the fitted ones.
    """
    if grid.grid != fitted.scale.shape:
        raise QuantError(
            f"the quantizer was fitted to {fitted.scale.shape} blocks, but shape {grid.shape} has {grid.grid}; "
            "fit it anew"
        )
    return grid


class Codec(Protocol):
    """How the tensors of one format are fitted, coded and rebuilt."""

    def granularity(self, chosen: Granularity) -> Granularity:
        """Return the blocks of a spec with these chosen: the same ones, unless the format has its own.

        Raises:
            QuantError: for blocks that the format does not take.
        """

    def validate(self, spec: SpecLike) -> None:
        """Check that the parts of a spec go together.

        Raises:
            QuantError: for parts that do not, with the remedy.
        """

    def validate_parameters(self, fitted: Fitted) -> None:
        """Check the numbers of a quantizer.

        Raises:
            QuantError: for numbers that are none of this format.
        """

    def storage(self, spec: SpecLike, shape: tuple[int, ...]) -> Storage:
        """Return what a tensor of this shape takes."""

    def fit(
        self, x: Float32Array, spec: SpecLike, rng: np.random.Generator, importance: Float32Array | None
    ) -> Parameters:
        """Find the parameters for a tensor; `importance`, of its shape, weighs the error of every value.

        Raises:
            QuantError: for values that are not finite, and for an importance that the format does not heed.
        """

    def encode(self, x: Float32Array, fitted: Fitted, rng: np.random.Generator | None) -> NDArray[Any]:
        """Return the codes.

        Raises:
            QuantError: for values that are not finite, and another block grid than the fitted one.
        """

    def decode(self, codes: NDArray[Any], fitted: Fitted) -> Float32Array:
        """Return x̂ of codes."""

    def reconstruct(
        self, x: Float32Array, fitted: Fitted, out: Float32Array | None, rng: np.random.Generator | None
    ) -> ErrorReport:
        """Return what x̂ loses and write x̂ to `out`, an array of the shape of `x`, if there is one."""

    def levels(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Return the codewords of the block at a place of the grid, ascending."""

    def thresholds(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Return, for each level but the first, the least float32 that is given it or one above."""

    def shape_of(self, codes: tuple[int, ...], length: int | None = None) -> tuple[int, ...]:
        """Return the shape of the tensor that codes of a shape stand for, its last axis cut to a `length`.

        Raises:
            QuantError: for a length at which there would be other codes.
        """
