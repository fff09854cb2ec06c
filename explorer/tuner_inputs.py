"""What a layer receives, captured on calibration data, and the ranges that calibration finds for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from explorer import compute
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.payloads import Mark, Statistics, statistics
from explorer.playground_table import CALIBRATIONS
from explorer.results import BlockView, ends, view_of
from explorer.sources import ModelKey
from quant_engine import (
    Distribution,
    FixedRange,
    LayerPlan,
    PerTensor,
    PerToken,
    QuantizationPlan,
    Quantizer,
    QuantizerSpec,
    fit,
)
from quant_engine.batches import split_batch
from quant_engine.inputs import Float32Array

CALIBRATION = "calibration"
MAX_VALUES = 1 << 19  # that are captured: enough for every bin of the figure
SAMPLES = 32  # at a time
METHODS = {name: found for name, found in CALIBRATIONS.items() if not isinstance(found, PerTensor | PerToken)}


@dataclass(frozen=True, eq=False)
class InputView:
    """Everything that the instrument draws of a layer's inputs, with the range of each calibration."""

    view: BlockView
    source: Statistics
    marks: tuple[Mark, ...]
    min_error: float


def is_captured(model: ModelKey, layer: str) -> bool:
    """Say whether there are calibration data that the layer receives as real values."""
    network = compute.network(model)
    splits = () if network.task is None else network.task.splits
    return CALIBRATION in splits and network.layers()[layer].op != "embedding"


def input_task(model: ModelKey, layer: str, activation: QuantizerSpec | Quantizer) -> Task:
    """Return the task of what is drawn of a layer's inputs under one range for all of them."""
    key = ResultKey("tuner inputs", model, layer, LayerPlan(None, activation))
    return compute.session().ask("tuner inputs", key, lambda: _input_view(model, layer, activation))


def _input_view(model: ModelKey, layer: str, activation: QuantizerSpec | Quantizer) -> InputView:
    values = compute.kept(ResultKey("tuner received", model, layer), lambda: _received(model, layer))
    shown = compute.kept(ResultKey("tuner received by", model, layer), lambda: Distribution(values, exact=True))
    source = compute.kept(ResultKey("tuner received as", model, layer), lambda: statistics(values, shown))
    fitted, spec = _flat(_calibrated(model, layer, activation)), _spec(activation)
    marks = tuple(
        Mark(name, *ends(_flat(_calibrated(model, layer, replace(spec, clipping=clipping)))), name)
        for name, clipping in METHODS.items()
    )
    best = fit(values, replace(spec, clipping=FixedRange(*shown.best_range(spec.format, spec.symmetric))))
    return InputView(view_of(values, fitted, shown), source, marks, shown.error(best.levels()))


def _received(model: ModelKey, layer: str) -> Float32Array:
    """Return the first values that a layer receives of calibration data, flat."""
    network, found, count = compute.network(model), [], 0
    batches = network.given_task.batches(CALIBRATION)
    for inputs in (part for batch in batches for part in split_batch(batch.inputs, SAMPLES)):
        found.append(network.capture(inputs, [layer])[layer].reshape(-1))
        count += found[-1].size
        if count >= MAX_VALUES:
            break
    values = np.concatenate(found)[:MAX_VALUES]
    values.flags.writeable = False
    return values


def _spec(activation: QuantizerSpec | Quantizer) -> QuantizerSpec:
    return activation if isinstance(activation, QuantizerSpec) else activation.spec


def _calibrated(model: ModelKey, layer: str, activation: QuantizerSpec | Quantizer) -> Quantizer:
    if isinstance(activation, Quantizer):
        return activation
    plan = QuantizationPlan({layer: LayerPlan(None, activation)})
    found = compute.network(model).freeze(plan)[layer].activation
    assert isinstance(found, Quantizer)
    return found


def _flat(fitted: Quantizer) -> Quantizer:
    """Return a quantizer of one scale for values in one row."""
    spec = replace(fitted.spec, granularity=PerTensor(), clipping=FixedRange(*ends(fitted)))
    return Quantizer(spec, fitted.scale.reshape(1), fitted.zero_point.reshape(1))
