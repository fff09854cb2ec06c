"""The scores and the bytes of a model under plans, and the plans as they are then."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from explorer import compute
from explorer.background import Task, shares
from explorer.caches import ResultKey, cached
from explorer.sources import ModelKey
from quant_engine import LayerPlan, QuantizationPlan, QuantizedTensor, QuantizerSpec
from quant_engine.network import Network, Score
from quant_engine.steps import scaled


@cached(compute.CACHE)
def score(model: ModelKey, spec: QuantizerSpec | None) -> Score:
    """Return the network's score with every layer's weight under a spec, or in floating point."""
    return compute.network(model).evaluate(None if spec is None else frozen(model, LayerPlan(spec)))


def scoring(place: str, model: ModelKey, spec: QuantizerSpec | None) -> Task:
    """Return the task of the network's score with every layer's weight under a spec, or in floating point."""
    return compute.session().ask(place, ResultKey("score", model, spec), lambda: score(model, spec))


def accuracies(place: str, model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan | None = None) -> Task:
    """Return the task of three scores: in floating point, with this layer under the plan, with all layers quantized.

    `others` is the plan of the other layers, where it is another.
    """
    key = ResultKey("accuracy", model, layer, plan, others)
    return compute.session().ask(place, key, lambda: shares(_evaluate(model, layer, plan, others or plan)))


def _evaluate(
    model: ModelKey, layer: str, plan: LayerPlan, others: LayerPlan
) -> Generator[float, None, tuple[Score, Score, Score]]:
    """Yield about how much is done, and return the scores."""
    subject = compute.network(model)
    layers = subject.layers()
    own = layers[layer].tied_to or layer
    tied = [name for name, info in layers.items() if (info.tied_to or name) == own]  # these share one weight
    rest = yield from scaled(_freezing(subject, others), 0, 1 / 4)
    mine = rest[layer] if plan is others else subject.freeze(QuantizationPlan(dict.fromkeys(tied, plan)))[layer]
    alone = {**dict.fromkeys(tied, LayerPlan(mine.weight)), layer: mine}
    every = {**rest.layers, **{name: replace(rest[name], weight=mine.weight) for name in tied}, layer: mine}
    yield 1 / 4
    plain = score(model, None)
    yield 2 / 4
    own_alone = subject.evaluate(QuantizationPlan(alone))
    yield 3 / 4
    return plain, own_alone, subject.evaluate(QuantizationPlan(every))


def _freezing(network: Network, plan: LayerPlan) -> Generator[float, None, QuantizationPlan]:
    """Yield how many of the values are fitted, weight by weight, and return the frozen plan of all layers."""
    groups: dict[str, list[str]] = {}
    for name, info in network.layers().items():
        groups.setdefault(info.tied_to or name, []).append(name)  # these share one weight
    total, done = sum(network.layers()[own].parameters for own in groups), 0
    fitted: dict[str, LayerPlan] = {}
    for own, names in groups.items():
        found = network.freeze(QuantizationPlan(dict.fromkeys(names, LayerPlan(plan.weight))))
        fitted |= {name: replace(plan, weight=found[name].weight) for name in names}
        done += network.layers()[own].parameters
        yield done / max(total, 1)
    return network.freeze(QuantizationPlan({name: fitted[name] for name in network.layers()}))


def frozen(model: ModelKey, plan: LayerPlan) -> QuantizationPlan:
    """Return the frozen plan that gives every layer the same."""
    subject = compute.network(model)
    return subject.freeze(QuantizationPlan(dict.fromkeys(subject.layers(), plan)))


def planned_codes(model: ModelKey, layer: str, plan: LayerPlan) -> NDArray[np.int64] | None:
    """Return a layer's codes under a frozen plan, counted from its zero points, or None where it stays as it is."""
    planned = plan.weight
    if planned is None or isinstance(planned, QuantizerSpec):
        return None
    found = planned if isinstance(planned, QuantizedTensor) else planned.encode(compute.matrix(model, layer))
    codes: NDArray[np.int64] = found.codes.astype(np.int64) - found.zero_point
    return codes


def model_bytes(model: ModelKey, spec: QuantizerSpec, only: str | None = None) -> tuple[int, int]:
    """Return the bytes of all weights in float32, and with `only` that layer (or every layer) quantized."""
    before, after = 0, 0
    for layer, info in compute.network(model).layers().items():
        if info.tied_to is not None:
            continue  # its weight is counted where it is held
        plain = info.parameters * 4
        before += plain
        after += plain if only not in (None, layer) else spec.storage(info.matrix_shape).size_bytes
    return before, after
