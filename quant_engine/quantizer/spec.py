"""How to quantize: a frozen choice without any numbers from a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from quant_engine.checks import as_instance, as_member, validate_boolean
from quant_engine.clipping import CLIPPINGS, Clipping, MinMax
from quant_engine.errors import QuantError
from quant_engine.formats import FORMATS, FloatFormat
from quant_engine.granularity import GRANULARITIES, Granularity, PerTensor
from quant_engine.granularity.grid import validate_shape
from quant_engine.quantizer.codecs import Codec, codec_of
from quant_engine.quantizer.rounding import ROUNDINGS
from quant_engine.quantizer.storage import Storage
from quant_engine.records import Record


@final
@dataclass(frozen=True)
class QuantizerSpec(Record):
    """Format, granularity, symmetry and clipping of one quantizer.

    Scales are float32 (`scale_format=None`) or rounded to a float format, and codes use the rounded scale. E8M0 takes
    2^(floor(log2 a) − floor(log2 max|value|)), the MX rule, whatever the clipping. Other formats round to nearest even,
    saturating; E4M3 (NVFP4) adds a float32 scale of the tensor, t = max(scale)/448. A scale that rounds to 0 gives
    zeros. Codes round to "nearest" (half to even), down ("floor"), up ("ceil"),
    toward "zero", or at random to either neighbour, so that they are right on average ("stochastic"). Clipping that
    looks for the least error takes rounding to nearest for granted.

    Integers, floats of 8 bits and fewer and codebooks are scaled, scale = a / max|value| with the clipping value
    a = max(−lo, hi) (a / qmax for integers). FP32, TF32, BF16, FP16 and fixed point stand for themselves: scale 1,
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
    scale_format: FloatFormat | None = None
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        """Check the fields, and that nobody has derived from this class."""
        as_member(self, {"QuantizerSpec": QuantizerSpec}, "spec")
        for name, table in (("format", FORMATS), ("granularity", GRANULARITIES), ("clipping", CLIPPINGS)):
            as_member(getattr(self, name), table, name)
        if self.scale_format is not None:
            as_instance(self.scale_format, FloatFormat, "scale_format", "give E8M0, E4M3, FP16 or None")
            as_member(self.scale_format, {"FloatFormat": FloatFormat}, "scale_format")
        if not isinstance(self.rounding, str) or self.rounding not in ROUNDINGS:
            raise QuantError(f"rounding={self.rounding!r} is none of {', '.join(ROUNDINGS)}")
        validate_boolean(self.symmetric, "symmetric")
        object.__setattr__(self, "granularity", self.codec.granularity(self.granularity))
        self.codec.validate(self)

    @property
    def codec(self) -> Codec:
        """What the format does with a tensor."""
        return codec_of(self.format, self.rounding)

    def storage(self, shape: tuple[int, ...]) -> Storage:
        """Return what a tensor of this shape takes, everything counted.

        Codes, a scale a block of 32 bits or those of the scale format, zero points if asymmetric, learned codebooks.
        Formats that are not scaled store no scale, and fixed tables nothing.

        Raises:
            QuantError: if the blocks do not fit the shape.

        Example:
            >>> from quant_engine import IntFormat, PerGroup
            >>> QuantizerSpec(IntFormat(4), PerGroup(128), symmetric=False).storage((64, 256)).bits_per_value
            4.28125
        """
        validate_shape(shape)
        return self.codec.storage(self, shape)

    @property
    def key(self) -> str:
        """The canonical text of this spec: equal specs have equal keys, across processes and releases."""
        return self.to_json()
