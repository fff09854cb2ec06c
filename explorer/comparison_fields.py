"""What the page Compare is asked: the second model, and whether it is as it is or quantized."""

from __future__ import annotations

from explorer.fields import Choice, named
from explorer.own_files import models

SAME = "the same"
WIDTH, MODE_WIDTH = 160, 130  # pixels
MODES = {"quantized": True, "as it is": False}
QUANTIZED = Choice("compare_as", MODES, default="quantized", menu=True, width=MODE_WIDTH)


def compare_with_field() -> Choice[str]:
    """Return the field of the second model."""
    options = {SAME: "", **named(models().names())}
    return Choice("compare_with", options, default=SAME, menu=True, width=WIDTH, instead="instead_own_file")
