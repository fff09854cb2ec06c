"""Fields that several laboratories have, each under the lesson's own prefix."""

from __future__ import annotations

from explorer.fields import Choice, Number

SLIDER_WIDTH = 110
MENU_WIDTH = 130


def bits_field(prefix: str, default: int = 4) -> Number[int]:
    """Return the width of a code; eight bits at most, so that every cell can be seen."""
    text = "Width of a code: b bits make 2ᵇ codes."
    return Number(f"{prefix}_bits", "Bits", 2, 8, default, text, width=SLIDER_WIDTH)


def codes_field(prefix: str, default: str = "signed") -> Choice[bool]:
    """Return whether codes are signed."""
    text = "Signed codes are centred on 0; unsigned ones start at 0."
    return Choice(
        f"{prefix}_codes", "Codes", {"signed": True, "unsigned": False}, default, text, menu=True, width=MENU_WIDTH
    )


def levels_field(prefix: str) -> Choice[bool]:
    """Return whether the range of codes is restricted."""
    text = "Restricted leaves out the most negative code, so that the codes are symmetric too."
    options = {"full": False, "restricted": True}
    return Choice(f"{prefix}_levels", "Code range", options, "full", text, menu=True, width=MENU_WIDTH)


def range_field(prefix: str, default: str = "symmetric") -> Choice[bool]:
    """Return whether ranges are symmetric."""
    text = "Symmetric: α = −β, and 0 is code 0. Asymmetric: α and β are free, and the zero point shifts the codes."
    options = {"symmetric": True, "asymmetric": False}
    return Choice(f"{prefix}_range", "Range", options, default, text, menu=True, width=MENU_WIDTH)


def place_field(prefix: str, default: int = 62) -> Number[int]:
    """Return the place of the value that is followed."""
    text = "The value that is followed, in per cent of the way from the least to the greatest value."
    return Number(f"{prefix}_place", "r, % of span", 0, 100, default, text, width=SLIDER_WIDTH)
