"""All targets: a line each."""

from __future__ import annotations

from quant_engine.export.base import Exporter
from quant_engine.export.plan_file import PlanFile

EXPORTERS: dict[str, Exporter] = {exporter.key: exporter for exporter in (PlanFile(),)}
