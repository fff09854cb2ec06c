"""The third laboratory of lesson 11: the straight-through gradient, and what LSQ's gradient does to the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer import charts, compute, controls
from explorer.caches import ResultKey
from explorer.fields import Number
from explorer.figures.straight_through import (
    Pull,
    Slopes,
    describe_pull,
    describe_slopes,
    pull_figure,
    slopes_figure,
)
from explorer.lessons.compensation.method_results import SLUG
from explorer.lessons.framework.layout import figures_of, numbers
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.notation import short
from explorer.sources import ModelKey
from quant_engine import IntFormat, MinMSE, QuantizerSpec, fit
from quant_engine.compensation import gradient_factor, initial_step, slopes

STEP = Number(f"{SLUG}_step", 20, 400, default=100, width=180)
STEPS = 160  # of the error curve
POINTS = 1200  # of the staircase
HALVINGS = 24
BEYOND = 1.6  # codes outside the range that are drawn

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stepped:
    """A layer's weights under one step: what LSQ starts from, and where its gradient pulls."""

    step: float
    best: float
    start: float
    factor: float  # LSQ's gradient scale, 1/√(N·Qp)
    mse: float
    slope: float  # LSQ's gradient of the mean squared error
    balance: float  # the step at which that gradient vanishes


def staircase(v: Array, step: float, form: IntFormat) -> tuple[Array, Array, Array]:
    """Return v̂ = s·clip(round(v/s), Qn, Qp), and what training takes for ∂v̂/∂v and ∂v̂/∂s (the engine's `slopes`).

    >>> [part.tolist() for part in staircase(np.array([-9.0, 0.25, 3.0]), 1.0, IntFormat(3))]
    [[-4.0, 0.0, 3.0], [0.0, 1.0, 1.0], [-4.0, -0.25, 0.0]]
    """
    found = slopes(v, step, form.qmin, form.qmax)
    return np.clip(np.rint(v / step), form.qmin, form.qmax) * step, found["x"], found["step"]


def pull_on(values: Array, step: float, form: IntFormat) -> tuple[float, float]:
    """Return the mean squared error of values under a step, and LSQ's gradient of it."""
    back, _, by_step = staircase(values, step, form)
    away = back - values
    return float((away**2).mean()), float(2 * (away * by_step).mean())


def stepped(model: ModelKey, layer: str, bits: int, percent: int) -> Stepped:
    """Return what a step, in per cent of the best one, makes of a layer."""

    def work() -> Stepped:
        form, values = IntFormat(bits), compute.matrix(model, layer).astype(np.float64).ravel()
        best = best_step(model, layer, bits)
        step = best * percent / 100
        mse, slope = pull_on(values, step, form)
        return Stepped(
            step,
            best,
            initial_step(values, form.qmax),
            gradient_factor(values.size, form.qmax),
            mse,
            slope,
            balanced_step(values, form),
        )

    return compute.kept(ResultKey("stepped", model, layer, bits, percent), work)


def balanced_step(values: Array, form: IntFormat) -> float:
    """Return the step at which LSQ's gradient of the mean squared error vanishes: it falls below and rises above it."""
    low, high = 0.0, 2 * float(np.abs(values).max())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = pull_on(values, middle, form)[1] < 0
        low, high = (middle, high) if below else (low, middle)
    return high


def best_step(model: ModelKey, layer: str, bits: int) -> float:
    """Return the step of the least squared error, one for the whole layer."""
    spec = QuantizerSpec(IntFormat(bits), clipping=MinMSE())
    return float(fit(compute.matrix(model, layer), spec).scale[0, 0])


def gradients_laboratory(bench: Bench, bits: int, found: Stepped) -> None:
    """Draw the staircase with its gradients, and the error against the step."""
    said, model, layer = read_prose(SLUG).laboratory, bench.model, bench.layer
    with bench.controls:
        controls.show(STEP)
    with numbers():
        st.metric(said["step"], short(found.step))
        st.metric(said["step_start"], short(found.start))
        st.metric(said["step_slope"], short(found.slope))
        st.metric(said["step_way"], said["step_smaller" if found.slope > 0 else "step_larger"])
    canvas = charts.canvas(model, layer, bits)
    left, right = figures_of(0.55)
    shown = _slopes(model, layer, bits, found)
    with left:
        charts.show(slopes_figure(shown, canvas), f"{SLUG}_chart_slopes", describe_slopes(shown))
    pull = _pull(model, layer, bits, found)
    with right:
        charts.show(pull_figure(pull, canvas), f"{SLUG}_chart_pull", describe_pull(pull))
    st.caption(
        said["gradient_note"].format(
            layer=layer, bits=bits, mse=short(found.mse), least=short(found.best), balance=short(found.balance)
        )
    )
    st.caption(said["gradient_lead"])


def _slopes(model: ModelKey, layer: str, bits: int, found: Stepped) -> Slopes:
    form, values = IntFormat(bits), compute.matrix(model, layer)
    thresholds = (np.arange(form.qmin, form.qmax, dtype=np.float64) + 0.5) * found.step
    edges = np.concatenate([np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)])
    low = min((form.qmin - BEYOND) * found.step, float(values.min()))
    high = max((form.qmax + BEYOND) * found.step, float(values.max()))
    corners = np.array([form.qmin, form.qmax]) * found.step
    corners = np.concatenate([np.nextafter(corners, -np.inf), np.nextafter(corners, np.inf)])
    v: Array = np.unique(np.concatenate([np.linspace(low, high, POINTS), edges, corners]))
    back, by_value, by_step = staircase(v, found.step, form)
    return Slopes(v, back, by_value, by_step, thresholds, found.step)


def _pull(model: ModelKey, layer: str, bits: int, found: Stepped) -> Pull:
    def curve() -> tuple[Array, Array]:
        values = compute.matrix(model, layer).astype(np.float64).ravel()
        steps = found.best * STEP.max / 100 * np.arange(1, STEPS + 1) / STEPS
        return steps, np.array([pull_on(values, float(step), IntFormat(bits))[0] for step in steps])

    steps, mse = compute.kept(ResultKey("pull", model, layer, bits), curve)
    return Pull(steps, mse, found.step, found.mse, found.slope, found.best, found.start)
