"""What a person types to change many layers at once: "*.down_proj → int8, channel"."""

from __future__ import annotations

from collections.abc import Iterable

from explorer.language import read_words
from explorer.tuning.cells import ASKED, COLUMNS, FLOAT32, cells_of
from explorer.tuning.tuned_plan import TunedPlan, matching
from quant_engine import QuantError

ARROWS = ("→", "->", "=>", "=")


def split_pattern(text: str) -> tuple[str, list[str]]:
    """Return the pattern of a text, and the words after its arrow.

    >>> split_pattern("conv* -> int4, channel"), split_pattern(" fc? ")
    (('conv*', ['int4', 'channel']), ('fc?', []))
    """
    for arrow in ARROWS:
        if arrow in text:
            pattern, _, words = text.partition(arrow)
            return pattern.strip(), [word.strip() for word in words.split(",") if word.strip()]
    return text.strip(), []


def by_pattern(plan: TunedPlan, layers: Iterable[str], text: str) -> tuple[TunedPlan, list[str]]:
    """Return the plan as a text changes it, and the layers that its pattern names.

    Words are those of the table's cells; "8 bits" means int8.

    Raises:
        QuantError: for a pattern that no layer matches, and words that no cell has.
    """
    pattern, words = split_pattern(text)
    found = matching(layers, pattern)
    for word in words:
        plan = _changed(plan, found, word)
    return plan, found


def _changed(plan: TunedPlan, layers: list[str], word: str) -> TunedPlan:
    number = word.removesuffix("bits").removesuffix("bit").strip()
    named = f"int{number}" if number.isdecimal() else {"float": FLOAT32, "fp32": FLOAT32}.get(word.lower(), word)
    if named == FLOAT32:
        return plan.in_float(layers)
    for column in COLUMNS:
        if cells := cells_of(column, named):
            return plan.with_cells(layers, cells)
    known = ", ".join(dict.fromkeys(name for cells in COLUMNS.values() for name in cells) | dict.fromkeys(ASKED))
    raise QuantError(read_words("tuner")["pattern"]["unknown"].format(word=word, known=known))
