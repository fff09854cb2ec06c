"""What the pages show, computed by the engine and kept: the one file that caches.

Keys are strings (network, layer, spec key, block number); arrays are never hashed and are read-only.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer.jobs import Jobs
from explorer.results import BlockView, ClipCurve, Outcome, outcome_of, view_of
from explorer.warmup import warm_up
from quant_engine import (
    Distribution,
    ErrorReport,
    IntFormat,
    LayerPlan,
    MinMax,
    QuantizationPlan,
    QuantizerSpec,
)
from quant_engine.network import Accuracy, ModelCard, Network, load, model_card

EXACT_UP_TO = 1 << 22  # values; a sorted index is built in some 20 ms up to here
CURVE_POINTS = 96
CURVE_POINTS_FINE = 40  # above 8 bits
CURVE_REACH = (0.12, 1.05)  # of the greatest magnitude: where the curve starts and ends
CURVE_BITS = (2, 3, 4, 5, 6, 8)


@st.cache_resource(show_spinner="Preparing the kernels: the first start after installation takes some seconds…")
def prepare() -> None:
    """Make sure that the kernels are at hand."""
    warm_up()


@st.cache_resource(max_entries=512, show_spinner=False)
def kept(key: str, _work: Callable[[], Any]) -> Any:
    """Return what `_work` computes, at most once for a key; the key names everything that it depends on."""
    return _work()


@st.cache_resource(max_entries=8, show_spinner=False)
def network(name: str) -> Network:
    """Return a network."""
    return load(name)


@st.cache_resource(max_entries=64, show_spinner=False)
def matrix(model: str, layer: str) -> NDArray[np.float32]:
    """Return a layer's weight in the view (out, everything else)."""
    info = network(model).layers()[layer]
    return network(model).weight(layer).reshape(info.matrix_shape)


@st.cache_resource(max_entries=512, show_spinner=False)
def outcome(model: str, layer: str, key: str, _spec: QuantizerSpec) -> Outcome:
    """Quantize a layer's weight; `key` is the spec's."""
    return outcome_of(matrix(model, layer), _spec)


@st.cache_resource(max_entries=256, show_spinner=False)
def distribution(model: str, layer: str, granularity_key: str, block: int, _spec: QuantizerSpec) -> Distribution:
    """Return the statistics of one block's values, exact where that is quick."""
    values = block_values(model, layer, _spec, block)
    return Distribution(values, exact=values.size <= EXACT_UP_TO)


@st.cache_resource(max_entries=512, show_spinner=False)
def block_view(model: str, layer: str, key: str, block: int, _spec: QuantizerSpec) -> BlockView:
    """Return everything the main figure draws of one block."""
    result = outcome(model, layer, key, _spec)
    values = block_values(model, layer, _spec, block)
    shown = distribution(model, layer, _spec.granularity.to_json(), block, _spec)
    return view_of(values, result.quantizer, shown, block)


def clip_curves(model: str, layer: str, block: int, spec: QuantizerSpec) -> tuple[ClipCurve, ...]:
    """Return the error of one block against its clipping value, for several bit widths and the one chosen."""
    shown = distribution(model, layer, spec.granularity.to_json(), block, spec)
    if shown.lo == shown.hi == 0.0:
        return ()
    where = f"{model}|{layer}|{spec.granularity.to_json()}|{block}|{spec.symmetric}"
    formats = [
        IntFormat(bits, spec.format.signed, spec.format.narrow) for bits in sorted({*CURVE_BITS, spec.format.bits})
    ]
    return tuple(_clip_curve(f"{where}|{form.to_json()}", shown, form, spec.symmetric) for form in formats)


@st.cache_resource(max_entries=1024, show_spinner=False)
def _clip_curve(key: str, _shown: Distribution, _format: IntFormat, _symmetric: bool) -> ClipCurve:
    """Return one curve. Symmetric ranges are [−β, β]; asymmetric ones shrink from both ends in proportion."""
    points = CURVE_POINTS if _format.bits <= max(CURVE_BITS) else CURVE_POINTS_FINE
    ranges = _shrinking_ranges(_shown, _symmetric, _format.signed, points)
    best = np.array([_shown.best_range(_format, _symmetric)])
    errors = _shown.range_errors(_format, np.concatenate([ranges, best]), _symmetric)
    return ClipCurve(_format.bits, ranges[:, 0], ranges[:, 1], errors[:-1], float(best[0, 1]), float(errors[-1]))


def block_values(model: str, layer: str, spec: QuantizerSpec, block: int) -> NDArray[np.float32]:
    """Return the values of one block."""
    values = matrix(model, layer)
    return values[spec.granularity.blocks(values.shape).slices(block)]


def reference_report(model: str, layer: str, spec: QuantizerSpec) -> ErrorReport:
    """Return the error of the same spec under min–max."""
    plain = QuantizerSpec(spec.format, spec.granularity, spec.symmetric, MinMax())
    return outcome(model, layer, plain.key, plain).report


def improvement(now: float, best: float) -> str:
    """Say how much smaller the least error is."""
    if best <= 0.0 or now / best < 1.005:
        return "the same"
    return f"×{now / best:.3g} smaller"


def model_bytes(model: str, spec: QuantizerSpec, only: str | None = None) -> tuple[int, int]:
    """Return the bytes of all weights in float32, and with `only` that layer (or every layer) quantized."""
    before, after = 0, 0
    for name, info in network(model).layers().items():
        plain = info.parameters * 4
        before += plain
        after += plain if only not in (None, name) else spec.storage(info.matrix_shape).size_bytes
    return before, after


@st.cache_resource(max_entries=8, show_spinner=False)
def card(model: str) -> ModelCard:
    """Return the measured accuracies that are committed with a built-in model."""
    return model_card(model)


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """Return the one background worker."""
    return Jobs()


def accuracies(owner: str, model: str, layer: str, spec: QuantizerSpec) -> Future[Any]:
    """Return the future of (float, this layer quantized, every layer quantized), each an `Accuracy`."""
    return jobs().submit(owner, f"accuracy|{model}|{layer}|{spec.key}", lambda: _evaluate(model, layer, spec))


def _evaluate(model: str, layer: str, spec: QuantizerSpec) -> tuple[Accuracy, Accuracy, Accuracy]:
    subject = network(model)
    everywhere = QuantizationPlan({name: LayerPlan(spec) for name in subject.layers()})
    return (
        subject.evaluate(),
        subject.evaluate(QuantizationPlan({layer: LayerPlan(spec)})),
        subject.evaluate(everywhere),
    )


def _shrinking_ranges(shown: Distribution, symmetric: bool, signed: bool, points: int) -> NDArray[np.float64]:
    """Return ranges that shrink evenly, in logarithm, from a little beyond the extremes."""
    low, high = min(shown.lo, 0.0), max(shown.hi, 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high if signed else 0.0
    shrink = np.geomspace(*CURVE_REACH, points)
    return np.stack([low * shrink, high * shrink], axis=1)
