"""What two language models write after the same tokens, and the first token that parts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from explorer.commands.common import number, said

if TYPE_CHECKING:
    from quant_engine import QuantizationPlan
    from quant_engine.network import Network

PROMPT, TOKENS = 16, 24  # tokens of the split's first text, and those written after them


def parting(
    first: Network, before: QuantizationPlan | None, second: Network, after: QuantizationPlan | None, split: str
) -> dict[str, Any] | None:
    """Return where the texts part, counted from 1, the token of each there and its probability; None without texts."""
    from quant_engine.studies import task_text, write
    from quant_engine.tasks import NextToken

    if not isinstance(first.task, NextToken):
        return None
    prompt = task_text(first, split, PROMPT)
    *_, last = write(first, after, prompt, TOKENS, before, second)
    found: dict[str, Any] = {"prompt": len(prompt), "written": TOKENS, "place": None}
    if last.parts is None or last.odds is None:
        return found
    chosen = last.plain[last.parts], last.planned[last.parts]
    odds = [float(of[token]) for of, token in zip(last.odds, chosen, strict=True)]
    return {**found, "place": last.parts + 1, "tokens": [_text(first, token) for token in chosen], "odds": odds}


def parting_said(found: dict[str, Any], first: str, second: str) -> str:
    """Return the same in words."""
    if found["place"] is None:
        return said("texts_same", **found)
    (one, two), odds = found["tokens"], [number(100 * value) for value in found["odds"]]
    named = {"first": first, "second": second, "one": repr(one), "two": repr(two)}
    return said("texts_part", place=found["place"], prompt=found["prompt"], odds=odds[0], other=odds[1], **named)


def _text(network: Network, token: int) -> str:
    """Return what a token says, or its number where the model has no tokenizer."""
    from explorer.tokenizer_files import read_tokenizer
    from quant_engine import QuantError

    try:
        return str(read_tokenizer(network).decode([token]))
    except QuantError:
        return str(token)
