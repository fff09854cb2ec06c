"""Fixed tables of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_engine.checks import as_integer
from quant_engine.errors import QuantError
from quant_engine.formats.base import MAX_LISTED_BITS, CommonFormat, as_values
from quant_engine.inputs import Float32Array, Float64Array, as_float64
from quant_engine.records import Record

MAX_POWER_BITS = 8  # 127 powers of two, down to 2^−126: more would leave float32


@final
@dataclass(frozen=True)
class Codebook(CommonFormat, Record):
    """Any ascending float32 values; a code is the number of one, from 0. Fixed, so storing it costs nothing.

    A value half-way between two goes to the lower one. `entries` are what `values()` returns, as a tuple.

    Raises:
        QuantError: for fewer than 2 or more than 65,536 values, and values that are not finite, or do not ascend once
            they are float32.

    Example:
        >>> thirds = Codebook([-1, 0, 0.5])
        >>> thirds.bits, thirds.encode([-2.0, 0.25, 0.3]).tolist(), thirds.decode([2]).tolist()
        (2, [0, 1, 2], [0.5])
    """

    entries: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check and freeze the values."""
        with np.errstate(over="ignore"):
            held = as_float64(self.entries, "entries").astype(np.float32) + np.float32(0)
        if held.ndim != 1 or not 2 <= held.size <= 1 << MAX_LISTED_BITS:
            raise QuantError(f"a codebook of shape {held.shape}; give from 2 to 65,536 values in one run")
        if not np.isfinite(held).all() or not (held[1:] > held[:-1]).all():
            raise QuantError(f"the {held.size} values are not finite, ascending and distinct; give numpy.unique(…)")
        object.__setattr__(self, "entries", tuple(held.tolist()))

    @property
    def bits(self) -> int:
        """Width of a code, ceil(log2 K) of K values."""
        return (len(self.entries) - 1).bit_length()

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest code."""
        return 0, len(self.entries) - 1

    def values(self) -> Float64Array:
        """Return the values."""
        return np.array(self.entries)

    def encode(self, u: ArrayLike) -> NDArray[Any]:
        """Return the number of the nearest value to each `u`, the lower of two."""
        values = self.values()
        places = np.searchsorted(0.5 * (values[1:] + values[:-1]), as_values(u, "the codebook"))
        return np.asarray(places).astype(self.dtype)

    def decode(self, codes: ArrayLike) -> Float32Array:
        """Return the value of each number.

        Raises:
            QuantError: for numbers that are no codes.
        """
        places = self.as_codes(codes)
        return np.asarray(np.asarray(self.values(), np.float32)[places])


def power_of_two(bits: int) -> Codebook:
    """Return 0 and ±2^−k for k = 0 to 2^(bits − 1) − 2: products with them are shifts.

    Of the 2^bits codes one is left over, so that the values are symmetric.

    Raises:
        QuantError: for other widths than 2 to 8 bits.

    Source: Miyashita et al., Convolutional Neural Networks using Logarithmic Data Representation (2016), section 3.

    Example:
        >>> power_of_two(3).entries
        (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
    """
    width = as_integer(bits, "bits", 2, MAX_POWER_BITS)
    powers = np.ldexp(1.0, -np.arange(2 ** (width - 1) - 1))
    return Codebook((*(-powers).tolist(), 0.0, *powers[::-1].tolist()))


# Dettmers et al., QLoRA: Efficient Finetuning of Quantized LLMs (2023), appendix E
NF4 = Codebook(
    (
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    )
)
