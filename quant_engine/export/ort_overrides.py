"""onnxruntime's TensorQuantOverrides: for each tensor by name the scales with which `quantize_static` quantizes it."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.export.base import Contents, Exporter, Finding, Verification, planned_specs
from quant_engine.export.encodings import V1, Range, Ranges, find_encodings, named_graph, ranges_of
from quant_engine.export.encodings_check import furthest_of
from quant_engine.export.onnx_types import WIDTHS, weight_layout
from quant_engine.formats import IntFormat
from quant_engine.granularity import PerChannel
from quant_engine.inputs import Inputs
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.readers.encodings import Encoding

Overrides = dict[str, list[dict[str, Any]]]


def find_overrides(network: Network, plan: QuantizationPlan) -> Iterator[Finding]:
    """Yield what overrides cannot say: blocks, and widths that onnxruntime's tool does not have."""
    layers = network.layers()
    yield from (found for found in find_encodings(network, plan, V1) if found.severity != "warning")
    for part, spec, _ in planned_specs(plan):
        if isinstance(spec.format, IntFormat) and spec.format.bits not in WIDTHS:
            width = next(width for width in WIDTHS if width >= spec.format.bits)
            near = replace(spec, format=IntFormat(width, spec.format.signed))
            yield Finding("refused", f"quantize_static has 4, 8 and 16 bits, not {spec.format.bits}", *part, near)
        elif part.role == "weight" and weight_layout(spec, layers[part.layer].matrix_shape).block:
            near = replace(spec, granularity=PerChannel())
            yield Finding("refused", f"overrides have one scale a channel, not {spec.granularity}", *part, near)


def make_overrides(network: Network, plan: QuantizationPlan, path: pathlib.Path) -> Contents:
    """Return the overrides of a frozen plan and, of a network that is no ONNX file, the graph with their names."""
    said, ranges = override_entries(network, plan)
    files = {path: json.dumps(said, indent=2).encode(), **named_graph(network, path)}
    return Contents(files, ranges.written, ranges.findings)


def override_entries(network: Network, plan: QuantizationPlan) -> tuple[Overrides, Ranges]:
    """Return the overrides of a frozen plan by the names of tensors, without what is refused, and their ranges."""
    refused = {(found.layer, found.role) for found in find_overrides(network, plan) if found.severity == "refused"}
    kept = {
        name: replace(
            layer,
            weight=None if (name, "weight") in refused else layer.weight,
            activation=None if (name, "activation") in refused else layer.activation,
        )
        for name, layer in plan.layers.items()
    }
    ranges = ranges_of(network, QuantizationPlan(kept), V1)
    both = (*ranges.activations.values(), *ranges.parameters.values())
    return {found.name: _entry(found) for found in both}, ranges


def _entry(found: Range) -> list[dict[str, Any]]:
    """Return one dict for each channel, or one for all."""
    format, (scale, zero_point) = found.fitted.spec.format, found.parameters()
    kind = f"Q{'' if format.signed else 'U'}Int{format.bits}"
    axis = {} if found.axis is None else {"axis": found.axis}
    pairs = zip(scale.reshape(-1).tolist(), zero_point.reshape(-1).tolist(), strict=True)
    return [{"quant_type": kind, "scale": one, "zero_point": zero, **axis} for one, zero in pairs]


def read_overrides(path: pathlib.Path) -> dict[str, Encoding]:
    """Return what a file of overrides says, of tensors with scales; ranges alone are left out.

    Raises:
        QuantError: for a file of another kind.
    """
    try:
        said: Overrides = json.loads(path.read_bytes())
        return {
            name: Encoding(
                name,
                entries[0]["quant_type"].removeprefix("Q").lower(),
                np.array([entry["scale"] for entry in entries], np.float32),
                np.array([entry["zero_point"] for entry in entries], np.int32),
                entries[0].get("axis"),
            )
            for name, entries in said.items()
            if entries and {"quant_type", "scale", "zero_point"} <= set(entries[0])
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise QuantError(f"{path} has no TensorQuantOverrides: {error!r}; give what the exporter writes") from error


def compare_overrides(
    network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None
) -> Verification:
    """Return how far the values are that the file's scales give."""
    return Verification("json", furthest_of(network, plan, read_overrides(path)))


ORT_OVERRIDES = Exporter(
    "ort", "ORT TensorQuantOverrides", ".json", find_overrides, make_overrides, compare_overrides, extra="onnx"
)
