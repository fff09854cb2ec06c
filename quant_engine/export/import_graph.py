"""Plans from graphs with QuantizeLinear and DequantizeLinear: the codes that they store, and the scales of inputs."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from quant_engine.export.encodings_check import layer_nodes
from quant_engine.formats import IntFormat
from quant_engine.granularity import Granularity, PerChannel, PerGroup, PerTensor
from quant_engine.models import Layer, read_onnx, stored_quantization
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec
from quant_engine.readers import StoredQuantization

ENDINGS = "_quantized", "/weight"  # of a weight's codes, as onnxruntime and the exporter name them
MAX_BITS = 16


def plan_of_graph(network: Network, path: pathlib.Path) -> tuple[QuantizationPlan, tuple[str, ...]]:
    """Return the plan of a quantized graph for the network that it was made of, and the names that match no layer."""
    model, layers = read_onnx(path), network.layers()
    known = {alias: name for name, layer in layers.items() for alias in (layer.tensor, name)}
    activations = {} if model.file is None else dict(model.file.activations)
    plans: dict[str, dict[str, Any]] = {}
    unmatched = []
    for name, layer in model.layers.items():
        found, own = stored_quantization(model, name), known.get(plain_name(layer.tensor))
        if found is None:
            continue
        weight = None if own is None else _weight(found, layers[own])
        if own is None or weight is None:
            unmatched.append(layer.tensor)
        else:
            plans.setdefault(own, {})["weight"] = weight
    used = set()
    for name, node in layer_nodes(network).items():
        planned = None if node.source not in activations else _activation(activations[node.source], layers[name])
        if planned is not None:
            used.add(node.source)
            plans.setdefault(name, {})["activation"] = planned
    unmatched += [name for name in activations if name not in used]
    return QuantizationPlan({name: LayerPlan(**plans[name]) for name in layers if name in plans}), tuple(unmatched)


def plain_name(tensor: str) -> str:
    """Return the name of the weight that a tensor holds the codes of.

    >>> plain_name("fc1/weight_quantized"), plain_name("conv1.weight")
    ('fc1', 'conv1.weight')
    """
    for ending in ENDINGS:
        tensor = tensor.removesuffix(ending)
    return tensor


def _weight(found: StoredQuantization, layer: Layer) -> QuantizedTensor | None:
    """Return a weight's codes in the view (out, everything else); None for floats, and blocks that no plan has."""
    granularity = granularity_of(found, layer) if found.shape == layer.shape else None
    if granularity is None or found.scale is None or "INT" not in found.name or not 2 <= found.bits <= MAX_BITS:
        return None
    grid = granularity.blocks(layer.matrix_shape).grid
    zero = np.zeros(grid, np.int32) if found.zero_point is None else found.zero_point.reshape(grid)
    fitted = fitted_of(found.name.lower(), found.bits, granularity, found.scale.reshape(grid), zero)
    moved = 1 << found.bits - 1 if found.name.startswith("U") and fitted.spec.format.signed else 0
    codes = found.codes().astype(np.int32).reshape(layer.matrix_shape) - moved
    return QuantizedTensor(codes, fitted.scale, fitted.zero_point, fitted.spec)


def _activation(found: StoredQuantization, layer: Layer) -> Quantizer | None:
    if found.scale is None or found.scale.size != 1 or "INT" not in found.name or not 2 <= found.bits <= MAX_BITS:
        return None
    grid = (1,) * (1 + len(layer.input_shape))
    zero = np.zeros(grid, np.int32) if found.zero_point is None else found.zero_point.reshape(grid)
    return fitted_of(found.name.lower(), found.bits, PerTensor(), found.scale.reshape(grid), zero)


def granularity_of(found: StoredQuantization, layer: Layer) -> Granularity | None:
    """Return which blocks of the view (out, everything else) share a scale, or None where these are none."""
    block, shape = found.block, found.shape
    if block == shape:
        return PerTensor()
    if block[1:] == shape[1:] and block[0] == 1:
        return PerChannel()
    if len(shape) != 2:
        return None
    if block[0] == shape[0] and block[1] == 1:
        return PerChannel(1)
    return PerGroup(block[1], remainder="short") if block[0] == 1 else None


def fitted_of(codes: str, bits: int, granularity: Granularity, scale: Any, zero_point: Any) -> Quantizer:
    """Return a quantizer: unsigned codes with the zero point in their middle are signed ones without."""
    middle = 1 << bits - 1
    if codes.startswith("u") and (zero_point == middle).all():
        return Quantizer(QuantizerSpec(IntFormat(bits), granularity), scale, np.zeros_like(zero_point))
    signed = not codes.startswith("u")
    symmetric = signed and not zero_point.any()
    return Quantizer(QuantizerSpec(IntFormat(bits, signed), granularity, symmetric), scale, zero_point)
