"""Lesson 5: clipping and calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer import charts, compute, controls, formulas, tables
from explorer.caches import ResultKey
from explorer.fields import Number
from explorer.figures.clipping import Pick, Split, describe_split, split_figure
from explorer.figures.objectives import describe_objectives, objectives_figure
from explorer.formulas import Convention
from explorer.instrument import Move
from explorer.lessons.clipping.calibration import calibration_section
from explorer.lessons.clipping.calibration_sets import sets_section
from explorer.lessons.clipping.instrument_view import instrument_view
from explorer.lessons.clipping.trade import SAME, trade
from explorer.lessons.framework import fields
from explorer.lessons.framework.layout import figures_of
from explorer.lessons.framework.model import Bench, Facts, Lesson, Place
from explorer.lessons.framework.prose import read_prose, words
from explorer.lessons.framework.scene import Scene
from explorer.notation import beside, latex, share, short
from explorer.refusals import refusals_said
from quant_engine import Distribution, FixedRange, IntFormat, MinMax, MinMSE, Percentile, QuantizerSpec, fit
from quant_engine.clipping import ACIQ, Clipping, MinKL
from quant_engine.distribution import WeightedValues

SLUG = "clipping"
BITS = fields.bits_field(SLUG)
BETA = Number(
    f"{SLUG}_beta",
    1,
    100,
    default=100.0,
    step=0.1,
    width=fields.SLIDER_WIDTH,
)
CALIBRATORS: dict[str, Clipping] = {
    "min–max": MinMax(),
    "99.9 %": Percentile(99.9),
    "99 %": Percentile(99.0),
    "least MSE": MinMSE(),
    "least KL": MinKL(),
    "ACIQ": ACIQ("fit"),
}
SEARCHING = ("least MSE", "least KL", "ACIQ")  # what they minimise is worth a curve
POINTS = 56
REACH = (0.01, 1.0)  # of the greatest magnitude
PREDICTED_BITS = 4
SETS = {"See": {BITS.key: PREDICTED_BITS}}
OUTLIER = 20  # standard deviations
TINY = 1e-300


def laboratory(bench: Bench) -> Scene:
    """Draw what β cuts off, and both parts of the error."""
    bits, beta = controls.unshown(BITS), controls.unshown(BETA)  # the instrument's stepper and handles set them
    scene = _scene(bench, bits, beta)
    asked = bench.asking and question(scene).key not in bench.answers
    picked = _picks(scene) if bench.predicted and not asked else None
    locked = words()["curve_after_question" if asked else "curve_after_prediction"]
    instrument_view(
        scene, f"{SLUG}_instrument", BITS, picked, _moved(bench), words()["draw_beta"] if picked else locked
    )
    if picked is not None:
        _errors(bench, scene, picked)
    if bench.subject.unit == "activation":
        calibration_section(bench.model, bench.layer, bits)
        with st.container(key=f"{SLUG}_sets"), refusals_said():
            sets_section(bench.model, bits)
    return scene


def _errors(bench: Bench, scene: Scene, picked: dict[str, Pick]) -> None:
    """Draw both parts of the error, what each calibrator minimises, and what it picks."""
    split, now = _split(scene), Pick(scene.view.hi, scene.mse)
    left, right = figures_of(0.5)
    with left:
        chart = split_figure(split, now, picked, bench.canvas)
        charts.show(chart, f"{SLUG}_chart_split", describe_split(split, now, picked))
    with right:
        objectives = _objectives(scene, split.clips)
        chart = objectives_figure(split.clips, objectives, picked, bench.canvas)
        charts.show(chart, f"{SLUG}_chart_objectives", describe_objectives(objectives, picked))
        st.caption(words()["objectives"])
    tables.table([{"calibrator": name, "β": short(p.clip), "MSE": short(p.error)} for name, p in picked.items()])


def _moved(bench: Bench) -> Callable[[Move], None]:
    """Return what takes over a drag (a callback)."""
    greatest = _greatest(bench.subject.statistics)

    def moved(move: Move) -> None:
        values: dict[str, object] = {BITS.key: move.bits}
        if move.range is not None:
            values[BETA.key] = min(max(round(100 * move.range[1] / greatest, 1), BETA.min), BETA.max)
        controls.assign(values)

    return moved


def prediction(scene: Scene) -> str:
    """Say what clipping one per cent does at four bits."""
    gain = _gain(scene)
    return "falls" if gain > SAME else "rises" if gain < 1 / SAME else "same"


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    report, picked = scene.outcome.report, _picks(scene)
    best, widest, lowest = picked["least MSE"], picked["min–max"], float(scene.view.levels[0])
    return {
        "bits": str(scene.spec.format.bits),
        "beta": short(scene.view.hi),
        "clipped": share(report.clipped_share),
        "below": read_prose(SLUG).laboratory["below"].format(lowest=short(lowest)) if lowest < 0 else "",
        "verdict": _verdict(scene),
        "crossing": _crossing(scene),
        "best_beta": short(best.clip),
        "best_gain": short(widest.error / best.error) if best.error else "1",
        "least": share(best.clip / widest.clip) if widest.clip else "100 %",
    }


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out the scale and the two parts of the error."""
    report = scene.outcome.report
    parts = rf"{latex(report.rounding_mse)} + {latex(report.clipping_mse)} = {latex(report.mse)}"
    sums = r"\underbrace{\textstyle\sum_{\text{inside}} (\tilde r - r)^2 / n}_{\text{rounding}} + "
    sums += r"\underbrace{\textstyle\sum_{\text{outside}} (\tilde r - r)^2 / n}_{\text{clipping}}"
    return formulas.scale_formula(scene.spec, scene.view), rf"\mathrm{{MSE}} = {sums}", rf"\mathrm{{MSE}} = {parts}"


def question(scene: Scene) -> Place:
    """Ask for the best β; a guess is scored by what it costs."""
    form, shown = scene.spec.format, scene.subject.statistics
    best = shown.best_range(form)[1] or _greatest(shown)

    def cost(beta: float) -> float:
        ends = [[-beta if form.signed else 0.0, beta]]
        return float(shown.range_errors(form, ends)[0])

    return Place(str(ResultKey("least", scene.subject.key, form.bits)), scene.view.hi, best, cost)


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether β is at the least error, is worse than no clipping, and whether an outlier is in the tensor."""
    picked = _picks(scene)
    least, widest = picked["least MSE"].error, picked["min–max"].error
    far = _greatest(scene.subject.statistics) > OUTLIER * float(scene.subject.values.std())
    return scene.mse <= Place.NEAR * least, scene.mse > widest, far


def _greatest(shown: Distribution) -> float:
    return max(-shown.lo, shown.hi) or 1.0


def _scene(bench: Bench, bits: int, percent: float) -> Scene:
    shown = bench.subject.statistics
    greatest = _greatest(shown)
    form = IntFormat(bits, signed=shown.lo < 0)
    beta = greatest * percent / 100
    return Scene(bench.subject, QuantizerSpec(form, clipping=FixedRange(-beta if form.signed else 0.0, beta)))


def _split(scene: Scene) -> Split:
    """Return both parts of the error over a grid of β, measured on the values."""
    form, shown = scene.spec.format, scene.subject.statistics

    def measured() -> Split:
        clips = np.geomspace(*REACH, POINTS) * (_greatest(shown))
        specs = [QuantizerSpec(form, clipping=FixedRange(-b if form.signed else 0.0, b)) for b in clips]
        reports = [fit(scene.subject.values, spec).measure(scene.subject.values) for spec in specs]
        rounding, clipping = ([getattr(r, name) for r in reports] for name in ("rounding_mse", "clipping_mse"))
        return Split(clips, np.array(rounding), np.array(clipping))

    return compute.kept(ResultKey("split", scene.subject.key, form), measured)


def _verdict(scene: Scene) -> str:
    """Say what clipping one per cent does."""
    plain, clipped = _predicted(scene)
    said = trade(plain.outcome, clipped.outcome, scene.subject.unit)
    return said or read_prose(SLUG).laboratory["no_trade"]


def crossing_of(split: Split) -> float | None:
    """Return the β at which rounding and clipping error are equal, between two points of the grid; None if nowhere."""
    apart = np.log(np.maximum(split.rounding, TINY)) - np.log(np.maximum(split.clipping, TINY))
    above = np.flatnonzero((apart[:-1] < 0) & (apart[1:] >= 0))
    if not above.size:
        return None
    at = int(above[-1])
    share_of_step = apart[at] / (apart[at] - apart[at + 1])
    return float(split.clips[at] * (split.clips[at + 1] / split.clips[at]) ** share_of_step)


def _crossing(scene: Scene) -> str:
    """Say where the errors cross, and what that costs beside the best β."""
    said, cross = read_prose(SLUG).laboratory, crossing_of(_split(scene))
    if cross is None:
        return said["no_crossing"]
    form = scene.spec.format
    other = scene.under(QuantizerSpec(form, clipping=FixedRange(-cross if form.signed else 0.0, cross)))
    least = _picks(scene)["least MSE"].error
    return said["crossing"].format(cross=short(cross), over=beside(other.mse, least))


def _objectives(scene: Scene, clips: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return what each searching calibrator minimises, over the same grid of β."""
    form = scene.spec.format

    def evaluated() -> dict[str, NDArray[np.float64]]:
        values = WeightedValues.from_array(scene.subject.values)
        ranges = np.stack([-clips if form.signed else np.zeros_like(clips), clips], axis=1)
        return {name: CALIBRATORS[name].objective(values, form, True, ranges).values for name in SEARCHING}

    return compute.kept(ResultKey("objectives", scene.subject.key, form), evaluated)


def _picks(scene: Scene) -> dict[str, Pick]:
    """Return what every calibrator picks for this tensor and format."""
    picked = {}
    for name, clipping in CALIBRATORS.items():
        other = scene.under(QuantizerSpec(scene.spec.format, clipping=clipping))
        picked[name] = Pick(other.view.hi, other.mse)
    return picked


def _gain(scene: Scene) -> float:
    plain, clipped = (one.mse for one in _predicted(scene))
    return plain / clipped if clipped else 1.0


def _predicted(scene: Scene) -> tuple[Scene, Scene]:
    """Return the tensor at four bits without clipping, and with one per cent clipped."""
    form = IntFormat(PREDICTED_BITS, scene.spec.format.signed)
    plain, clipped = (scene.under(QuantizerSpec(form, clipping=one)) for one in (MinMax(), Percentile(99.0)))
    return plain, clipped


LESSON = Lesson(5, SLUG, (BITS, BETA), laboratory, prediction, facts, written, question, puzzles=puzzles, sets=SETS)
