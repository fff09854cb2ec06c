"""The plan itself as a file: what `QuantizationPlan.load` reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import final

from quant_engine.export.base import Exporter, Finding, Verification
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan


@final
class PlanFile(Exporter):
    """A plan as JSON, with its fitted arrays as safetensors beside it: nothing is lost."""

    key, title, suffix = "plan", "Plan (JSON)", ".json"

    def check(self, network: Network, plan: QuantizationPlan) -> list[Finding]:
        """Return nothing: the format is the plan's own."""
        return []

    def verify(self, network: Network, plan: QuantizationPlan, path: str | Path) -> Verification:
        """Read the plan back and compare keys, in which the digest of each array is."""
        same = QuantizationPlan.load(path).key == network.freeze(plan).key
        return Verification("quant_engine", same, 0.0 if same else float("nan"))

    def _write(self, network: Network, plan: QuantizationPlan, path: Path) -> Iterable[str]:
        plan.save(path)
        return ()
