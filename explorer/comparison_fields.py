"""What the page Compare is asked: the second model, and for both whether they are as they are or under a plan."""

from __future__ import annotations

from explorer.fields import Choice, named
from explorer.own_files import models

SAME, AS_IS, QUANTIZED, TUNED = "the same", "as it is", "quantized", "tuned"
WIDTH, MODE_WIDTH = 150, 126  # pixels
MODES = named((AS_IS, QUANTIZED, TUNED))
FIRST_AS = Choice("compare_first", MODES, default=AS_IS, menu=True, width=MODE_WIDTH)
SECOND_AS = Choice("compare_as", MODES, default=QUANTIZED, menu=True, width=MODE_WIDTH)


def compare_with_field() -> Choice[str]:
    """Return the field of the second model."""
    options = {SAME: "", **named(models().names())}
    return Choice("compare_with", options, default=SAME, menu=True, width=WIDTH, instead="instead_own_file")
