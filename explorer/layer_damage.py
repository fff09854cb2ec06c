"""The damage that layers do alone: measured in the background, for the inspector's table and card."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping
from functools import partial

from explorer import compute
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.lessons.framework.study import Study
from explorer.sources import ModelKey
from quant_engine import LayerPlan, QuantizationPlan, QuantizerSpec
from quant_engine.studies import Attributed, Attribution, Damage, EqualNoise, attribute

DAMAGE, HELP = "inspector damage", "inspector help"  # places on the page
NOW, NOISE = "now", "noise"  # what is no remedy
SPLIT = "calibration"

Answer = tuple[str, Damage | EqualNoise]  # of a remedy, of the spec as it is, of noise


def damage_study(model: ModelKey, spec: QuantizerSpec, order: Iterable[str]) -> Study:
    """Return the measuring of every layer alone under a spec, those first that are expected to do most harm."""

    def steps() -> Generator[Attributed | Attribution, None, None]:
        plan = QuantizationPlan(dict.fromkeys([*order], LayerPlan(spec)))
        return attribute(compute.network(model), plan, kept=compute.attributions(model))

    return Study(ResultKey(DAMAGE, model, spec), steps, len(owners(model)) + 2)


def owners(model: ModelKey) -> list[str]:
    """Return the layers whose weight is their own."""
    return [name for name, info in compute.network(model).layers().items() if info.tied_to is None]


def damages_of(model: ModelKey, task: Task | None) -> dict[str, Damage]:
    """Return what has been measured of each layer so far; layers that share a weight do the same damage."""
    found = {one.layer: one.damage for one in (task.items if task else ()) if isinstance(one, Attributed) and one.layer}
    layers = compute.network(model).layers().items()
    return {name: found[info.tied_to or name] for name, info in layers if (info.tied_to or name) in found}


def attribution_of(task: Task | None) -> Attribution | None:
    """Return the whole attribution, once all is measured."""
    found = None if task is None else task.last
    return found if isinstance(found, Attribution) else None


def help_study(model: ModelKey, layer: str, spec: QuantizerSpec, remedies: Mapping[str, QuantizerSpec]) -> Study:
    """Return the measuring of one layer under a spec, under each remedy, and with noise of the error's size."""
    layers = compute.network(model).layers()
    own = layers[layer].tied_to or layer
    users = [name for name, info in layers.items() if (info.tied_to or name) == own]

    def measured(one: QuantizerSpec, noise: Iterable[str] = ()) -> Attribution:
        plan = QuantizationPlan(dict.fromkeys(users, LayerPlan(one)))
        *_, found = attribute(compute.network(model), plan, noise=noise, kept=compute.attributions(model))
        assert isinstance(found, Attribution)
        return found

    def steps() -> Generator[Answer, None, None]:
        for name, one in {NOW: spec, **remedies}.items():
            yield name, measured(one).alone[own]
        yield NOISE, measured(spec, [own]).noise[own]

    return Study(ResultKey(HELP, model, layer, spec), steps, len(remedies) + 2)


def seconds_of(model: ModelKey) -> float:
    """Return about how long it takes to measure all layers: each runs what lies behind it, on average half."""
    return compute.kept(ResultKey("seconds of a pass", model), partial(_pass_seconds, model)) * (
        len(owners(model)) / 2 + 2
    )


def split_of(model: ModelKey) -> str:
    """Return the split that is measured on, as `attribute` chooses it."""
    splits = compute.network(model).given_task.splits
    return SPLIT if SPLIT in splits else min(splits)


def _pass_seconds(model: ModelKey) -> float:
    """Return the seconds of one pass over the data, from its first batch, run twice: at first things are compiled."""
    network = compute.network(model)
    batches = network.given_task.batches(split_of(model))
    network.run(batches[0].inputs)
    start = time.perf_counter()
    network.run(batches[0].inputs)
    return (time.perf_counter() - start) * len(batches)
