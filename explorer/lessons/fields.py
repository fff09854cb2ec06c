"""Fields that several laboratories have, each under the lesson's own prefix."""

from __future__ import annotations

from explorer.fields import Choice, Number


def bits_field(prefix: str, default: int = 4) -> Number:
    """Return the width of a code; eight bits at most, so that every cell can be seen."""
    return Number(f"{prefix}_bits", "Bits", 2, 8, default, "Width of a code: b bits make 2ᵇ codes.", whole=True)


def codes_field(prefix: str, default: str = "signed") -> Choice:
    """Return signed or unsigned codes."""
    text = "Signed codes are centred on 0; unsigned ones start at 0."
    return Choice(f"{prefix}_codes", "Codes", ("signed", "unsigned"), default, text)


def levels_field(prefix: str) -> Choice:
    """Return the full or restricted range of codes."""
    text = "Restricted leaves out the most negative code, so that the codes are symmetric too."
    return Choice(f"{prefix}_levels", "Code range", ("full", "restricted"), "full", text)


def range_field(prefix: str, default: str = "symmetric") -> Choice:
    """Return symmetric or asymmetric ranges."""
    text = "Symmetric: α = −β, and 0 is code 0. Asymmetric: α and β are free, and the zero point shifts the codes."
    return Choice(f"{prefix}_range", "Range", ("symmetric", "asymmetric"), default, text)


def place_field(prefix: str, default: int = 62) -> Number:
    """Return the place of the value that is followed."""
    text = "The value that is followed, in per cent of the way from the least to the greatest value."
    return Number(f"{prefix}_place", "Follow a value, %", 0, 100, default, text, whole=True)
