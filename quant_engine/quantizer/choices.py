"""What a spec chooses, for those who act on it without knowing the spec's class."""

from __future__ import annotations

from typing import Any, Protocol

from quant_engine.clipping import Clipping
from quant_engine.formats import FloatFormat
from quant_engine.granularity import Granularity


class SpecLike(Protocol):
    """The fields of a `QuantizerSpec`."""

    @property
    def format(self) -> Any:
        """Which values a code can stand for."""

    @property
    def granularity(self) -> Granularity:
        """Which values share a scale."""

    @property
    def symmetric(self) -> bool:
        """Whether zero points are 0."""

    @property
    def clipping(self) -> Clipping:
        """How the range of a block is chosen."""

    @property
    def scale_format(self) -> FloatFormat | None:
        """What scales are rounded to; None for float32."""

    @property
    def rounding(self) -> str:
        """How a value is given its code."""
