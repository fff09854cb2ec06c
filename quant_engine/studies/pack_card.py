"""What the packs score under plain plans, measured once and committed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quant_engine.errors import QuantError
from quant_engine.formats import IntFormat
from quant_engine.granularity import Granularity, PerChannel, PerGroup, PerTensor
from quant_engine.quantizer import QuantizerSpec
from quant_engine.tasks import Score

KEPT = ("name", "value", "n", "interval", "unit", "better")  # of a score
FILE = Path(__file__).parents[1] / "packs" / "cards.json"
BITS = (8, 7, 6, 5, 4, 3)
SHARED: Mapping[str, Granularity] = {
    "tensor": PerTensor(),
    "channel": PerChannel(0),
    "group of 32": PerGroup(32, remainder="short"),
}


@dataclass(frozen=True)
class PackCard:
    """Scores of one pack on its test split.

    Attributes:
        plain: in floating point, by the scores' names.
        rows: with all weights quantized by one spec, by some of the specs of `card_specs`.
        made_with: the versions of Python, which brings texts, and of the engine's dependencies.
    """

    plain: Mapping[str, Score]
    rows: Mapping[QuantizerSpec, Mapping[str, Score]]
    made_with: str


def card_specs() -> Iterator[tuple[int, str, QuantizerSpec]]:
    """Yield bits, what shares a scale, and the spec of each row, min–max.

    Example:
        >>> bits, shared, spec = next(card_specs())
        >>> bits, shared, spec.format.bits
        (8, 'tensor', 8)
    """
    for bits in BITS:
        for shared, granularity in SHARED.items():
            yield bits, shared, QuantizerSpec(IntFormat(bits), granularity)


def pack_card(name: str) -> PackCard:
    """Return the card of a pack.

    Raises:
        QuantError: for a pack without.

    Example:
        >>> pack_card("ocr").plain["exact match"].n
        120
    """
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    if name not in stored:
        raise QuantError(f"{name!r} has no card; choose one of {', '.join(stored)}")
    card = stored[name]
    rows = {QuantizerSpec.from_json(row["spec"]): _scores(row["scores"]) for row in card["rows"]}
    return PackCard(_scores(card["plain"]), rows, card["made_with"])


def as_json(scores: Mapping[str, Score]) -> list[dict[str, Any]]:
    """Return scores as they are stored."""
    return [{name: getattr(score, name) for name in KEPT} for score in scores.values()]


def _scores(stored: list[dict[str, Any]]) -> Mapping[str, Score]:
    return {row["name"]: Score(**{**row, "interval": tuple(row["interval"])}) for row in stored}
