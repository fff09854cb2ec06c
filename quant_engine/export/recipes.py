"""Recipes of tools that quantize by themselves: NVIDIA's ModelOpt and Google's AI Edge Quantizer.

A recipe says which layers get how many bits and which blocks; the tool finds the ranges, on its own calibration data.

Source: modelopt 0.47, torch/quantization/config.py; ai_edge_quantizer 0.10, qtyping.py and recipe_manager.py.
"""

from __future__ import annotations

import ast
import json
import pathlib
import pprint
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from quant_engine.export.base import Comparison, Contents, Exporter, Finding, Part, Verification, planned_specs
from quant_engine.formats import E2M1, E4M3, E8M0, FloatFormat, IntFormat
from quant_engine.granularity import PerChannel, PerGroup, PerTensor, PerToken
from quant_engine.inputs import Inputs
from quant_engine.models import Layer
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec

Recipe = dict[str, Any]
HEAD = "# mtq.quantize(model, {'quant_cfg': QUANT_CFG, 'algorithm': 'max'}, forward_loop)\nQUANT_CFG = "
QUANTIZERS = {"weight": "weight_quantizer", "activation": "input_quantizer"}
OPERATIONS = {"linear": "FULLY_CONNECTED", "conv2d": "CONV_2D", "embedding": "EMBEDDING_LOOKUP"}
GROUPS = (32, 64, 128, 256)
EDGE_WIDTHS = {"weights": (4, 8), "dynamic": (2, 4, 8), "static": (4, 8)}  # of weights, by what inputs are
NEAREST = QuantizerSpec(IntFormat(8), PerChannel())


def modelopt_cfg(spec: QuantizerSpec, dynamic: bool = False) -> Recipe | None:
    """Return the attributes of a ModelOpt quantizer, None for what it does not have.

    Example:
        >>> modelopt_cfg(QuantizerSpec(IntFormat(4), PerGroup(128)))
        {'num_bits': 4, 'block_sizes': {-1: 128, 'type': 'static'}}
    """
    form = spec.format
    if not spec.symmetric or not (isinstance(form, IntFormat) or form in (E4M3, E2M1)):
        return None
    bits = form.bits if isinstance(form, IntFormat) else (form.exponent_bits, form.mantissa_bits)
    found: Recipe = {"num_bits": bits}
    if isinstance(form, IntFormat):
        found |= {"unsigned": True} if not form.signed else {}
        found |= {"narrow_range": True} if form.narrow else {}
    sharing = _modelopt_sharing(spec, dynamic)
    return None if sharing is None or (form == E2M1 and "block_sizes" not in sharing) else found | sharing


def _modelopt_sharing(spec: QuantizerSpec, dynamic: bool) -> Recipe | None:
    kind, scales = spec.granularity, spec.scale_format
    if isinstance(kind, PerToken):
        return {"type": "dynamic", "block_sizes": {-1: None, "type": "dynamic"}} if dynamic else None
    if isinstance(kind, PerTensor):
        return {"axis": None, **({"type": "dynamic"} if dynamic else {})}
    if isinstance(kind, PerChannel):
        return {"axis": kind.axis}
    if not isinstance(kind, PerGroup) or kind.axis != -1:
        return None
    parts: dict[Any, Any] = {-1: kind.size, "type": "dynamic" if isinstance(spec.format, FloatFormat) else "static"}
    named = {E8M0: (8, 0), E4M3: (4, 3), None: None}
    if scales not in named:
        return None
    return {"block_sizes": parts | ({} if scales is None else {"scale_bits": named[scales]})}


def modelopt_recipe(network: Network, plan: QuantizationPlan) -> list[Recipe]:
    """Return `quant_cfg`: all off, then what each layer has; of entries that match, the last counts."""
    found: list[Recipe] = [{"quantizer_name": "*", "enable": False}]
    for part, spec, layer in planned_specs(plan):
        cfg = modelopt_cfg(spec, layer.dynamic and part.role == "activation")
        if cfg is not None and layer.input_scale is None:
            name = f"{_literal(part.layer)}.{QUANTIZERS[part.role]}"
            found.append({"quantizer_name": name, "cfg": cfg, "enable": True})
    return found


def _literal(name: str) -> str:
    """Return a pattern that matches a name alone."""
    return re.sub(r"[*?\[]", lambda found: f"[{found.group()}]", name)


def edge_recipe(network: Network, plan: QuantizationPlan) -> list[Recipe]:
    """Return the entries of an AI Edge recipe, one a layer; of entries that match, the last counts."""
    found = [_edge_entry(".*", "*")]
    for name, layer in plan.layers.items():
        info = network.layers()[name]
        if (config := _edge_config(info, layer)) is not None:
            operation = "DEPTHWISE_CONV_2D" if info.depthwise else OPERATIONS[info.op]
            found.append(_edge_entry(re.escape(name), operation, config))
    return found


def _edge_entry(regex: str, operation: str, config: Recipe | None = None) -> Recipe:
    key = "no_quantize" if config is None else "min_max_uniform_quantize"
    entry: Recipe = {"regex": regex, "operation": operation, "algorithm_key": key}
    return entry if config is None else entry | {"op_config": config}


def _edge_config(info: Layer, plan: LayerPlan) -> Recipe | None:
    """Return what an operator gets, None for what the tool's default policy does not have.

    Without an input's plan the weight is dequantized as the operator runs; inputs are static, or found as it runs.
    """
    if info.op not in OPERATIONS or plan.weight is None or plan.input_scale is not None:
        return None
    mode = "weights" if plan.activation is None else "dynamic" if plan.dynamic else "static"
    weight, config = _spec(plan.weight), Recipe()
    sharing = _edge_sharing(weight, info, mode)
    widths = (8,) if info.depthwise else EDGE_WIDTHS[mode]
    integer = isinstance(weight.format, IntFormat) and weight.format.bits in widths
    if sharing is None or not integer or not weight.symmetric:
        return None
    if mode == "static" and plan.activation is not None:
        given = _spec(plan.activation)
        bits = given.format.bits if isinstance(given.format, IntFormat) else 0
        known = bits == 8 or (bits == 16 and given.symmetric)
        if not known or not isinstance(given.granularity, PerTensor) or info.op == "embedding":
            return None
        config["activation_tensor_config"] = _edge_tensor(bits, given.symmetric, "TENSORWISE")
    return config | {
        "weight_tensor_config": _edge_tensor(weight.format.bits, True, sharing),
        "compute_precision": "FLOAT" if mode == "weights" else "INTEGER",
        "explicit_dequantize": mode == "weights",
        "skip_checks": False,
        "min_weight_elements": 0,
    }


def _edge_sharing(spec: QuantizerSpec, info: Layer, mode: str) -> str | None:
    """Return which weights share a scale; blocks are for weights of 2 and 4 bits whose inputs are found as it runs."""
    kind = spec.granularity
    if isinstance(kind, PerTensor):
        return "TENSORWISE"
    if isinstance(kind, PerChannel) and kind.axis == 0:
        return "CHANNELWISE"
    if not isinstance(kind, PerGroup) or kind.axis != -1 or kind.size not in GROUPS or mode != "dynamic":
        return None
    known = spec.format.bits < 8 if info.op == "linear" else spec.format.bits == 4 and info.op == "embedding"
    return f"BLOCKWISE_{kind.size}" if known else None


def _edge_tensor(bits: int, symmetric: bool, granularity: str) -> Recipe:
    return {"num_bits": bits, "symmetric": symmetric, "granularity": granularity, "dtype": "INT"}


def _spec(planned: Any) -> QuantizerSpec:
    found: QuantizerSpec = planned if isinstance(planned, QuantizerSpec) else planned.spec
    return found


def find_modelopt(network: Network, plan: QuantizationPlan) -> Iterator[Finding]:
    """Yield what ModelOpt's quantizers do not have, and that they find ranges by themselves."""
    for part, spec, layer in planned_specs(plan):
        if layer.input_scale is not None or modelopt_cfg(spec, layer.dynamic and part.role == "activation") is None:
            nearest = NEAREST if part.role == "weight" else QuantizerSpec(IntFormat(8))
            yield Finding("refused", f"ModelOpt has no {spec.format} with {spec.granularity}", *part, nearest)
    yield Finding("changed", "ModelOpt finds ranges and scales by itself, on its own calibration data")


def find_edge(network: Network, plan: QuantizationPlan) -> Iterator[Finding]:
    """Yield what the default policy of LiteRT's operators does not have, and that ranges are found by the tool."""
    for part, spec, layer in planned_specs(plan):
        info = network.layers()[part.layer]
        if _edge_config(info, layer) is None:
            nearest = NEAREST if part.role == "weight" else QuantizerSpec(IntFormat(8), symmetric=False)
            text = f"no operation of LiteRT has {spec.format} with {spec.granularity} beside the rest of its plan"
            yield Finding("refused", text, *part, nearest if info.op in OPERATIONS else None)
    yield Finding("changed", "AI Edge Quantizer finds ranges and scales by itself, on its own calibration data")
    yield Finding("warning", "its regexes are searched in names of LiteRT's tensors, which may differ from these")


def make_modelopt(network: Network, plan: QuantizationPlan, path: pathlib.Path) -> Contents:
    """Return `QUANT_CFG` as Python, since block sizes have axes as keys."""
    recipe = modelopt_recipe(network, plan)
    text = HEAD + pprint.pformat(recipe, sort_dicts=False, width=110) + "\n"
    names = {entry["quantizer_name"] for entry in recipe}
    every = (part for part, _, _ in planned_specs(plan))
    written = frozenset(part for part in every if f"{_literal(part.layer)}.{QUANTIZERS[part.role]}" in names)
    return Contents({path: text.encode()}, written)


def make_edge(network: Network, plan: QuantizationPlan, path: pathlib.Path) -> Contents:
    """Return the recipe as JSON."""
    recipe = edge_recipe(network, plan)
    names = {entry["regex"] for entry in recipe}
    written = frozenset(part for part, _, _ in planned_specs(plan) if re.escape(part.layer) in names)
    return Contents({path: json.dumps(recipe, indent=2).encode()}, written)


def compare_modelopt(network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None) -> Verification:
    """Return whether the last entry that matches each quantizer is the plan's."""
    read = ast.literal_eval(path.read_text("utf-8").removeprefix(HEAD))

    def matches(entry: Recipe, part: Part) -> bool:
        return fnmatchcase(f"{part.layer}.{QUANTIZERS[part.role]}", entry["quantizer_name"])

    return _compared("fnmatch, last match", network, plan, read, modelopt_recipe(network, plan), matches)


def compare_edge(network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None) -> Verification:
    """Return whether an entry of each layer is the plan's."""
    read = json.loads(path.read_text("utf-8"))

    def matches(entry: Recipe, part: Part) -> bool:
        return re.fullmatch(entry["regex"], part.layer) is not None

    return _compared("re, last match", network, plan, read, edge_recipe(network, plan), matches)


def _compared(
    reader: str, network: Network, plan: QuantizationPlan, read: list[Recipe], wanted: list[Recipe],
    matches: Callable[[Recipe, Part], bool],
) -> Verification:  # fmt: skip
    """Return whether both recipes say the same of each part."""

    def last(recipe: list[Recipe], part: Part) -> Recipe:
        return [entry for entry in recipe if matches(entry, part)][-1]

    parts = [Part(name, role) for name in network.layers() for role in QUANTIZERS]
    same = all(last(read, part) == last(wanted, part) for part in parts)
    return Verification(reader, (Comparison("rules", exact=None if same else False),))  # there are no codes


MODELOPT = Exporter("modelopt", "ModelOpt quant_cfg", ".py", find_modelopt, make_modelopt, compare_modelopt)
AI_EDGE = Exporter("ai-edge", "AI Edge Quantizer recipe", ".json", find_edge, make_edge, compare_edge)
