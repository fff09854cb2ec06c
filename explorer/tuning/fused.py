"""Layers that runtimes run as one, as the tuner keeps them alike."""

from __future__ import annotations

from collections.abc import Mapping

from explorer.state import PlaygroundState
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine.models import Layer, fused_groups


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
