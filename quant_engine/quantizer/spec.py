"""How to quantize: a frozen choice without any numbers from a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

from quant_engine.clipping import CLIPPINGS, Clipping, MinMax
from quant_engine.errors import QuantError
from quant_engine.formats import FORMATS, IntFormat
from quant_engine.granularity import GRANULARITIES, Granularity, PerTensor
from quant_engine.quantizer.rounding import ROUNDINGS
from quant_engine.quantizer.storage import SCALE_BITS, Storage
from quant_engine.records import Record


@dataclass(frozen=True)
class QuantizerSpec(Record):
    """Format, granularity, symmetry and clipping of one quantizer.

    Scales are float32 (`scale_format=None`). Codes round to "nearest" (half to even), down ("floor"), up ("ceil"),
    toward "zero", or at random to either neighbour, so that they are right on average ("stochastic"). Clipping that
    looks for the least error takes rounding to nearest for granted.

    Raises:
        QuantError: for a part of the wrong kind.

    Example:
        >>> spec = QuantizerSpec(IntFormat(4), symmetric=False)
        >>> QuantizerSpec.from_json(spec.to_json()) == spec
        True
    """

    format: IntFormat
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

    def storage(self, shape: tuple[int, ...]) -> Storage:
        """Return what a tensor of this shape takes: codes, a 32-bit scale a block, and zero points if asymmetric.

        Raises:
            QuantError: if the blocks do not fit the shape.

        Example:
            >>> from quant_engine import PerGroup
            >>> QuantizerSpec(IntFormat(4), PerGroup(128), symmetric=False).storage((64, 256)).bits_per_value
            4.28125
        """
        blocks, values = self.granularity.blocks(shape).count, math.prod(shape)
        return Storage(
            values=values,
            code_bits=values * self.format.bits,
            scale_bits=blocks * SCALE_BITS,
            zero_point_bits=0 if self.symmetric else blocks * self.format.bits,
        )

    @property
    def key(self) -> str:
        """The canonical text of this spec: equal specs have equal keys, across processes and releases."""
        return self.to_json()
