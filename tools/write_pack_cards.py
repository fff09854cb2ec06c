"""Measure the packs and write their cards, as JSON and as Markdown.

    python tools/write_pack_cards.py                 all packs, which `quant-explorer models add` has fetched
    python tools/write_pack_cards.py --only ocr      this one again; the others stay

All weights by one spec, min–max, on the pack's test split. SmolLM2 takes most of the time, some minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import platform
from collections.abc import Mapping, Sequence

import numpy
import torch

from quant_engine import LayerPlan, QuantizationPlan
from quant_engine.network import load
from quant_engine.packs import PACKS
from quant_engine.studies.pack_card import BITS, FILE, as_json, card_specs, pack_card
from quant_engine.tasks import Score

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "packs.md"
HEAD = """# Cards of the packs

What the packs (`quant-explorer models list`) score on their test splits with all weights quantized to integers,
embeddings included, by the range min–max; 95 % intervals in brackets. `tools/write_pack_cards.py` writes this page;
two rows a pack are measured again by the tests.
"""
AGAINST_FLOAT = {"same text", "same document", "top-1 agreement", "same top p"}  # of floating point with itself: 1


def measure(name: str, widths: Sequence[int]) -> dict[str, object]:
    """Return a pack's entry, with rows at some bits."""
    network = load(name)
    plain = {key: score for key, score in network.scores().items() if key not in AGAINST_FLOAT}
    rows = []
    for bits, shared, spec in card_specs():
        if bits not in widths:
            continue
        scores = network.scores(QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(spec))))
        rows.append({"spec": spec.key, "scores": as_json(scores)})
        print(f"{name} {bits} bits, one scale a {shared}: {next(iter(scores.values()))}", flush=True)
    made_with = f"Python {platform.python_version()}, numpy {numpy.__version__}, torch {torch.__version__}"
    return {"made_with": made_with, "plain": as_json(plain), "rows": rows}


def markdown() -> str:
    """Return the page of all cards."""
    lines = [HEAD]
    for name in json.loads(FILE.read_text(encoding="utf-8")):
        card, pack = pack_card(name), PACKS[name]
        lines += [f"## {pack.title} (`{name}`)", "", f"{pack.about[0].upper()}{pack.about[1:]}. {card.made_with}.", ""]
        lines += _table(card.plain, card.rows)
    return "\n".join(lines).rstrip() + "\n"


def _table(plain: Mapping[str, Score], rows: Mapping[object, Mapping[str, Score]]) -> list[str]:
    names = list(next(iter(rows.values())))
    units = {name: score.unit for scores in rows.values() for name, score in scores.items()}
    heads = [f"{name}{f', {units[name]}' if units[name] else ''}" for name in names]
    lines = [f"| bits | one scale a | {' | '.join(heads)} |", "|---|---|" + "---|" * len(names)]
    lines.append(f"| float | – | {' | '.join(_cell(plain.get(name)) for name in names)} |")
    for bits, shared, spec in card_specs():
        if spec in rows:
            lines.append(f"| {bits} | {shared} | {' | '.join(_cell(rows[spec].get(name)) for name in names)} |")
    return [*lines, ""]


def _cell(score: Score | None) -> str:
    if score is None or math.isnan(score.value):
        return "–"
    low, high = score.interval
    return f"{score.value:.4g}" + ("" if math.isnan(low) else f" ({low:.3g} – {high:.3g})")


def _compact(cards: dict[str, dict[str, object]]) -> str:
    """Return JSON with a row a line."""
    entries = []
    for name, card in cards.items():
        rows = ",\n".join(json.dumps(row) for row in card["rows"])
        head = f'"made_with": {json.dumps(card["made_with"])},\n"plain": {json.dumps(card["plain"])}'
        entries.append(f'{json.dumps(name)}: {{\n{head},\n"rows": [\n{rows}\n]\n}}')
    return "{\n" + ",\n".join(entries) + "\n}\n"


def main() -> None:
    """Parse the command line, measure, write."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--only", nargs="*", choices=list(PACKS), default=list(PACKS), help="measure these alone")
    ask.add_argument("--bits", nargs="*", type=int, choices=BITS, default=BITS, help="rows at these bits alone")
    given = ask.parse_args()
    cards = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name in given.only:
        cards[name] = measure(name, given.bits)
        ordered = {key: cards[key] for key in PACKS if key in cards}
        FILE.write_text(_compact(ordered), encoding="utf-8")
        PAGE.write_text(markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
