"""Lesson 3: uniform quantization."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from explorer import charts, controls, formulas
from explorer.figures.staircase import Step, bits_figure, describe_bits, describe_staircase, staircase_figure
from explorer.formulas import Convention
from explorer.lessons.framework import fields
from explorer.lessons.framework.layout import figures_of, hero, more
from explorer.lessons.framework.model import Bench, Choices, Facts, Lesson, choices
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Scene, nearest_step
from explorer.notation import count, decibels, short
from explorer.results import BlockView
from quant_engine import IntFormat, QuantizerSpec

SLUG = "uniform"
BITS, CODES = fields.bits_field(SLUG, 3), fields.codes_field(SLUG, "unsigned")
RANGE, PLACE = fields.range_field(SLUG, "asymmetric"), fields.place_field(SLUG)
WIDTHS = range(2, 9)
STAIRS = 0.62  # of the width
SETS = {"See": {BITS.key: 5}}
ALMOST, TINY = 0.9, 1e-6
NEAR = 1.25  # a ratio up to which the error goes with the square of the step
ONE_MORE_BIT = {"same": 1.0, "half": 2.0, "quarter": 4.0, "sixteenth": 16.0}  # by how much the error falls


def laboratory(bench: Bench) -> Scene:
    """Draw one value on the staircase, and error against bits."""
    with bench.controls:
        bits, place = controls.show(BITS), controls.show(PLACE)
        with more(SLUG):
            symmetric, signed = controls.show(RANGE), controls.show(CODES)
    scene = Scene(bench.subject, QuantizerSpec(IntFormat(bits, signed), symmetric=symmetric), place)
    step = Step(scene.view, scene.r, None if bench.asking else scene.r_hat, bench.subject.unit)
    left, right = figures_of(STAIRS) if bench.telling else (st.container(), None)
    with left:
        charts.show(staircase_figure(step, bench.canvas), f"{SLUG}_chart_stairs", describe_staircase(step))
    if right:
        each = {width: scene.under(_of_bits(scene, width)) for width in WIDTHS}
        measured, theory = ({w: of(one) for w, one in each.items()} for of in (_mse, _ideal))
        with right:
            charts.show(
                bits_figure(measured, theory, bits, bench.canvas), f"{SLUG}_chart_bits", describe_bits(measured)
            )
    hero(
        "Error of r",
        "?" if bench.asking else f"{short(scene.r_hat - scene.r)} of at most {short(scene.view.scale / 2)}",
        step_S=short(scene.view.scale),
        zero_point="?" if bench.asking else count(scene.view.zero_point),  # the code of what is near 0
        code="?" if bench.asking else count(scene.code),
    )
    return scene


def prediction(scene: Scene) -> str:
    """Say what a fifth bit does to the error of four."""
    return nearest_step(_gain(scene, 4), ONE_MORE_BIT)


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    view, said = scene.view, read_prose(SLUG).laboratory
    four, five = (scene.under(_of_bits(scene, bits)) for bits in (4, 5))
    two, eight = (scene.under(_of_bits(scene, bits)).outcome.report.sqnr_db for bits in (2, 8))
    return {
        "bits": str(scene.spec.format.bits),
        "r": short(scene.r, 4),
        "r_hat": short(scene.r_hat, 4),
        "code": count(scene.code),
        **_ends(view),
        "moved": moved(scene),
        "ends": said["mirrored" if scene.spec.symmetric else "whole"],
        "least": str(scene.spec.format.qmin),
        "greatest": str(scene.spec.format.qmax),
        "falls": _falls(four, five),
        "a_bit": decibels((eight - two) / 6),
        "a_bit_part": short(10 ** ((eight - two) / 60)),
        "mse": short(scene.mse),
        "ideal": short(_ideal(scene)),
    }


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out scale, zero point, and the way of r."""
    spec, view = scene.spec, scene.view
    return (
        formulas.scale_formula(spec, view),
        formulas.zero_point_formula(spec, view, convention),
        formulas.code_formula(spec, view, scene.r, convention),
        formulas.value_formula(view, scene.r, convention),
    )


def question(scene: Scene) -> Choices:
    """Ask for the code of r; each wrong code follows from one slip."""
    form, view, r = scene.spec.format, scene.view, scene.r
    zero, steps = view.zero_point, r / view.scale
    width = (form.qmax if scene.spec.symmetric else form.qmax - form.qmin) + 1
    coarse = view.scale * (width - 1) / width
    shifted = 0 if scene.spec.symmetric else round(form.qmin - view.chosen[0] / coarse)
    wrong = {
        "divisor": round(r / coarse) + shifted,
        "sign": round(steps) - zero,
        "no_zero": round(steps),
        "down": math.floor(steps) + zero,
        "up": math.ceil(steps) + zero,
        "from_zero": scene.code - form.qmin,
        "neighbour": scene.code - 1,
    }
    return choices(scene.code, wrong, lambda value: short(value, 9))


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether the error of r is almost half a step, almost nothing, and whether steps are ten times finer."""
    part = abs(scene.r_hat - scene.r) / (scene.view.scale / 2)
    finer = scene.under(_of_bits(scene, 2)).view.scale / scene.view.scale
    return ALMOST <= part <= 1 + TINY, part <= 1 - ALMOST, finer >= 10


def moved(scene: Scene) -> str:
    """Say where rounding the zero point has moved the range."""
    return "" if scene.spec.symmetric else read_prose(SLUG).laboratory["moved"].format(**_ends(scene.view))


def _falls(four: Scene, five: Scene) -> str:
    """Say what a fifth bit does to steps and error, and whether the error goes with the square of the step."""
    shrink, gain = four.view.scale / five.view.scale, four.mse / five.mse if five.mse else math.inf
    squared = 1 / NEAR <= gain / shrink**2 <= NEAR
    said = read_prose(SLUG).laboratory["falls_squared" if squared else "falls_otherwise"]
    return said.format(shrink=short(shrink), gain=short(gain), squared=short(shrink**2))


def _ends(view: BlockView) -> Facts:
    """Return the range that was chosen, and the outermost levels."""
    (alpha, beta), low, high = view.chosen, view.lo, view.hi
    return {"alpha": short(alpha, 4), "beta": short(beta, 4), "low": short(low, 4), "high": short(high, 4)}


def _gain(scene: Scene, bits: int) -> float:
    now, more = (scene.under(_of_bits(scene, width)).mse for width in (bits, bits + 1))
    return now / more if more else math.inf


def _mse(scene: Scene) -> float:
    return scene.mse


def _ideal(scene: Scene) -> float:
    """Return the error of a value anywhere in its step: S²/12."""
    return scene.view.scale**2 / 12


def _of_bits(scene: Scene, bits: int) -> QuantizerSpec:
    return QuantizerSpec(IntFormat(bits, scene.spec.format.signed), symmetric=scene.spec.symmetric)


LESSON = Lesson(
    3, SLUG, (BITS, CODES, RANGE, PLACE), laboratory, prediction, facts, written, question, puzzles=puzzles, sets=SETS
)
