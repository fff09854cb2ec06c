"""Why clipping pays, or does not: what is left of the error inside the range, and what the values outside add."""

from __future__ import annotations

from explorer.language import several
from explorer.lessons.framework.prose import words
from explorer.notation import share, short
from explorer.results import Outcome

SAME = 1.1  # a ratio of errors nearer to 1 is "about the same"


def trade(plain: Outcome, clipped: Outcome, unit: str) -> str:
    """Say in shares of the squared error of a `plain` range what the steps of a narrower one save, and clipping adds.

    Both have one scale, and `plain` clips nothing. Where it makes no error there is nothing to say.
    """
    before, now = plain.report.mse, clipped.report
    if not before or clipped.largest_scale >= plain.largest_scale:
        return ""
    gain = before / now.mse if now.mse else float("inf")
    verdict = "pays" if gain > SAME else "costs" if gain < 1 / SAME else "level"
    return words()["trade"].format(
        before=short(float(plain.quantizer.levels()[-1])),
        after=short(float(clipped.quantizer.levels()[-1])),
        steps=share(clipped.largest_scale / plain.largest_scale),
        inside=share(now.rounding_mse / before),
        outside=share(now.clipped_share),
        units=several(unit),
        added=share(now.clipping_mse / before),
        verdict=words()[f"trade_{verdict}"].format(total=share(now.mse / before), gain=short(gain)),
    )
