"""Lesson 6: dequantization and rounding error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer import charts, compute, controls, formulas, tables
from explorer.caches import ResultKey
from explorer.fields import Choice, named
from explorer.figures import dequantization
from explorer.figures.dequantization import Errors, Way
from explorer.formulas import Convention
from explorer.lessons.framework import fields
from explorer.lessons.framework.layout import figures_of, hero, more
from explorer.lessons.framework.model import Bench, Choices, Facts, Lesson, choices
from explorer.lessons.framework.prose import read_prose, words
from explorer.lessons.framework.scene import STOCHASTIC, Scene, nearest_step
from explorer.lessons.rounding.equal_noise import equal_noise_section
from explorer.notation import beside, count, latex, ratio, short
from explorer.refusals import refusals_said
from quant_engine import IntFormat, Quantizer, QuantizerSpec, fit
from quant_engine.quantizer.rounding import ROUNDINGS

SLUG = "rounding"
BITS, RANGE = fields.bits_field(SLUG), fields.range_field(SLUG)
PLACE = fields.place_field(SLUG, 58)
ROUNDING = Choice(
    f"{SLUG}_mode",
    named(ROUNDINGS),
    default="nearest",
    menu=True,
    width=fields.MENU_WIDTH,
)
PREDICTED_BITS = 8
SETS = {"See": {BITS.key: PREDICTED_BITS, ROUNDING.key: "floor", RANGE.key: "asymmetric"}}
COST = {"same": 1.0, "double": 2.0, "four": 4.0, "sixteen": 16.0}
FILLED = 2.0  # times the error of rounding to nearest: less, where values lie on a grid of their own
UNBIASED = 0.02  # of a step
WITHOUT_ZERO = (1.0, 1.25, 1.5, 2.0)


def laboratory(bench: Bench) -> Scene:
    """Draw the way of one value, the errors of all, and what they do to the network."""
    with bench.controls:
        bits, rounding, place = controls.show(BITS), controls.show(ROUNDING), controls.show(PLACE)
        with more(SLUG):
            symmetric = controls.show(RANGE)
    scene = Scene(bench.subject, QuantizerSpec(IntFormat(bits), symmetric=symmetric, rounding=rounding), place)
    way = Way(scene.view, scene.r, scene.code, None if bench.asking else scene.r_hat)
    left, right = figures_of(0.56)
    with left:
        chart = dequantization.way_figure(way, bench.subject.unit, bench.canvas)
        charts.show(chart, f"{SLUG}_chart_way", dequantization.describe_way(way))
    with right:
        found = _errors(scene)
        chart, said = dequantization.errors_figure(found, bench.canvas), dequantization.describe_errors(found, rounding)
        charts.show(chart, f"{SLUG}_chart_errors", said)
    hero(
        "MSE",
        short(scene.mse) if bench.predicted else "?",
        bias=f"{short(found.bias)} S",
        S=short(scene.view.scale),
        code_of_r=count(scene.code),
    )
    _break_it()
    if bench.predicted and bench.subject.is_weight:
        with refusals_said():
            equal_noise_section(bench, scene.spec)
    return scene


def prediction(scene: Scene) -> str:
    """Say what rounding down costs beside rounding to the nearest."""
    return nearest_step(_cost(scene), COST)


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    drawn = scene.under(_spec(STOCHASTIC))
    return {
        "bits": str(scene.spec.format.bits),
        "mode": scene.spec.rounding,
        "r": short(scene.r, 4),
        "code": count(scene.code),
        "r_hat": short(scene.r_hat, 4),
        "error": short(scene.r_hat - scene.r),
        "half": short(scene.view.scale / 2),
        "down": _down(scene),
        "stochastic": beside(drawn.mse, scene.under(_spec("nearest")).mse),
        "stochastic_bias": short(_errors(drawn).bias, 2),
    }


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out the way there and back."""
    rounding = formulas.with_rounding(convention, scene.spec.rounding)
    return (
        formulas.code_formula(scene.spec, scene.view, scene.r, rounding, scene.code),
        formulas.value_formula(scene.view, scene.r, convention, scene.code),
        rf"\left|\tilde r - r\right| = {latex(abs(scene.r_hat - scene.r))}, \quad "
        rf"\frac{{S}}{{2}} = {latex(scene.view.scale / 2)}",
    )


def question(scene: Scene) -> Choices:
    """Ask what comes back for r, and whether the error is within S/2."""
    step, r = scene.view.scale, scene.r
    away = -1 if scene.r_hat >= r else 1
    wrong = {
        "restores": r,
        "no_zero": step * scene.code,
        "neighbour": scene.value_of(scene.code - away),
        "code": float(scene.code),
    }

    def write(value: float) -> str:
        within = abs(value - r) <= step / 2 * (1 + 1e-6)
        return f"{short(value, 4)}; the error is {'within' if within else 'more than'} S/2"

    return choices(scene.r_hat, wrong, write)


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether r comes back almost exactly, all errors have one sign, and chance rounds almost without bias."""
    found = _errors(scene)
    middle = found.shares.size // 2
    sided = not found.shares[:middle].any() or not found.shares[middle:].any()
    chance = scene.spec.rounding == STOCHASTIC and abs(found.bias) < UNBIASED
    return abs(scene.r_hat - scene.r) <= UNBIASED * scene.view.scale, sided, chance


def _break_it() -> None:
    """Show a range that excludes 0: taken as it is, the zero point saturates and everything comes back as one value."""
    x = np.array(WITHOUT_ZERO, np.float32)
    spec = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
    steps = spec.format.qmax - spec.format.qmin
    naive = Quantizer(spec, np.array([(x.max() - x.min()) / steps], np.float32), np.array([spec.format.qmin], np.int32))
    columns = {
        words()["value"]: x.tolist(),
        words()["range_as_is"]: naive.fake_quantize(x).tolist(),
        words()["range_with_zero"]: fit(x, spec).fake_quantize(x).tolist(),
    }
    st.caption(words()["without_zero"])
    tables.table(dequantization.as_records(columns))


def _errors(scene: Scene) -> Errors:
    x = scene.subject.values
    return compute.kept(
        ResultKey("errors", scene.subject.key, scene.spec),
        lambda: _distribution_of(scene.outcome.quantizer.fake_quantize(x).astype(np.float64) - x, scene.view.scale),
    )


def _distribution_of(errors: NDArray[np.float64], step: float) -> Errors:
    counts, edges = np.histogram(errors / step, bins=dequantization.BINS, range=(-1.0, 1.0))
    return Errors(counts / errors.size, edges, float(errors.mean() / step))


def _cost(scene: Scene) -> float:
    nearest, down = (scene.under(_spec(rounding)).mse for rounding in ("nearest", "floor"))
    return down / nearest if nearest else 1.0


def _down(scene: Scene) -> str:
    """Say what rounding down costs and why, as far as errors fill a step."""
    cost, said = _cost(scene), read_prose(SLUG).laboratory
    bias = _errors(scene.under(_spec("floor"))).bias
    return said["down_fills" if cost > FILLED else "down_alike"].format(cost=ratio(cost, 1.0), bias=short(bias))


def _spec(rounding: str) -> QuantizerSpec:
    return QuantizerSpec(IntFormat(PREDICTED_BITS), symmetric=False, rounding=rounding)


LESSON = Lesson(
    6,
    SLUG,
    (BITS, RANGE, ROUNDING, PLACE),
    laboratory,
    prediction,
    facts,
    written,
    question,
    puzzles=puzzles,
    sets=SETS,
)
