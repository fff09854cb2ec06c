"""Layers that runtimes run as one: they need the same format, and differ at a price."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from explorer.state import PlaygroundState
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine.models import Layer

FUSED = (  # by the last part of their names
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("wq", "wk", "wv"),
    ("gate_proj", "up_proj"),
    ("w1", "w3"),
)


def fused_groups(layers: Mapping[str, Layer]) -> list[tuple[str, ...]]:
    """Return the layers that runtimes fuse: by their names, in one part of the model, with inputs of one width.

    >>> from quant_engine.network import load
    >>> fused_groups(load("fashion-cnn").layers())
    []
    """
    found: defaultdict[tuple[str, int, int], list[str]] = defaultdict(list)
    for name, info in layers.items():
        path, _, last = name.removesuffix(".weight").rpartition(".")
        for place, names in enumerate(FUSED):
            if last in names:
                found[path, place, info.matrix_shape[1]].append(name)
    return [tuple(names) for names in found.values() if len(names) > 1]


def unlike(plan: TunedPlan, layers: Mapping[str, Layer]) -> list[tuple[str, ...]]:
    """Return the fused layers that a plan treats differently, apart from ranges set by hand."""

    def does(name: str) -> tuple[bool, PlaygroundState]:
        return name in plan.plain, plan.settings(name)

    return [names for names in fused_groups(layers) if len({does(name) for name in names}) > 1]


def made_alike(plan: TunedPlan, layers: Mapping[str, Layer]) -> TunedPlan:
    """Return the plan with fused layers like the most precise of them, in floating point if one is."""
    for names in unlike(plan, layers):
        if plan.plain & {*names}:
            plan = plan.in_float(names)
            continue
        settings = max(map(plan.settings, names), key=lambda one: one.kind.build(one).bits)
        plan = plan.with_cells(names, {name: getattr(settings, name) for name in settings.fields()})
    return plan
