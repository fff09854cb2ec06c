"""Lesson 4: symmetric and asymmetric ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence

from explorer import charts, controls, formulas
from explorer.fields import Choice, named
from explorer.figures.ranges import describe_ranges, ranges_figure
from explorer.formulas import Convention
from explorer.lessons.framework import fields
from explorer.lessons.framework.layout import hero
from explorer.lessons.framework.model import Bench, Choices, Facts, Lesson, choices
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Scene, nearest_step
from explorer.lessons.uniform.lesson import moved
from explorer.notation import count, ratio, share, short
from quant_engine import IntFormat, QuantizerSpec

SLUG = "symmetry"
BITS = fields.bits_field(SLUG)
KINDS = {
    "signed symmetric": (True, True),  # signed codes, symmetric range
    "unsigned symmetric": (False, True),
    "asymmetric": (False, False),
}
KIND = Choice(
    f"{SLUG}_range",
    named(KINDS),
    default="signed symmetric",
    menu=True,
    width=190,
)
COST = {"same": 1.0, "double": 2.0, "four": 4.0, "sixteen": 16.0}  # error of signed symmetric, in that of asymmetric
MOST_BITS = 8
FOUR_BITS = 4
SETS = {"See": {BITS.key: FOUR_BITS}}


def laboratory(bench: Bench) -> Scene:
    """Draw the tensor under the three kinds of range."""
    with bench.controls:
        bits, kind = controls.show(BITS), controls.show(KIND)
    rows = {name: Scene(bench.subject, _spec(name, bits)) for name in KINDS}
    scene = rows[kind]
    views = {name: row.view for name, row in rows.items() if bench.predicted or name == kind}
    # the instrument may take this figure's place
    figure = ranges_figure(views, kind, bench.subject.unit, bench.canvas, bench.telling)
    charts.show(figure, f"{SLUG}_chart_ranges", describe_ranges(views, bench.telling))
    result = scene.outcome
    hero(
        "Codes used",
        f"{count(result.codes_used)} of {count(result.codes_total)}" if bench.telling else "?",
        S=short(scene.view.scale),
        zero_point=count(scene.view.zero_point),
        MSE=short(scene.mse) if bench.telling else "?",
    )
    return scene


def prediction(scene: Scene) -> str:
    """Say what signed symmetric costs beside asymmetric at four bits."""
    return nearest_step(_cost(scene), COST)


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    result, form = scene.outcome, scene.spec.format
    said, half = read_prose(SLUG).laboratory, scene.under(_spec("unsigned symmetric", FOUR_BITS))
    signed, wide = (scene.under(_spec(name, FOUR_BITS)) for name in ("signed symmetric", "asymmetric"))
    low, high = scene.subject.statistics.lo, scene.subject.statistics.hi
    return {
        "bits": str(form.bits),
        "low": short(low),
        "high": short(high),
        "cost": ratio(signed.mse, wide.mse) if wide.mse else "×1",
        "scales": ratio(signed.view.scale, wide.view.scale),
        "squared": ratio(signed.view.scale**2, wide.view.scale**2),
        "signed_idle": _idle_text(signed),
        "wide_idle": _idle_text(wide),
        "unsigned": said["unsigned_same"]
        if low >= 0
        else said["unsigned_clips"].format(clipped=share(half.outcome.report.clipped_share)),
        "moved": moved(scene),
        "used": count(result.codes_used),
        "total": count(result.codes_total),
        "idle": share(_idle(scene)),
        "range": next(name for name, flags in KINDS.items() if flags == (form.signed, scene.spec.symmetric)),
        "lowest": short(-(2 ** (form.bits - 1))),
    }


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out scale and zero point of the range chosen."""
    return (
        formulas.scale_formula(scene.spec, scene.view),
        formulas.zero_point_formula(scene.spec, scene.view, convention),
    )


def question(scene: Scene) -> Choices:
    """Ask which share of the codes is wasted."""
    form, result = scene.spec.format, scene.outcome
    total = result.codes_total
    wrong = {"none": 0.0, "half": 0.5, "lowest_counts": (total - result.codes_used - 1) / total, "quarter": 0.25}
    if not (scene.spec.symmetric and form.signed and scene.view.counts[0] == 0):
        del wrong["lowest_counts"]
    return choices(_idle(scene), wrong, share)


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether nearly all codes are used, about half of eight bits', and whether weights are on display."""
    half = scene.spec.format.bits == MOST_BITS and _idle(scene) >= 0.45
    return _idle(scene) <= 0.1, half, scene.subject.is_weight


def _spec(kind: str, bits: int) -> QuantizerSpec:
    signed, symmetric = KINDS[kind]
    return QuantizerSpec(IntFormat(bits, signed), symmetric=symmetric)


def _cost(scene: Scene) -> float:
    signed, wide = (scene.under(_spec(name, FOUR_BITS)).mse for name in ("signed symmetric", "asymmetric"))
    return signed / wide if wide else math.inf if signed else 1.0


def _idle(scene: Scene) -> float:
    return 1 - scene.outcome.codes_used / scene.outcome.codes_total


def _idle_text(scene: Scene) -> str:
    return share(_idle(scene))


LESSON = Lesson(
    4, SLUG, (BITS, KIND), laboratory, prediction, facts, written, question, "layer inputs", puzzles, sets=SETS
)
