"""Codebooks that are learned from the tensor: here only how many codewords they have, and what they are to be."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import NoReturn, final

from numpy.typing import ArrayLike

from quant_engine.checks import as_integer
from quant_engine.errors import QuantError
from quant_engine.formats.base import MAX_LISTED_BITS, CommonFormat
from quant_engine.records import Record


class LearnedFormat(CommonFormat, abc.ABC):
    """A format whose codewords are found in each tensor: it has no values before it is fitted."""

    @property
    def scaled(self) -> bool:
        """Whether values are scaled: codewords stand for themselves."""
        return False

    @property
    def learned(self) -> bool:
        """Whether codewords are learned."""
        return True

    @property
    def lowest(self) -> float:
        """No value is known before fitting.

        Raises:
            QuantError: always.
        """
        self._raise_unlearned()

    @property
    def highest(self) -> float:
        """No value is known before fitting.

        Raises:
            QuantError: always.
        """
        self._raise_unlearned()

    def values(self) -> NoReturn:
        """Refuse to list what only a fitted quantizer knows.

        Raises:
            QuantError: always.
        """
        self._raise_unlearned()

    def encode(self, u: ArrayLike) -> NoReturn:
        """Refuse, as `values` does."""
        self._raise_unlearned()

    def decode(self, codes: ArrayLike) -> NoReturn:
        """Refuse, as `values` does."""
        self._raise_unlearned()

    @abc.abstractmethod
    def _raise_unlearned(self) -> NoReturn:
        """Say that the codewords are not known yet, and where to find them."""


@dataclass(frozen=True)
class ScalarCodebook(LearnedFormat):
    """A codebook of `levels` values for every block. Its values are known once it is fitted, not before."""

    levels: int

    def __post_init__(self) -> None:
        """Check the number of levels."""
        object.__setattr__(self, "levels", as_integer(self.levels, "levels", 2, 1 << MAX_LISTED_BITS))

    @property
    def bits(self) -> int:
        """Width of a code, ceil(log2 levels)."""
        return (self.levels - 1).bit_length()

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest code."""
        return 0, self.levels - 1

    def _raise_unlearned(self) -> NoReturn:
        """Refuse what needs the levels."""
        raise QuantError(
            f"{self} learns its values from each tensor: make a quantizer with fit(x, spec), and ask it for "
            "levels(block), encode(x) or decode(q)"
        )


@final
@dataclass(frozen=True)
class KMeans(ScalarCodebook, Record):
    """The `levels` values with the least squared error of all, for every block: the Lloyd–Max quantizer of its values.

    Codes are numbers of codewords, ascending; a value half-way between two goes to the lower one. A block with fewer
    distinct values than levels has these as codewords. Blocks of up to 65,536 values get the global optimum, larger
    ones an error within 1e-5 of it.

    Raises:
        QuantError: for what is no integer from 2 to 65,536.

    Source: Lloyd, Least Squares Quantization in PCM (1982); Max, Quantizing for Minimum Distortion (1960).

    Example:
        >>> KMeans(16).bits, KMeans(9).bits
        (4, 4)
    """


@final
@dataclass(frozen=True)
class Quantiles(ScalarCodebook, Record):
    """The means of `levels` equally filled parts of every block: each codeword stands for as many values.

    Codes are as `KMeans` has them, so values go to the nearest codeword, whatever part they were in.

    Raises:
        QuantError: for what is no integer from 2 to 65,536.

    Source: Dettmers et al., 8-bit Optimizers via Block-wise Quantization (2022), section 1.2, there with the midpoints
    of quantiles; means have less error.

    Example:
        >>> Quantiles(256).bits
        8
    """
