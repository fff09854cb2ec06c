"""Lesson 7: non-uniform quantization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import streamlit as st

from explorer import charts, compute, controls
from explorer.buckets import Shift, buckets
from explorer.caches import ResultKey
from explorer.fields import Choice, Number, Text, named
from explorer.figures.lloyd import describe_lloyd, lloyd_figure
from explorer.figures.midpoints import Bucketed, describe_midpoints, midpoints_figure
from explorer.formulas import Convention
from explorer.lessons.centroids import codebooks, learning
from explorer.lessons.centroids.codebook_comparison import side_by_side
from explorer.lessons.centroids.codebooks import CLIPPED, UNIFORM
from explorer.lessons.centroids.learning import BY_HAND, OPENING, RANDOM, STARTS
from explorer.lessons.framework.fields import MENU_WIDTH, SLIDER_WIDTH
from explorer.lessons.framework.layout import numbers
from explorer.lessons.framework.model import Bench, Choices, Facts, Lesson, choices
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Placed, Scene, nearest_step
from explorer.notation import beside, count, latex, share, short
from explorer.payloads import statistics
from quant_engine import KMeans, QuantizerSpec
from quant_engine.distribution import LloydStep

SLUG = "centroids"
BITS = Number(f"{SLUG}_bits", 1, 5, 4, width=SLIDER_WIDTH)
START = Choice(
    f"{SLUG}_start",
    named((*STARTS, BY_HAND)),
    default=OPENING.start,
    menu=True,
    width=MENU_WIDTH,
)
SEED = Number(f"{SLUG}_seed", 0, 99, OPENING.seed, box=True, width=SLIDER_WIDTH)
STEPS = Number(f"{SLUG}_steps", 0, learning.MAX_STEPS, 0)  # of Lloyd's iteration, from the start
HAND = Text(
    f"{SLUG}_hand",
    learning.read_hand,
    learning.write_hand,
)
BUCKET = Number(f"{SLUG}_bucket", 0, learning.MAX_CENTROIDS - 1, OPENING.bucket)  # in the formula
GAINS = {"same": 1.0, "third": 4 / 3, "half": 2.0, "quarter": 4.0}  # error of clipped uniform in units of the least
PREDICTED_BITS = 4
SETS = {"See": {BITS.key: PREDICTED_BITS}}
RATIO_DIGITS = 4
HALF = 0.5
AT_BEST = 1.0005  # times the least error: what so many figures tell apart


def laboratory(bench: Bench) -> Scene:
    """Draw the centroids, the way of Lloyd's iteration, codewords in their buckets, and codebooks side by side."""
    with bench.controls:
        bits, start = controls.show(BITS), controls.show(START, on_change=_to_start)
        seed = controls.show(SEED) if start == RANDOM else OPENING.seed
    placed = Placed(start, seed, controls.unshown(STEPS), controls.unshown(HAND), controls.unshown(BUCKET))
    scene = Scene(bench.subject, QuantizerSpec(KMeans(1 << bits)), placed=placed)
    _buttons(scene)
    _centroids(bench, scene)
    _way(bench, scene)
    _middles(bench, scene)
    side_by_side(bench, bits)
    return scene


def _words() -> dict[str, str]:
    return dict(read_prose(SLUG).laboratory)


def _buttons(scene: Scene) -> None:
    """Offer steps of Lloyd's iteration, and say where it is."""
    words, run, placed = _words(), learning.run_of(scene), scene.placed or OPENING
    at = min(placed.steps, run.last)
    ways = (("one", at + 1), ("ten", at + 10), ("all", run.last), ("back", 0))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for name, to in ways:
            st.button(
                words[f"step_{name}"],
                key=f"{SLUG}_step_{name}",
                on_click=controls.assign,
                args=({STEPS.key: min(to, run.last)},),
                disabled=at == (0 if name == "back" else run.last),
            )
        st.markdown(words["step_of"].format(at=at, last=run.last))
    k, found = learning.levels_of(scene), run.end.centroids.size
    if placed.start == BY_HAND and not learning.usable_hand(placed, k):
        st.caption(words["no_hand"])
    if found < k:
        st.caption(words["fewer"].format(found=found, k=k))


def _centroids(bench: Bench, scene: Scene) -> None:
    """Draw the histogram with the centroids to drag."""
    subject, step, words = bench.subject, learning.now(scene), _words()
    key = ResultKey("packed", subject.key)
    packed = compute.kept(key, lambda: statistics(subject.values, subject.statistics))
    buckets(
        f"{SLUG}_buckets",
        packed,
        step.centroids,
        _bucket(scene),
        _shifted,
        unit=subject.unit,
        alt=words["alt"].format(
            n=count(subject.statistics.size),
            unit=subject.unit,
            k=step.centroids.size,
            lo=short(float(step.centroids[0])),
            hi=short(float(step.centroids[-1])),
        ),
        words=read_prose(SLUG).editor,
        ink=charts.ink(),
        veiled=not bench.telling,
    )


def _way(bench: Bench, scene: Scene) -> None:
    """Draw error and places by step, and say whether Lloyd has ended at the best."""
    words, run, best = _words(), learning.run_of(scene), learning.optimum_of(scene)
    if not bench.telling:
        return
    at = min((scene.placed or OPENING).steps, run.last)
    steps = run.steps[: at + 1]
    chart = lloyd_figure(steps, best.mse, bench.subject.unit, bench.canvas)
    charts.show(chart, f"{SLUG}_chart_way", describe_lloyd(steps, best.mse))
    with numbers():
        st.metric("MSE", short(steps[-1].mse))
        st.metric("Least of all", short(best.mse))
        st.metric("Ratio", beside(steps[-1].mse, best.mse, RATIO_DIGITS))
    if at == run.last:
        name = "ended_best" if _is_best(run.end.mse, best.mse) else "ended_above"
        st.caption(words[name].format(last=run.last, ratio=beside(run.end.mse, best.mse, RATIO_DIGITS)))
    else:
        st.caption(words["under_way"])


def _middles(bench: Bench, scene: Scene) -> None:
    """Draw where codewords stand in their buckets: those of the clipped uniform codebook, and those on display."""
    words, step = _words(), learning.now(scene)
    st.subheader(words["middles_title"])
    st.markdown(words["middles_lead"])
    levels = codebooks.levels(bench.subject, CLIPPED, int(scene.spec.format.bits)).astype(np.float64)
    even = (levels[1:] + levels[:-1]) / 2
    books = {
        words["even_book"]: Bucketed(levels, even, learning.means_of(bench.subject, even)),
        words["this_book"]: Bucketed(
            step.centroids, step.thresholds, learning.means_of(bench.subject, step.thresholds)
        ),
    }
    if min(book.levels.size for book in books.values()) < 3:
        st.caption(words["no_middles"])
        return
    charts.show(midpoints_figure(books, bench.canvas), f"{SLUG}_chart_middles", describe_midpoints(books))


def _to_start() -> None:
    """Take no steps from another start (a callback)."""
    controls.assign({STEPS.key: 0})


def _shifted(shift: Shift) -> None:
    """Take over what a hand has done (a callback)."""
    values: dict[str, object] = {BUCKET.key: shift.bucket}
    if shift.centroids is not None:
        values |= {START.key: BY_HAND, HAND.key: learning.write_hand(shift.centroids), STEPS.key: 0}
    controls.assign(values)


def prediction(scene: Scene) -> str:
    """Say how much k-means gains over a uniform codebook that is clipped well."""
    clipped, best = _error(scene, CLIPPED, PREDICTED_BITS), _min_error(scene, PREDICTED_BITS)
    if not best:
        return nearest_step(math.inf if clipped else 1.0, GAINS)
    return nearest_step(clipped / best, GAINS)


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    bits = int(scene.spec.format.bits)
    run, best, k = learning.run_of(scene), learning.optimum_of(scene), learning.levels_of(scene)
    uniform, clipped, optimal = (
        _error(scene, UNIFORM, PREDICTED_BITS),
        _error(scene, CLIPPED, PREDICTED_BITS),
        _min_error(scene, PREDICTED_BITS),
    )
    fall = uniform - optimal
    return {
        "bits": str(bits),
        "k": str(k),
        "found": str(run.end.centroids.size),
        "start": (scene.placed or OPENING).start,
        "part": share(optimal / clipped) if clipped else "100 %",
        "part_whole": share(optimal / uniform) if uniform else "100 %",
        "disguise": _disguise((uniform - clipped) / fall if fall > 0 else None),
        "lloyd": _words()["lloyd_best" if _is_best(run.end.mse, best.mse) else "lloyd_above"].format(
            start=(scene.placed or OPENING).start, last=run.last, end=beside(run.end.mse, best.mse, RATIO_DIGITS)
        ),
        "last": str(run.last),
        "end": beside(run.end.mse, best.mse, RATIO_DIGITS),
        "full": share(_fullest(run.end)),
        "thin": share(float(run.end.counts.min() / run.end.counts.sum())),
        "equal": share(1 / run.end.centroids.size),
    }


def _disguise(clipping: float | None) -> str:
    """Say how much of the gain of k-means clipping alone has."""
    if clipping is None:
        return _words()["disguise_none"]
    return _words()["disguise_most" if clipping > HALF else "disguise_less"].format(share=share(clipping))


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out the mean of a bucket and the threshold beside it."""
    step, k = learning.now(scene), _bucket(scene)
    mean = float(learning.means_of(scene.subject, step.thresholds)[k])
    held = round(float(step.counts[k]))
    general = r"c_k \leftarrow \frac{1}{n_k} \sum_{r \in \mathrm{bucket}\;k} r"
    live = rf"\frac{{{latex(mean * held)}}}{{{held}}} = {latex(mean)}" if held else r"\text{no value}"
    lines = [general, rf"c_{{{k}}} = {latex(float(step.centroids[k]))} \;\leftarrow\; {live}"]
    if step.thresholds.size:
        t = min(k, step.thresholds.size - 1)
        a, b = (float(step.centroids[t + i]) for i in (0, 1))
        sums = rf"\frac{{{latex(a)} + {_signed(b)}}}{{2}} = {latex(float(step.thresholds[t]))}"
        lines.append(rf"t_{{{t}}} = \frac{{c_{{{t}}} + c_{{{t + 1}}}}}{{2}} = {sums}")
    return lines


def question(scene: Scene) -> Choices:
    """Ask how full the fullest bucket is once Lloyd has stopped."""
    run, even = learning.run_of(scene), learning.run_of(replace(scene, placed=OPENING))
    wrong = {
        "equal": 1 / run.end.centroids.size,
        "best": _fullest(learning.optimum_of(scene)),
        "uniform": _fullest(even.steps[0]),
        "start": _fullest(run.steps[0]),
    }
    return choices(_fullest(run.end), wrong, share)


def _error(scene: Scene, candidate: codebooks.CodebookCandidate, bits: int) -> float:
    return codebooks.report(scene.subject, candidate, bits).mse


def _min_error(scene: Scene, bits: int) -> float:
    return learning.optimum_of(replace(scene, spec=QuantizerSpec(KMeans(1 << bits)))).mse


def _bucket(scene: Scene) -> int:
    return min((scene.placed or OPENING).bucket, learning.now(scene).centroids.size - 1)


def _fullest(step: LloydStep) -> float:
    """Return the share of the values in the fullest bucket."""
    return float(step.counts.max() / step.counts.sum())


def _is_best(error: float, min_mse: float) -> bool:
    return error <= min_mse * AT_BEST


def _signed(value: float) -> str:
    return f"({latex(value)})" if value < 0 else latex(value)


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether Lloyd has ended, has ended at the best, and whether a hand has placed centroids."""
    run, placed = learning.run_of(scene), scene.placed or OPENING
    ended = placed.steps >= run.last
    best = ended and _is_best(run.end.mse, learning.optimum_of(scene).mse)
    return ended, best, placed.start == BY_HAND


FIELDS = (BITS, START, SEED, STEPS, HAND, BUCKET)
LESSON = Lesson(7, SLUG, FIELDS, laboratory, prediction, facts, written, question, puzzles=puzzles, sets=SETS)
