"""GGUF files of a plan, with its own scales: a clipped range is deployed as it was found.

A model that came from a GGUF file is written as that file with other tensors, complete. Any other is written as tensors
under the network's names: weights and scales are right, but without an architecture llama.cpp does not run it.
llama.cpp quantizes what layers receive by itself.
"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.export import gguf_blocks as blocks
from quant_engine.export.base import (
    Comparison,
    Contents,
    Export,
    Exporter,
    Finding,
    Part,
    Verification,
    planned_specs,
)
from quant_engine.export.gguf_source import EXTRA, GgufSource, source_of
from quant_engine.export.matrices import float_weight, quantized_matrix
from quant_engine.export.running import run_by_transformers
from quant_engine.export.sources import state_of
from quant_engine.extras import imported
from quant_engine.formats import FP16, FloatFormat, IntFormat
from quant_engine.inputs import Float32Array, Inputs
from quant_engine.models import Layer
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec

MAX_NAME = 63  # bytes, of llama.cpp
ARCHITECTURE = "unknown"


def find_gguf(network: Network, plan: QuantizationPlan) -> Iterator[Finding]:
    """Yield what the types of GGUF do not hold, what float16 rounds, and what llama.cpp does otherwise."""
    layers, source = network.layers(), source_of(network)
    for part, spec, layer in planned_specs(plan):
        info = layers[part.layer]
        if part.role == "weight":
            yield from _of_weight(info, spec, layer, source)
        else:
            text = "llama.cpp quantizes inputs by itself, in blocks, as it runs: what the plan says is left out"
            yield Finding("changed", text, info.name, "activation")
    if source is None:
        long = [name for name in layers if len(f"{name}.weight".encode()) > MAX_NAME]
        if long:
            yield Finding("warning", f"the name is longer than the {MAX_NAME} bytes of llama.cpp", long[0])
        yield Finding(
            "warning",
            "the file has tensors under this network's names and no architecture: llama.cpp does not run it; for that, "
            "convert the model with llama.cpp and give llama-quantize the types of the plan",
        )


def _of_weight(info: Layer, spec: QuantizerSpec, plan: LayerPlan, source: GgufSource | None) -> Iterator[Finding]:
    def finding(severity: Any, text: str, nearest: QuantizerSpec | None = None) -> Finding:
        return Finding(severity, text, info.name, "weight", nearest)

    if plan.input_scale is not None:
        yield finding("refused", "its input is divided by a scale for each channel, which the file cannot say")
    if source is not None and source.name_of(info.tied_to or info.name) is None:
        yield finding("refused", f"{source.path.name} has no tensor for it")
    kind, grid = blocks.block_type(spec), spec.granularity.blocks(info.matrix_shape)
    if kind in blocks.FLOATS.values():
        return
    if info.matrix_shape[1] % blocks.BLOCK:
        text = f"rows of {info.matrix_shape[1]} values are no whole blocks of {blocks.BLOCK}"
        yield finding("refused", text, QuantizerSpec(FP16))
        return
    fits = blocks.in_blocks(grid)
    if kind is None or not fits:
        what = f"runs of {blocks.BLOCK} do not have one scale each with {spec.granularity}" if kind else "no type"
        said = what if kind else f"no type of GGUF has the codes of {spec.format} with {spec.granularity}"
        yield finding("refused", said, blocks.nearest_spec(spec, fits))
        return
    if len(info.shape) > 2:
        yield finding("warning", f"it is stored as a matrix of {info.matrix_shape}, in whose rows its blocks lie")
    yield from _rounding(spec, plan, finding, kind)
    if plan.bias is not None and not info.has_bias:
        yield finding("changed", "the plan gives it a bias, the model has none: the bias is left out")


def _rounding(spec: QuantizerSpec, plan: LayerPlan, finding: Any, kind: str) -> Iterator[Finding]:
    """Yield by how much float16 moves the levels of integers, in steps; known once the plan is fitted."""
    if not isinstance(spec.format, IntFormat):
        return
    nearest = blocks.nearest_spec(spec, fits=True)
    if isinstance(plan.weight, QuantizerSpec | None):
        if spec.scale_format != FP16 or not spec.symmetric:
            yield finding("changed", f"{kind} has scales of float16, to which those of the plan are rounded", nearest)
        return
    moved = blocks.rounded(plan.weight)
    if np.isinf(moved):
        yield finding("refused", "some of its scales are beyond float16", nearest)
    elif moved:
        yield finding("changed", f"scales of float16 in {kind} move its levels by {moved:.2g} of a step", nearest)


def _expressed(info: Layer, plan: LayerPlan) -> bool:
    """Return whether a fitted weight is written as codes, or as floats of its own format."""
    if plan.weight is None or isinstance(plan.weight, QuantizerSpec) or plan.input_scale is not None:
        return False
    spec = plan.weight.spec
    kind = blocks.block_type(spec)
    if kind is None or kind in blocks.FLOATS.values():
        return kind is not None
    return blocks.in_blocks(spec.granularity.blocks(info.matrix_shape)) and not np.isinf(blocks.rounded(plan.weight))


def make_gguf(network: Network, plan: QuantizationPlan, path: pathlib.Path) -> Contents:
    """Return the file, and which weights are in it as codes."""
    gguf = imported("gguf", EXTRA)
    source, layers = source_of(network), network.layers()
    tensors = (
        _kept(network) if source is None else {name: (t.data, t.tensor_type) for name, t in source.tensors.items()}
    )
    written = set()
    for name, layer in plan.layers.items():
        info = layers[name]
        if layer.weight is not None:
            own = info.tied_to or name
            key = f"{own}.weight" if source is None else source.name_of(own)
            if key is None:
                continue
            rows = slice(None) if source is None else source.rows_of(key, network.weight(name))
            tensors[key] = _tensor(network, name, layer, rows)
            written |= {Part(name, "weight")} if _expressed(info, layer) else set()
        bias = f"{name}.bias" if source is None else source.name_of(name, "bias")
        if layer.bias is not None and bias is not None and bias in tensors:
            tensors[bias] = (layer.bias, gguf.GGMLQuantizationType.F32)
    return Contents({path: _file(tensors, source)}, frozenset(written))


def _tensor(network: Network, name: str, plan: LayerPlan, rows: Any) -> tuple[NDArray[Any], Any]:
    """Return the rows of a planned weight as a file has them, with its type; what is not expressed is float32."""
    gguf, info = imported("gguf", EXTRA), network.layers()[name]
    if not _expressed(info, plan):
        values = float_weight(network, name, plan)
        assert values is not None
        return values[rows], gguf.GGMLQuantizationType.F32
    assert plan.weight is not None
    spec = plan.weight.spec if not isinstance(plan.weight, QuantizerSpec) else plan.weight
    kind = gguf.GGMLQuantizationType[str(blocks.block_type(spec))]
    held = blocks.packed(quantized_matrix(network, name, plan))[rows]
    if not isinstance(spec.format, FloatFormat) or spec.format.scaled or len(info.shape) == 2:
        return held, kind
    return held.reshape(*info.shape[:-1], -1), kind


def _kept(network: Network) -> dict[str, tuple[NDArray[Any], Any]]:
    """Return all tensors of a network under its own names; real ones as float32."""
    arrays = {name: t.float() if t.is_floating_point() else t for name, t in state_of(network).items()}
    return {name: (np.atleast_1d(tensor.numpy()), None) for name, tensor in arrays.items()}


def _file(tensors: dict[str, tuple[NDArray[Any], Any]], source: GgufSource | None) -> bytes:
    """Return the bytes that the package writes."""
    gguf = imported("gguf", EXTRA)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, ARCHITECTURE if source is None else source.architecture)
        if source is not None:
            source.copy_metadata(writer)
        for name, (array, kind) in tensors.items():
            writer.add_tensor(name, np.ascontiguousarray(array), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def compare_gguf(network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None) -> Verification:
    """Return whether the package dequantizes the file to x̂, up to scales of float16, and what transformers makes of it.

    Transformers runs files of a model that came from one.
    """
    gguf, source, layers = imported("gguf", EXTRA), source_of(network), network.layers()
    held = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    worst, exact, within = 0.0, True, True
    for name, layer in plan.layers.items():
        own = layers[name].tied_to or name
        key = f"{own}.weight" if source is None else source.name_of(own)
        x_hat = float_weight(network, name, layer)
        if x_hat is None or key is None:
            continue
        rows = slice(None) if source is None else source.rows_of(key, network.weight(name))
        values = gguf.dequantize(held[key].data, held[key].tensor_type).reshape(x_hat.shape)
        error = float(np.abs(values - x_hat[rows]).max(initial=0.0))
        exact = exact and not error
        within = within and error <= _allowed(layer)
        worst = max(worst, error)
    ran, findings = ((), ()) if source is None else _by_transformers(network, plan, path, data)
    found = Comparison("dequantized", worst, exact=exact or (None if within else False))
    return Verification("gguf", (found, *ran), findings)


def _allowed(plan: LayerPlan) -> float:
    """Return by how much float16 may move a value of a weight."""
    if plan.weight is None or isinstance(plan.weight, QuantizerSpec):
        return 0.0
    moved = blocks.rounded(plan.weight)
    spare: Float32Array = np.spacing(np.float32(np.abs(plan.weight.scale).max(initial=0) * 256))
    return moved * float(np.abs(plan.weight.scale).max(initial=0.0)) + float(spare) if np.isfinite(moved) else 0.0


def _by_transformers(network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None) -> Any:
    return run_by_transformers(network, plan, path.parent, data, gguf_file=path.name)


GGUF = Exporter("gguf", "GGUF (llama.cpp)", ".gguf", find_gguf, make_gguf, compare_gguf, EXTRA)


def to_gguf(
    network: Network,
    plan: QuantizationPlan,
    path: str | pathlib.Path,
    overwrite: bool = False,
    as_float: bool = False,
) -> Export:
    """Write a GGUF file in blocks of 32 with the scales of the plan; as `Exporter.write`.

    Raises:
        QuantError: as `Exporter.write`.
    """
    return GGUF.write(network, plan, path, overwrite, as_float)
