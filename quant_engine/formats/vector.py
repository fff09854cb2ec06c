"""Codebooks of vectors, learned from the tensor: here only how long vectors are and how many codewords there are."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal, NoReturn, final

from quant_engine.checks import as_integer
from quant_engine.errors import QuantError
from quant_engine.formats.base import MAX_LISTED_BITS
from quant_engine.formats.learned import LearnedFormat
from quant_engine.records import Record

MAX = {"dim": 1 << 16, "codewords": 1 << MAX_LISTED_BITS, "parts": 1 << 16, "stages": 64}


class VectorFormat(LearnedFormat):
    """`dim` consecutive values of the last axis at a time, cut into parts, each with codewords of its own."""

    dim: int
    codewords: int
    parts: int
    stages: int
    remainder: str

    @property
    def part_dim(self) -> int:
        """Length of a part."""
        return self.dim // self.parts

    @property
    def indices(self) -> int:
        """Number of codes of a vector: one a part and stage."""
        return self.parts * self.stages

    @property
    def bits(self) -> int:
        """Width of one index, ceil(log2 codewords)."""
        return (self.codewords - 1).bit_length()

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest code."""
        return 0, self.codewords - 1

    def validate_activations(self) -> None:
        """Check that the format is for weights.

        Raises:
            QuantError: always.
        """
        raise QuantError(
            f"{self} as the format of an activation: each vector would be compared with {self.codewords} codewords "
            "while the network runs; vector codebooks are for weights, so use a format of single values"
        )

    def _raise_unlearned(self) -> NoReturn:
        """Refuse what needs the codewords."""
        raise QuantError(
            f"{self} learns its codewords from each tensor, and they are vectors: make a quantizer with fit(x, spec) "
            "and read its `learned`, or use its encode(x) and decode(q)"
        )

    def _validate_fields(self) -> None:
        """Check the fields, and make numpy integers plain ones, which JSON and keys can hold."""
        for name in [entry.name for entry in fields(self) if entry.name in MAX]:  # type: ignore[arg-type]
            low = 2 if name == "codewords" else 1
            object.__setattr__(self, name, as_integer(getattr(self, name), name, low, MAX[name]))
        if self.dim % self.parts:
            raise QuantError(f"parts={self.parts} does not divide dim={self.dim}; give a number of parts that does")
        if not isinstance(self.remainder, str) or self.remainder not in ("refuse", "pad"):
            raise QuantError(f'remainder={self.remainder!r} is unknown; choose "refuse" or "pad"')


@final
@dataclass(frozen=True)
class VectorCodebook(VectorFormat, Record):
    """The `codewords` vectors that stand for all vectors of `dim` consecutive values of the last axis: k-means.

    One codebook serves the whole tensor. With several `stages` each learns what those before leave (residual
    quantization), and values are sums of a codeword of each. A last axis that `dim` does not divide is refused, or
    filled up with zeros ("pad"), which are stored but no error. Quantizing x̂ again gives x̂, but not with several
    stages, nor where the last vector is filled up.

    Raises:
        QuantError: for what are no such integers, or more than 65,536 codewords.

    Source: Gray, Vector Quantization (1984).

    Example:
        >>> VectorCodebook(4, 256).bits, VectorCodebook(2, 16, stages=2).indices
        (8, 2)
    """

    dim: int
    codewords: int
    stages: int = 1
    remainder: Literal["refuse", "pad"] = "refuse"
    parts: int = field(default=1, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        self._validate_fields()


@final
@dataclass(frozen=True)
class ProductCodebook(VectorFormat, Record):
    """As `VectorCodebook`, with vectors cut into `parts` of equal length, each with `codewords` of its own.

    codewords^parts vectors are told apart at the cost of `parts` codebooks. With parts = 1 it is plain vector
    quantization, with parts = dim a scalar codebook for each component.

    Raises:
        QuantError: as `VectorCodebook`, and for parts that do not divide `dim`.

    Source: Jégou, Douze and Schmid, Product Quantization for Nearest Neighbor Search (2011), section 2.

    Example:
        >>> form = ProductCodebook(8, 256, parts=2)
        >>> form.part_dim, form.indices, form.bits
        (4, 2, 8)
    """

    dim: int
    codewords: int
    parts: int
    stages: int = 1
    remainder: Literal["refuse", "pad"] = "refuse"

    def __post_init__(self) -> None:
        """Check the fields."""
        self._validate_fields()
