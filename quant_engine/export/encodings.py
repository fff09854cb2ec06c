"""AIMET's and QNN's encodings: ranges of tensors by the names that they have in an ONNX graph.

Version 1.0.0 counts codes from 0 and adds an offset, x̂ = (code + offset) · scale; 2.1.0 has zero points in the type of
the codes and names axes, as ONNX does. What the file leaves out, the target calibrates by itself. Where the network is
no ONNX file, the graph whose names the encodings use is written beside them, in floating point.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from quant_engine.checks import as_choice
from quant_engine.export.base import Contents, Export, Exporter, Finding, Part, planned_specs
from quant_engine.export.encodings_check import compare_encodings, layer_nodes
from quant_engine.export.onnx_float import float_graph
from quant_engine.export.onnx_types import INTEGERS, Layout, spread, weight_layout
from quant_engine.formats import IntFormat
from quant_engine.granularity import PerChannel, PerTensor
from quant_engine.models import Layer, OnnxModel
from quant_engine.models.onnx_graph import LayerNode, OnnxGraph
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec
from quant_engine.readers.encodings import ACTIVATIONS, BOTH, PARAMS

V1, V2 = "1.0.0", "2.1.0"
EXECUTED = 4, 8, 16  # bits that Qualcomm's runtimes execute
PRODUCER = {"package": "quant-explorer", "version": "0.1.0"}
Entry = dict[str, Any]


@dataclass(frozen=True)
class Range:
    """What an entry says: scales and zero points as they lie on the named tensor, and how they lie."""

    name: str
    fitted: Quantizer | QuantizedTensor
    layout: Layout
    shape: tuple[int, int] = (1, 1)
    turned: bool = False

    def parameters(self) -> tuple[Any, Any]:
        """Return scale and zero point in the shape that the tensor's axes have."""
        step = np.float32(getattr(self.fitted.spec.format, "step", 1))
        parts = (spread(part, self.layout, self.shape) for part in (self.fitted.scale * step, self.fitted.zero_point))
        scale, zero_point = (part.T if self.turned else part for part in parts)
        return scale, zero_point

    @property
    def axis(self) -> int | None:
        """The axis of the named tensor along which scales lie."""
        return self.layout.axis if self.layout.axis is None or not self.turned else 1 - self.layout.axis


def find_encodings(network: Network, plan: QuantizationPlan, version: str) -> Iterator[Finding]:
    """Yield what encodings cannot say of a plan."""
    layers = network.layers()
    for part, spec, layer in planned_specs(plan):
        yield from _find_part(part, spec, layers[part.layer], version, layer.dynamic)
        planned = layer.weight if part.role == "weight" else None
        if isinstance(planned, QuantizedTensor):
            yield Finding("changed", "ranges alone are written: the target rounds to nearest, not as planned", *part)
    for name, layer in plan.layers.items():
        if layer.bias is not None or layer.input_scale is not None:
            yield Finding("changed", "its own bias or input_scale is left out: encodings have ranges alone", name)


def _find_part(part: Part, spec: QuantizerSpec, layer: Layer, version: str, dynamic: bool) -> Iterator[Finding]:
    near, reasons = spec, []
    if not isinstance(spec.format, INTEGERS):
        near = replace(near, format=IntFormat(min(max(spec.format.bits, 2), 16)), scale_format=None)
        reasons.append("encodings are of integers")
    if spec.rounding != "nearest":
        near = replace(near, rounding="nearest")
        reasons.append(f"the target rounds to nearest, not {spec.rounding}")
    if part.role == "activation":
        if dynamic:
            reasons.append("its range is found on each sample, encodings have a fixed one")
        if not isinstance(spec.granularity, PerTensor):
            near = replace(near, granularity=PerTensor())
            reasons.append("activations have one scale")
    elif (layout := weight_layout(spec, layer.matrix_shape)) and not _is_written(layout, layer, version):
        near = replace(near, granularity=PerChannel())
        reasons.append(f"{version} has no entry for {spec.granularity} of shape {layer.shape}")
    if reasons:
        yield Finding("refused", "; ".join(reasons), *part, near)
    elif spec.format.bits not in EXECUTED:
        yield Finding("warning", f"Qualcomm's runtimes execute 4, 8 and 16 bits, not {spec.format.bits}", *part)


def _is_written(layout: Layout, layer: Layer, version: str) -> bool:
    """Return whether an entry has scales for a layout: blocks are of matrices, other axes are named in 2.1.0 alone."""
    if layout.axis is None or (layout.axis == 0 and not layout.block):
        return True
    return len(layer.shape) == 2 and (version == V2 or (layout.axis == 1 and layout.block > 0))


@dataclass(frozen=True, eq=False)
class Ranges:
    """What is said of weights and of what layers receive, by the names of tensors, and what of the plan that is."""

    parameters: dict[str, Range]
    activations: dict[str, Range]
    written: frozenset[Part]
    findings: tuple[Finding, ...]


def make_encodings(network: Network, plan: QuantizationPlan, path: pathlib.Path, version: str) -> Contents:
    """Return the encodings of a frozen plan and, of a network that is no ONNX file, the graph with their names."""
    ranges = ranges_of(network, plan, version)
    files = {path: json.dumps(_document(ranges, version), indent=2).encode(), **named_graph(network, path)}
    return Contents(files, ranges.written, ranges.findings)


def named_graph(network: Network, path: pathlib.Path) -> dict[pathlib.Path, bytes]:
    """Return the graph with the names of tensors, which belongs beside a path, of a network that is no ONNX file."""
    if isinstance(network.model, OnnxModel):
        return {}
    return {path.with_suffix(".onnx"): float_graph(network.model).graph.proto.SerializeToString()}


def ranges_of(network: Network, plan: QuantizationPlan, version: str) -> Ranges:
    """Return the ranges of a frozen plan, without those that are refused."""
    graph, nodes = float_graph(network.model).graph, layer_nodes(network)
    written, findings = set[Part](), list[Finding]()
    parameters, activations = dict[str, Range](), dict[str, Range]()
    refused = {(f.layer, f.role) for f in find_encodings(network, plan, version) if f.severity == "refused"}
    for part, _, layer in planned_specs(plan):
        node, fitted = nodes[part.layer], getattr(layer, part.role)
        if part in refused:
            continue
        weight = part.role == "weight"
        table = parameters if weight else activations
        if weight:
            found = _weight_range(network, graph, node, part.layer, fitted)
        else:
            found = Range(node.source, fitted, Layout(None))
        other = table.get(found.name) if found else None
        if found is None or (version == V1 and found.turned and found.layout.block):
            text = "its weight is not stored as it is multiplied, and no entry names it"
            findings.append(Finding("changed", text, *part))
        elif other and not _same_range(other, found):
            text = f"another layer has another range for the same tensor {found.name!r}, which is kept"
            findings.append(Finding("changed", text, *part))
        else:
            table[found.name] = found
            written.add(part)
    return Ranges(parameters, activations, frozenset(written), tuple(findings))


def _weight_range(network: Network, graph: OnnxGraph, node: LayerNode, name: str, fitted: Any) -> Range | None:
    """Return what is said of a weight, or None where no stored tensor is it, as it is or transposed."""
    held, layer = graph.constants.value(node.key), network.layers()[name]
    layout = weight_layout(fitted.spec, layer.matrix_shape)
    if held.shape == node.weight.shape and np.array_equal(held, node.weight):
        return Range(node.key, fitted, layout, layer.matrix_shape)
    if held.ndim == 2 and np.array_equal(held.T, node.weight):
        return Range(node.key, fitted, layout, layer.matrix_shape, turned=True)
    return None


def _same_range(one: Range, other: Range) -> bool:
    same = all(np.array_equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    return same and one.fitted.spec.format == other.fitted.spec.format


def _document(ranges: Ranges, version: str) -> Entry:
    head: Entry = {"version": version, "producer": PRODUCER}
    activations, parameters = entries_of(ranges, version)
    if version == V2:
        return {**head, BOTH: [*activations, *parameters]}
    return {**head, ACTIVATIONS: activations, PARAMS: parameters}


def entries_of(ranges: Ranges, version: str) -> tuple[list[Entry], list[Entry]]:
    """Return the entries of activations and of weights."""
    entry = _entry2 if version == V2 else _entry1
    return [*map(entry, ranges.activations.values())], [*map(entry, ranges.parameters.values())]


def _entry1(found: Range) -> Entry:
    """Return an entry of 1.0.0: the codes are unsigned, and the offset is added to them."""
    format, (scale, zero_point) = found.fitted.spec.format, found.parameters()
    least = -(1 << format.bits - 1) if format.signed else 0
    kind = "PER_TENSOR" if found.axis is None else "PER_BLOCK" if found.layout.block else "PER_CHANNEL"
    return {
        "name": found.name,
        "dtype": "INT",
        "bw": format.bits,
        "is_sym": found.fitted.spec.symmetric,
        "scale": scale.reshape(-1).tolist(),
        "offset": (least - zero_point.astype(np.int64)).reshape(-1).tolist(),
        "enc_type": kind,
        **({"block_size": found.layout.block} if found.layout.block else {}),
    }


def _entry2(found: Range) -> Entry:
    """Return an entry of 2.1.0, with the fields of ONNX's QuantizeLinear."""
    format, (scale, zero_point) = found.fitted.spec.format, found.parameters()
    return {
        "name": found.name,
        "output_dtype": f"{'' if format.signed else 'u'}int{format.bits}",
        "y_scale": scale.tolist(),
        **({"y_zero_point": zero_point.tolist()} if zero_point.any() else {}),
        **({} if found.axis is None else {"axis": found.axis}),
        **({"block_size": found.layout.block} if found.layout.block else {}),
    }


def _exporter(key: str, version: str) -> Exporter:
    find, make = partial(find_encodings, version=version), partial(make_encodings, version=version)
    return Exporter(key, f"AIMET/QNN encodings {version}", ".encodings", find, make, compare_encodings, extra="onnx")


AIMET = {V1: _exporter("aimet", V1), V2: _exporter("aimet2", V2)}


def to_aimet(
    network: Network,
    plan: QuantizationPlan,
    path: str | pathlib.Path,
    version: str = V1,
    overwrite: bool = False,
    as_float: bool = False,
) -> Export:
    """Write the ranges of a plan as encodings that AIMET and QNN read, version "1.0.0" or "2.1.0".

    `Export.coverage` says which tensors the file leaves out: the target calibrates these by itself. Other options as
    `Exporter.write`.

    Raises:
        QuantError: as `Exporter.write`, for another version, and for a model that torch or onnx cannot convert.

    Example:
        >>> import tempfile
        >>> from quant_engine import LayerPlan
        >>> from quant_engine.network import load
        >>> plan = QuantizationPlan({"fc2": LayerPlan(QuantizerSpec(IntFormat(8), PerChannel()))})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export = to_aimet(load("fashion-cnn"), plan, pathlib.Path(folder) / "cnn.encodings", "2.1.0")
        >>> [path.name for path in export.paths], f"{export.coverage.share:.0%}"
        (['cnn.encodings', 'cnn.onnx'], '10%')
    """
    return AIMET[as_choice(version, AIMET, "version")].write(network, plan, path, overwrite, as_float)
