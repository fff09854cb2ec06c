"""What a quantized tensor takes, everything counted."""

from __future__ import annotations

import math
from dataclasses import dataclass

SCALE_BITS = 32


@dataclass(frozen=True)
class Storage:
    """All that is stored of a quantized tensor, in bits."""

    values: int
    code_bits: int
    scale_bits: int
    zero_point_bits: int
    codebook_bits: int = 0

    @property
    def bits(self) -> int:
        """Everything together."""
        return self.code_bits + self.scale_bits + self.zero_point_bits + self.codebook_bits

    @property
    def bits_per_value(self) -> float:
        """Everything, divided by the number of values (infinite where there are none)."""
        return self.bits / self.values if self.values else math.inf

    @property
    def size_bytes(self) -> int:
        """Whole bytes needed."""
        return -(-self.bits // 8)
