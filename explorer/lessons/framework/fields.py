"""Fields that several laboratories have, each under the lesson's own prefix."""

from __future__ import annotations

from explorer.fields import Choice, Number

SLIDER_WIDTH = 100
MENU_WIDTH = 112


def bits_field(prefix: str, default: int = 4) -> Number[int]:
    """Return the width of a code; eight bits at most, so that every cell can be seen."""
    return Number(f"{prefix}_bits", 2, 8, default, width=SLIDER_WIDTH, words="bits")


def codes_field(prefix: str, default: str = "signed") -> Choice[bool]:
    """Return whether codes are signed."""
    options = {"signed": True, "unsigned": False}
    return Choice(f"{prefix}_codes", options, default, menu=True, width=MENU_WIDTH, words="codes")


def levels_field(prefix: str) -> Choice[bool]:
    """Return whether the range of codes is restricted."""
    options = {"full": False, "restricted": True}
    return Choice(f"{prefix}_levels", options, "full", menu=True, width=MENU_WIDTH, words="levels")


def range_field(prefix: str, default: str = "symmetric") -> Choice[bool]:
    """Return whether ranges are symmetric."""
    options = {"symmetric": True, "asymmetric": False}
    return Choice(f"{prefix}_range", options, default, menu=True, width=MENU_WIDTH, words="range")


def place_field(prefix: str, default: int = 62) -> Number[int]:
    """Return the place of the value that is followed."""
    return Number(f"{prefix}_place", 0, 100, default, width=SLIDER_WIDTH, words="place")
