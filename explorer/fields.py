"""What a field of the state can hold: a word of a few, or a number in a range."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

RENAMED = {  # words of older links, which stay readable
    "min-max": "min–max",
    "bias correction": "bias_correction",
    "equalization": "cross_layer_equalization",
    "SmoothQuant": "smoothquant",
    "AWQ": "awq",
    "AdaRound": "adaround",
    "GPTQ": "gptq",
    "GPTQ, asymmetric": "gptaq",
    "synthetic data": "zeroq",
    "Gaussian data": "gaussian_data",
    "ranges from BatchNorm": "batch_norm_ranges",
    "bias correction, analytic": "bias_correction_analytic",
    "DFQ": "dfq",
    "DFQ, synthetic data": "dfq_zeroq",
    "QAT": "qat",
    "QAT with PACT": "pact",
}


class _WithDefault:
    """What takes the place of what is not valid."""

    instead: ClassVar[str] = "the default is used"


@dataclass(frozen=True)
class Choice(_WithDefault):
    """A field that takes one of a few words."""

    key: str
    label: str
    options: tuple[str, ...]
    default: str
    help: str

    def accepts(self, text: str) -> bool:
        """Say whether a URL parameter is valid; an older word for an option is."""
        return self.word(text) in self.options

    def word(self, text: str) -> str:
        """Return the option that a URL parameter names, by its present word."""
        return text if text in self.options else RENAMED.get(text, text)

    @property
    def expected(self) -> str:
        """What is valid, in words."""
        return "one of " + ", ".join(self.options)


@dataclass(frozen=True)
class Number(_WithDefault):
    """A field that takes a number in a range; `default` None means unset."""

    key: str
    label: str
    least: float
    greatest: float
    default: float | None
    help: str
    whole: bool = False

    def accepts(self, text: str) -> bool:
        """Say whether a URL parameter is valid."""
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            return False
        return math.isfinite(value) and self.least <= value <= self.greatest

    @property
    def expected(self) -> str:
        """What is valid, in words."""
        return f"a {'whole ' if self.whole else ''}number from {self.least:g} to {self.greatest:g}"


@dataclass(frozen=True)
class Numeral(_WithDefault):
    """A field that takes any number as text, infinities, NaN and −0 among them."""

    key: str
    label: str
    default: str
    help: str

    def accepts(self, text: str) -> bool:
        """Say whether a URL parameter is valid."""
        try:
            float(text)
        except ValueError:
            return False
        return True

    @property
    def expected(self) -> str:
        """What is valid, in words."""
        return "a number such as 0.1, 2e-3, -0, inf or nan"


@dataclass(frozen=True)
class Coded:
    """A field that takes text of a form of its own."""

    key: str
    label: str
    check: Callable[[str], bool]
    expected: str
    default: str = ""
    instead: ClassVar[str] = "what is not valid is left out"

    def accepts(self, text: str) -> bool:
        """Say whether a URL parameter is valid."""
        return self.check(text)


Field = Choice | Number | Numeral | Coded
