"""What a report says of plans: their sizes and scores, and what they do to each layer's weight."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from explorer.language import plain_words
from explorer.snippets import expression
from quant_engine import QuantizationPlan, QuantizerSpec
from quant_engine import measure as measured_error
from quant_engine.execution.layer_change import planned_weight
from quant_engine.network import Network, Score

PERCENTILES = (0, 1, 99, 100)
FLOAT_BITS = 32.0
PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class LayerEntry:
    """A layer under a plan: how its weight and input are quantized, and what that does to the weight."""

    name: str
    shape: tuple[int, ...]
    weight: str
    activation: str
    bits_per_value: float
    sqnr_db: float
    ends: tuple[float, float]


@dataclass(frozen=True)
class PlanEntry:
    """A plan and what was measured; `document` is its file."""

    title: str
    key: str
    size_bytes: int
    scores: Mapping[str, Score]
    layers: Sequence[LayerEntry]
    document: str
    fitted: bool


@dataclass(frozen=True)
class Report:
    """What was found out about plans of one model; the first entry is the model in float32."""

    model: str
    source: str
    digest: str
    split: str
    samples: int
    weights: Mapping[str, tuple[float, float, float, float]]
    plans: tuple[PlanEntry, ...] = ()


def measure(
    network: Network, plans: Mapping[str, QuantizationPlan], source: str = "", split: str = "test"
) -> Iterator[Report]:
    """Yield the report as it grows: after float32, then after each plan; the last one is whole.

    `source` is what `load` opens the model by. A network without a task is not scored.

    Raises:
        QuantError: as `Network.evaluate`.
    """
    weights = {name: _percentiles(network.weight(name)) for name in network.layers()}
    report = Report(network.title, source or network.name, network.digest, split, 0, weights)
    float_name = plain_words("report")["float"]
    for title, plan in {float_name: QuantizationPlan(), **plans}.items():
        entry = _entry(network, title, plan, split)
        samples = max((score.n for score in entry.scores.values()), default=0)
        report = replace(report, plans=(*report.plans, entry), samples=max(samples, report.samples))
        yield report


def _entry(network: Network, title: str, plan: QuantizationPlan, split: str) -> PlanEntry:
    frozen = network.freeze(plan)
    scores = {} if network.task is None else dict(network.scores(plan if plan.layers else None, split))
    layers = [_layer(network, name, plan, frozen) for name in network.layers() if name in plan.layers]
    held = {layer.name: layer for layer in layers}
    bits = sum(
        info.parameters * (held[name].bits_per_value if name in held else FLOAT_BITS)
        for name, info in network.layers().items()
        if info.tied_to is None
    )
    fitted = any(not isinstance(part, QuantizerSpec) for layer in plan.layers.values() for part in _parts(layer))
    digest = hashlib.sha256(plan.key.encode()).hexdigest()
    return PlanEntry(title, digest, math.ceil(bits / 8), scores, layers, _document(plan), fitted)


def _parts(plan: Any) -> list[Any]:
    return [part for part in (plan.weight, plan.activation) if part is not None]


def _layer(network: Network, name: str, plan: QuantizationPlan, frozen: QuantizationPlan) -> LayerEntry:
    weight, info = network.weight(name), network.layers()[name]
    changed = planned_weight(network.model, name, frozen[name])
    x_hat = weight if changed is None else changed
    spec = _spec(frozen[name].weight)
    bits = FLOAT_BITS if spec is None else spec.storage(info.matrix_shape).bits_per_value
    error = measured_error(weight, x_hat)
    return LayerEntry(
        name=name,
        shape=info.shape,
        weight=_said(plan[name].weight),
        activation=_said(plan[name].activation),
        bits_per_value=bits,
        sqnr_db=error.sqnr_db,
        ends=(float(x_hat.min()), float(x_hat.max())),
    )


def _spec(planned: Any) -> QuantizerSpec | None:
    return planned if planned is None or isinstance(planned, QuantizerSpec) else planned.spec


def _said(planned: Any) -> str:
    spec = _spec(planned)
    return plain_words("report")["columns"]["changed"] if spec is None else expression(spec)


def _document(plan: QuantizationPlan) -> str:
    """Return the text of a plan's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PLAN_FILE
        plan.save(path)
        return path.read_text("utf-8")


def _percentiles(weight: Any) -> tuple[float, float, float, float]:
    low, first, last, high = (float(value) for value in np.percentile(weight, PERCENTILES))
    return low, first, last, high
