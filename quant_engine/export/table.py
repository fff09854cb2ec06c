"""The table of exporters: what stands here is offered by the pages and the command line, and tested."""

from __future__ import annotations

from quant_engine.export.base import Exporter
from quant_engine.export.compressed_tensors import COMPRESSED_TENSORS
from quant_engine.export.plan_json import compare_plan, find_plan, make_plan

_TABLE = (
    Exporter("plan", "plan (JSON)", ".json", find_plan, make_plan, compare_plan),
    COMPRESSED_TENSORS,
)
EXPORTERS: dict[str, Exporter] = {exporter.key: exporter for exporter in _TABLE}
