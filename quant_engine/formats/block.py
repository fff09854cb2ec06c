"""The simple block formats of GGUF files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.errors import QuantError
from quant_engine.formats.base import CommonFormat, as_values
from quant_engine.inputs import Float32Array, Float64Array, as_float64
from quant_engine.records import Record

PARAMETER_BITS = 16  # of d and of m, float16 each


class BlockLayout(NamedTuple):
    """Bits of a code, the code that stands for 0 (for m, where there is one), and whether there is m and a sign."""

    bits: int
    offset: int
    minimum: bool = False
    signed: bool = False


@final
@dataclass(frozen=True)
class BlockFormat(CommonFormat, Record):
    """Runs of 32 values of the last axis, each with a float16 scale d and, in Q4_1 and Q5_1, a float16 minimum m.

    Codes are what the file stores: 4 or 5 bits from 0 (Q4_0, Q5_0: x̂ = d · (code − 8) or d · (code − 16); Q4_1, Q5_1:
    x̂ = d · code + m), or signed bytes (Q8_0: x̂ = d · code). Fit and rounding are ggml's own, to the bit:

    - Q4_0, Q5_0: d = the value of the greatest magnitude / −8 or −16, so d may be negative; a half is rounded up.
    - Q4_1, Q5_1: d = (max − min) / 15 or 31, m = min; a half is rounded up.
    - Q8_0: d = max|x| / 127; a half is rounded away from zero.

    Codes come from d and m before these are rounded to float16, values from d and m as the file has them. A `Quantizer`
    holds the latter d as `scale`, and both before rounding as `learned`, shape (…, 1) or (…, 2). Quantizing x̂ again
    gives the same codes unless that rounding moves a level by half a step: where d is far below float16's least normal
    number, 6e-5, or m more than a thousand times d. The format brings its granularity, `PerGroup(32)`; d or m beyond
    float16 are refused, and so is every other choice of a spec, since fit and rounding are the format's.

    Raises:
        QuantError: for another name.

    Source: ggml, ggml-quants.c, quantize_row_q4_0_ref and the like.

    Example:
        >>> form = BlockFormat("Q4_0")
        >>> form.bits, form.block, form.bits_per_block / form.block
        (4, 32, 4.5)
    """

    name: str
    block: ClassVar[int] = 32

    def __post_init__(self) -> None:
        """Check the name."""
        if not isinstance(self.name, str) or self.name not in LAYOUTS:
            raise QuantError(f"name={self.name!r} is no simple block format; choose one of {', '.join(LAYOUTS)}")

    @property
    def bits(self) -> int:
        """Width of a code."""
        return LAYOUTS[self.name].bits

    @property
    def offset(self) -> int:
        """The code that stands for 0, or for the minimum."""
        return LAYOUTS[self.name].offset

    @property
    def has_minimum(self) -> bool:
        """Whether a block has a minimum beside its scale."""
        return LAYOUTS[self.name].minimum

    @property
    def signed(self) -> bool:
        """Whether codes are signed."""
        return LAYOUTS[self.name].signed

    @property
    def parameter_bits(self) -> int:
        """Bits of a block's scale and minimum."""
        return PARAMETER_BITS * (1 + self.has_minimum)

    @property
    def bits_per_block(self) -> int:
        """Bits of a block in the file."""
        return self.block * self.bits + self.parameter_bits

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of the codes."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    @property
    def qmin(self) -> int:
        """The least code."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def qmax(self) -> int:
        """The greatest code."""
        return self.qmin + (1 << self.bits) - 1

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest code."""
        return self.qmin, self.qmax

    def values(self) -> Float64Array:
        """Return what the codes stand for before scaling."""
        return np.arange(self.qmin, self.qmax + 1, dtype=np.float64) - self.offset

    def encode(self, u: ArrayLike) -> NDArray[Any]:
        """Return saturate(round(u + offset)), in float32; a half goes up, or away from zero in Q8_0."""
        with np.errstate(over="ignore"):
            given = as_values(u, self).astype(np.float32)
        inside = np.clip(given, self.qmin - self.offset, self.qmax - self.offset)
        if self.signed:
            size = np.abs(inside)
            whole = np.copysign(np.floor(size) + (size % 1 >= 0.5), inside)
        else:
            whole = np.floor(inside + np.float32(self.offset + 0.5))
        return np.asarray(whole).astype(self.dtype)

    def decode(self, codes: ArrayLike) -> Float32Array:
        """Return code − offset.

        Raises:
            QuantError: for numbers that are no codes.
        """
        whole = self.as_codes(codes).astype(np.float32)
        return np.asarray(whole - np.float32(self.offset))

    def to_bytes(self, codes: NDArray[Any], d: ArrayLike, m: ArrayLike | None = None) -> NDArray[np.uint8]:
        """Return codes (…, 32 · n) with d and m (…, n) as a GGUF file holds them, (…, n · bytes of a block).

        A block is d, m if there is one, the fifth bits of all codes if they have one, and the codes: value i in the
        low half of byte i, value i + 16 in its high half, or a byte each.

        Raises:
            QuantError: for runs that 32 does not divide, numbers that are no codes, and scales of another shape.

        Example:
            >>> BlockFormat("Q4_0").to_bytes(np.arange(32) % 16, [0.5]).tobytes().hex()
            '003800112233445566778899aabbccddeeff'
        """
        given = self.as_codes(codes)
        if not given.ndim or given.shape[-1] % self.block:
            raise QuantError(f"codes of shape {given.shape} are no blocks of {self.block}; pad the last axis")
        blocks = given.reshape(*given.shape[:-1], -1, self.block).astype(np.uint8)
        parts: list[NDArray[Any]] = [
            self._halves(name, part, blocks.shape[:-1]) for name, part in self._parameters(d, m)
        ]
        if self.bits == 8:
            parts.append(blocks)
        else:
            low = blocks & 15
            if self.bits == 5:
                parts.append(np.packbits(blocks >> 4, axis=-1, bitorder="little"))
            parts.append(low[..., :16] | low[..., 16:] << 4)
        return np.concatenate(parts, axis=-1).reshape(*given.shape[:-1], -1)

    def _parameters(self, d: ArrayLike, m: ArrayLike | None) -> list[tuple[str, ArrayLike]]:
        if (m is not None) != self.has_minimum:
            raise QuantError(
                f"{self.name} blocks have {'a' if self.has_minimum else 'no'} minimum m; give what they have"
            )
        return [("d", d)] if m is None else [("d", d), ("m", m)]

    def _halves(self, name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return one number a block as the two bytes of a little-endian float16."""
        with np.errstate(over="ignore"):
            halves = as_float64(values, name).astype("<f2")
        if halves.shape != shape:
            raise QuantError(f"{name} has shape {halves.shape}; give one number for each of the blocks {shape}")
        if not np.isfinite(halves).all():
            raise QuantError(f"{name} has values that float16, up to 65504, does not hold; scale the tensor down")
        return np.ascontiguousarray(halves)[..., None].view(np.uint8)


LAYOUTS = {
    "Q4_0": BlockLayout(4, 8),
    "Q4_1": BlockLayout(4, 0, minimum=True),
    "Q5_0": BlockLayout(5, 16),
    "Q5_1": BlockLayout(5, 0, minimum=True),
    "Q8_0": BlockLayout(8, 0, signed=True),
}
