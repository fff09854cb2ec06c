"""How to quantize: a frozen choice without any numbers from a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from quant_engine.clipping import CLIPPINGS, EVEN_ONLY, Clipping, MinMax
from quant_engine.errors import QuantError
from quant_engine.formats import FORMATS, FloatFormat
from quant_engine.granularity import GRANULARITIES, Granularity, PerTensor
from quant_engine.quantizer.coding import coding_of
from quant_engine.quantizer.rounding import ROUNDINGS
from quant_engine.quantizer.storage import SCALE_BITS, Storage
from quant_engine.records import Record


@dataclass(frozen=True)
class QuantizerSpec(Record):
    """Format, granularity, symmetry and clipping of one quantizer.

    Scales are float32 (`scale_format=None`). Codes round to "nearest" (half to even), down ("floor"), up ("ceil"),
    toward "zero", or at random to either neighbour, so that they are right on average ("stochastic"). Clipping that
    looks for the least error takes rounding to nearest for granted.

    Integers, floats of 8 bits and fewer and codebooks are scaled, scale = a / peak with the clipping value a = max(−lo,
    hi) and peak = max|value| (qmax for integers). FP32, TF32, BF16, FP16 and fixed point stand for themselves: scale 1,
    none stored, and their own range, so no clipping but `MinMax`. Zero points and models of even steps (`MinKL`,
    `ACIQ`) are for integers.

    Raises:
        QuantError: for a part of the wrong kind, and for parts that do not go together.

    Example:
        >>> from quant_engine import IntFormat
        >>> spec = QuantizerSpec(IntFormat(4), symmetric=False)
        >>> QuantizerSpec.from_json(spec.to_json()) == spec
        True
    """

    format: Any  # a Format; those who plan for integers alone read qmin and qmax
    granularity: Granularity = PerTensor()
    symmetric: bool = True
    clipping: Clipping = MinMax()
    scale_format: None = None
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        """Check the fields."""
        for name, table in (("format", FORMATS), ("granularity", GRANULARITIES), ("clipping", CLIPPINGS)):
            value = getattr(self, name)
            if not isinstance(value, tuple(table.values())):
                raise QuantError(f"{name}={value!r} is none of {', '.join(table)}; give an instance of one")
        if self.scale_format is not None:
            raise QuantError(f"scale_format={self.scale_format!r} is not available; scales are float32: use None")
        if self.rounding not in tuple(ROUNDINGS):
            raise QuantError(f"rounding={self.rounding!r} is none of {', '.join(ROUNDINGS)}")
        if not isinstance(self.symmetric, bool):
            raise QuantError(f"symmetric={self.symmetric!r} is no truth value; give True or False")
        self._refuse_what_does_not_go_together()

    def _refuse_what_does_not_go_together(self) -> None:
        if isinstance(self.format, FloatFormat) and not self.format.signed:
            raise QuantError(f"{self.format} has neither sign nor 0: it is for scales, not for a tensor's values")
        coding_of(self.format, self.rounding)
        kind = type(self.clipping).__name__
        if not self.format.scaled and not isinstance(self.clipping, MinMax):
            raise QuantError(
                f"{kind} with {self.format}: its values stand for themselves, so its range is not chosen; use MinMax()"
            )
        if self.format.even and self.format.scaled:
            return
        if not self.symmetric:
            raise QuantError(
                f"symmetric=False with {self.format}: a zero point is an integer code, so it is for IntFormat; use "
                "symmetric=True"
            )
        if isinstance(self.clipping, EVEN_ONLY):
            raise QuantError(
                f"{kind} with {self.format}: it reckons with codes of equal steps; use MinMSE(), which measures the "
                "error of the values themselves"
            )

    def storage(self, shape: tuple[int, ...]) -> Storage:
        """Return what a tensor of this shape takes: codes, a 32-bit scale a block, and zero points if asymmetric.

        Formats that are not scaled store no scale, and fixed tables nothing.

        Raises:
            QuantError: if the blocks do not fit the shape.

        Example:
            >>> from quant_engine import IntFormat, PerGroup
            >>> QuantizerSpec(IntFormat(4), PerGroup(128), symmetric=False).storage((64, 256)).bits_per_value
            4.28125
        """
        blocks, values = self.granularity.blocks(shape).count, math.prod(shape)
        return Storage(
            values=values,
            code_bits=values * self.format.bits,
            scale_bits=blocks * SCALE_BITS if self.format.scaled else 0,
            zero_point_bits=0 if self.symmetric else blocks * self.format.bits,
        )

    @property
    def key(self) -> str:
        """The canonical text of this spec: equal specs have equal keys, across processes and releases."""
        return self.to_json()
