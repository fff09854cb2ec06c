"""Lesson 1: bit width, codewords, codebooks and buckets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explorer import charts, controls, formulas
from explorer.figures.codebook import Snapping, codebook_figure, describe_codebook, pattern
from explorer.formulas import Convention
from explorer.lessons.framework import fields
from explorer.lessons.framework.layout import hero, more
from explorer.lessons.framework.model import Bench, Choices, Facts, Lesson, choices
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Scene
from explorer.notation import count, short
from quant_engine import IntFormat, QuantizerSpec

SLUG = "bits"
BITS, CODES = fields.bits_field(SLUG, 3), fields.codes_field(SLUG)
LEVELS, PLACE = fields.levels_field(SLUG), fields.place_field(SLUG)
SAMPLE = 160
PREDICTED_BITS = 8
SETS = {"See": {BITS.key: PREDICTED_BITS}}
SHARES = {"most": 0.75, "half": 0.5, "few": 0.0}  # of the codes; "all" is every one


def laboratory(bench: Bench) -> Scene:
    """Draw cells, snapping values and the use of codes."""
    with bench.controls:
        bits, place = controls.show(BITS), controls.show(PLACE)
        with more(SLUG):
            signed = controls.show(CODES)
            narrow = controls.show(LEVELS, disabled=not signed) and signed
    scene = Scene(bench.subject, QuantizerSpec(IntFormat(bits, signed, narrow)), place)
    view, result, said = scene.view, scene.outcome, read_prose(SLUG).laboratory
    counted = bench.telling or not (bench.asking or bits == PREDICTED_BITS)
    shown = Snapping(view, scene.sample(SAMPLE), scene.code, bench.subject.unit, counted)
    charts.show(codebook_figure(shown, bench.canvas), f"{SLUG}_chart_codebook", describe_codebook(shown))
    hero(
        said["used"],
        said["of"].format(n=count(result.codes_used) if counted else "?", total=count(result.codes_total)),
        step_S=short(view.scale),
        r=f"{short(scene.r)} → {pattern(scene.code, bits)} → {short(scene.r_hat)}",
    )
    return scene


def prediction(scene: Scene) -> str:
    """Say how many of the 256 codes the tensor uses."""
    result = scene.under(_wide(scene)).outcome
    used = result.codes_used / result.codes_total
    return "all" if used == 1.0 else next(key for key, min_share in SHARES.items() if used >= min_share)


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    result, wide = scene.outcome, scene.under(_wide(scene)).outcome
    return {
        "bits": str(scene.spec.format.bits),
        "n": count(scene.subject.values.size),
        "used": count(result.codes_used),
        "total": count(result.codes_total),
        "wide_used": count(wide.codes_used),
        "wide_total": count(wide.codes_total),
        **_idle(scene.under(_wide(scene))),
        "low": short(scene.subject.statistics.lo),
        "high": short(scene.subject.statistics.hi),
    }


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out the number of codes and the scale."""
    form = scene.spec.format
    lost, said = " - 1" if form.narrow else "", read_prose(SLUG).laboratory["codes"]
    codes = rf"2^b{lost} = 2^{{{form.bits}}}{lost} = {form.qmax - form.qmin + 1}"
    ends = rf"Q \in \{{ {form.qmin}, \ldots, {form.qmax} \}}"
    return rf"{codes} \text{{ {said}}}, \quad {ends}", formulas.scale_formula(scene.spec, scene.view)


def question(scene: Scene) -> Choices:
    """Ask how many distinct values are left."""
    form, result = scene.spec.format, scene.outcome
    wrong = {"all_codes": result.codes_total, "steps": result.codes_total - 1, "linear": 2 * form.bits}
    if form.signed:
        wrong["sign"] = 2 ** (form.bits - 1)
    return choices(result.codes_used, wrong, lambda value: count(int(value)))


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether all codes are used, at most two thirds, and whether the value followed has a negative code."""
    used = scene.outcome.codes_used / scene.outcome.codes_total
    return used == 1.0, used < 2 / 3, scene.code < 0


def _idle(wide: Scene) -> Facts:
    """Say how many codes without a value lie beyond the values, and how many between them."""
    used = np.flatnonzero(wide.view.counts)
    inside = int(used[-1] - used[0]) + 1 if used.size else 0
    between, said = inside - used.size, read_prose(SLUG).laboratory
    return {
        "beyond": count(wide.view.counts.size - inside),
        "inside": said["inside_some"].format(between=count(between)) if between else said["inside_none"],
    }


def _wide(scene: Scene) -> QuantizerSpec:
    return QuantizerSpec(IntFormat(PREDICTED_BITS))


LESSON = Lesson(
    1, SLUG, (BITS, CODES, LEVELS, PLACE), laboratory, prediction, facts, written, question, puzzles=puzzles, sets=SETS
)
