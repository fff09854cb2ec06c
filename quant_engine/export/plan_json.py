"""The plan itself, as `QuantizationPlan.save` writes it: nothing is lost, and it is loaded again to the bit."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

from quant_engine.export.base import Comparison, Contents, Exporter, Finding, Verification, planned_specs
from quant_engine.inputs import Inputs
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.plan.files import plan_files


def find_plan(network: Network, plan: QuantizationPlan) -> Iterator[Finding]:
    """Yield nothing: every plan can be saved."""
    yield from ()


def make_plan(network: Network, plan: QuantizationPlan, path: pathlib.Path) -> Contents:
    """Return the JSON and the arrays beside it."""
    return Contents(plan_files(path, plan.layers), frozenset(part for part, _, _ in planned_specs(plan)))


def compare_plan(network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None) -> Verification:
    """Return whether the plan that is loaded has the same arrays, by their digests."""
    same = QuantizationPlan.load(path).key == plan.key
    return Verification("QuantizationPlan.load", (Comparison("loaded", exact=same),))


PLAN = Exporter("plan", "plan (JSON)", ".json", find_plan, make_plan, compare_plan)
