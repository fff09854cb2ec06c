"""Folders as compressed-tensors stores models, which transformers and vLLM load: config.json and packed weights.

Layers with one scheme are a group of `config_groups`, by name; a model with several is "mixed-precision". A folder of
transformers brings its config.json and tokenizer; of any other network the file holds the tensors under the names that
they have in the module. Layers that share a weight are stored one by one.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from quant_engine.execution.layer_change import planned_weight
from quant_engine.export import compressed_weights as cw
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
from quant_engine.export.matrices import float_weight, quantized_matrix
from quant_engine.export.running import run_by_transformers
from quant_engine.export.sources import config_of, state_of, tokenizer_files
from quant_engine.extras import imported
from quant_engine.formats import FloatFormat, IntFormat
from quant_engine.inputs import Float32Array, Inputs
from quant_engine.models import Layer, fused_groups
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec

EXTRA = "compressed-tensors"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
PACKED_OPS = ("linear", "embedding")
TITLES = {"linear": "Linear", "embedding": "Embedding"}
PLAIN = "float"  # no scheme, but a weight of that format all the same


def find_compressed(network: Network, plan: QuantizationPlan) -> Iterator[Finding]:
    """Yield what compressed-tensors cannot say, and what those who read it do otherwise."""
    layers = network.layers()
    for part, spec, layer in planned_specs(plan):
        found = _of_weight if part.role == "weight" else _of_input
        yield from found(layers[part.layer], spec, layer)
    yield from _of_layers(layers, plan)


def _of_weight(info: Layer, spec: QuantizerSpec, plan: LayerPlan) -> Iterator[Finding]:
    def finding(severity: Any, text: str, nearest: QuantizerSpec | None = None) -> Finding:
        return Finding(severity, text, info.name, "weight", nearest)

    if info.op not in PACKED_OPS:
        yield finding("refused", f"compressed-tensors packs linear layers and embeddings, not {info.op}")
        return
    if plan.input_scale is not None:
        yield finding("refused", "its input is divided by a scale for each channel, which compressed-tensors lacks")
    scheme = _scheme(info, spec, plan)
    if scheme is None:
        nearest = cw.nearest_spec(spec, info.matrix_shape[1])
        yield finding("refused", f"no scheme has {spec.format} with {spec.granularity}", nearest)
    elif scheme.form == cw.NVFP4:
        yield finding("warning", "compressed-tensors gives the values of NVFP4 in bfloat16")
    elif scheme.form == cw.PACKED and not scheme.weights["symmetric"]:
        yield finding("warning", "the package unpacks its zero points, but transformers 5 does not load them")
    if info.op == "embedding" and scheme is not None:
        yield finding("warning", "the package unpacks embeddings, but transformers 5 loads no model with packed ones")
    if plan.bias is not None and not info.has_bias:
        yield finding("changed", "the plan gives it a bias, the model has none: the bias is left out")


def _of_input(info: Layer, spec: QuantizerSpec, plan: LayerPlan) -> Iterator[Finding]:
    def finding(severity: Any, text: str, nearest: QuantizerSpec | None = None) -> Finding:
        return Finding(severity, text, info.name, "activation", nearest)

    planned, form = plan.activation, spec.format
    if not _is_packed(info, plan):
        yield finding("refused", "inputs are quantized only beside a quantized weight")
    elif planned is None or cw.input_arguments(planned, plan.dynamic) is None:
        bits = min(form.bits, cw.MAX_BITS)
        nearest = QuantizerSpec(IntFormat(max(bits, 2), getattr(form, "signed", True)), symmetric=spec.symmetric)
        kind = "dynamic" if plan.dynamic else "static"
        yield finding("refused", f"no scheme has {kind} {form} with {spec.granularity} for inputs", nearest)
    elif plan.dynamic:
        yield finding(
            "warning", "the reader finds each token's scale itself, as (max − min)/(2^b − 1) or 2·max|x| of it"
        )
    elif isinstance(form, IntFormat) and form.narrow:
        yield finding("changed", f"codes begin at {form.qmin - 1} there: the restricted range is for weights alone")


def _of_layers(layers: Mapping[str, Layer], plan: QuantizationPlan) -> Iterator[Finding]:
    """Yield what concerns several layers."""
    packed = [name for name in layers if _is_packed(layers[name], plan[name])]
    for name in packed:
        if (own := layers[name].tied_to) is not None:
            yield Finding("warning", f"it shares the weight of {own!r}, which is stored once more", name)
    for names in fused_groups({name: info for name, info in layers.items() if info.op == "linear"}):
        if len({_group(layers[name], plan[name]) for name in names}) > 1:
            said = ", ".join(map(repr, names))
            yield Finding("warning", f"vLLM fuses {said} and wants one scheme for them; here they differ", names[0])


def _scheme(info: Layer, spec: QuantizerSpec, plan: LayerPlan) -> cw.Scheme | None:
    if isinstance(spec.format, FloatFormat) and not spec.format.scaled:
        return cw.Scheme(PLAIN, {})
    return cw.scheme_of(spec, info.matrix_shape, plan.activation is not None)


def _planned_scheme(info: Layer, plan: LayerPlan) -> cw.Scheme | None:
    """Return the scheme of a layer whose weight compressed-tensors can store, else None."""
    if plan.weight is None or info.op not in PACKED_OPS or plan.input_scale is not None:
        return None
    spec = plan.weight if isinstance(plan.weight, QuantizerSpec) else plan.weight.spec
    return _scheme(info, spec, plan)


def _is_packed(info: Layer, plan: LayerPlan) -> bool:
    scheme = _planned_scheme(info, plan)
    return scheme is not None and scheme.form != PLAIN


def _group(info: Layer, plan: LayerPlan) -> str:
    """Return format and arguments of a layer as text that tells groups apart; none for floats."""
    scheme = _planned_scheme(info, plan)
    if scheme is None or scheme.form == PLAIN:
        return ""
    inputs = None if plan.activation is None else cw.input_arguments(plan.activation, plan.dynamic)
    return json.dumps({"format": scheme.form, "weights": scheme.weights, "input_activations": inputs})


def make_compressed(network: Network, plan: QuantizationPlan, path: pathlib.Path) -> Contents:
    """Return config.json, model.safetensors and what the folder of the model brings."""
    import torch
    from safetensors.torch import save

    layers, tensors, written = network.layers(), state_of(network), set[Part]()
    groups: dict[str, list[str]] = {}
    for name, layer in plan.layers.items():
        info = layers[name]
        group = _group(info, layer)
        if group:
            groups.setdefault(group, []).append(name)
            tensors.pop(f"{name}.weight", None)
            tensors |= {f"{name}.{end}": _tensor(held) for end, held in _stored(network, name, layer).items()}
            written |= {Part(name, role) for role in ("weight", "activation") if _is_written(layer, role)}
        elif layer.weight is not None:
            weight = float_weight(network, name, layer)
            tensors[f"{name}.weight"] = torch.from_numpy(np.array(weight))
            written |= {Part(name, "weight")} if _planned_scheme(info, layer) else set()
        if layer.bias is not None and info.has_bias:
            tensors[f"{name}.bias"] = torch.from_numpy(layer.bias.copy())
    unplanned = [name for name, info in layers.items() if info.op == "linear" and not _is_packed(info, plan[name])]
    tied = any(layers[name].tied_to for names in groups.values() for name in names)
    config = {**config_of(network), "dtype": "float32", "quantization_config": _config(groups, unplanned)}
    config |= {"tie_word_embeddings": False} if tied else {}
    files = {
        path / CONFIG: json.dumps(config, indent=2).encode(),
        path / WEIGHTS: save(tensors, {"format": "pt"}),
        **{path / file.name: file.read_bytes() for file in tokenizer_files(network)},
    }
    return Contents(files, frozenset(written))


def _is_written(plan: LayerPlan, role: str) -> bool:
    if role == "weight" or plan.activation is None:
        return role == "weight"
    return cw.input_arguments(plan.activation, plan.dynamic) is not None


def _stored(network: Network, name: str, plan: LayerPlan) -> dict[str, cw.Stored]:
    """Return the tensors of a layer that is packed."""
    scheme = _planned_scheme(network.layers()[name], plan)
    assert scheme is not None
    found = cw.weight_tensors(quantized_matrix(network, name, plan), scheme)
    if _is_written(plan, "activation") and not isinstance(plan.activation, QuantizerSpec | None):
        found |= cw.input_tensors(plan.activation)
    return found


def _tensor(held: cw.Stored) -> Any:
    """Return a stored array as a tensor of its type."""
    import torch

    tensor = torch.from_numpy(np.array(held.values, order="C"))
    return tensor.view(getattr(torch, held.dtype)) if held.dtype else tensor


def _config(groups: Mapping[str, list[str]], ignored: list[str]) -> dict[str, Any]:
    """Return `quantization_config`."""
    parts = {f"group_{number}": {**json.loads(group), "targets": names, "output_activations": None}
             for number, (group, names) in enumerate(groups.items())}  # fmt: skip
    formats = {part["format"] for part in parts.values()}
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else "mixed-precision" if formats else "dense",
        "quantization_status": "compressed",
        "ignore": ignored,
        "kv_cache_scheme": None,
        "config_groups": parts,
    }


def compare_compressed(
    network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None
) -> Verification:
    """Return whether the package decompresses the file to x̂, and what transformers makes of the folder.

    Only transformers' own models are run by it.
    """
    from safetensors.torch import load_file

    package = imported("compressed_tensors", EXTRA)
    quantization = imported("compressed_tensors.quantization", EXTRA)
    config = quantization.QuantizationConfig.model_validate(
        json.loads((path / CONFIG).read_text("utf-8"))["quantization_config"]
    )
    tensors, worst, exact = load_file(path / WEIGHTS), 0.0, True
    for group in config.config_groups.values():
        for name in group.targets:
            held = {end.removeprefix(f"{name}."): t for end, t in tensors.items() if end.startswith(f"{name}.")}
            values, x_hat = _decompressed(held, group), planned_weight(network.model, name, plan[name])
            assert x_hat is not None
            wanted = _as_read(x_hat.reshape(values.shape), group)
            exact = exact and np.array_equal(values, wanted)
            worst = max(worst, float(np.abs(values - wanted).max(initial=0.0)))
    ran, findings = run_by_transformers(network, plan, path, data)
    comparisons = Comparison("decompressed", worst, exact=exact), *ran
    return Verification(f"compressed-tensors {package.__version__}", comparisons, findings)


def _decompressed(held: dict[str, Any], group: Any) -> Float32Array:
    """Return the weight that the package makes of a layer's tensors."""
    kinds = imported("compressed_tensors.compressors", EXTRA).BaseCompressor
    kind = kinds.get_value_from_registry(getattr(group.format, "value", group.format))
    values: Float32Array = kind.decompress(held, group)["weight"].float().numpy()
    return values


def _as_read(x_hat: Float32Array, group: Any) -> Float32Array:
    """Return x̂ in the type in which a format is read: bfloat16 for those of four bits, else float32."""
    import torch

    if not str(getattr(group.format, "value", group.format)).endswith("fp4-pack-quantized"):
        return x_hat
    return torch.from_numpy(x_hat.copy()).bfloat16().float().numpy()


COMPRESSED_TENSORS = Exporter(
    key="compressed-tensors",
    title="compressed-tensors (vLLM, transformers)",
    ending="",
    find=find_compressed,
    make=make_compressed,
    compare=compare_compressed,
    extra=EXTRA,
)


def to_compressed_tensors(
    network: Network,
    plan: QuantizationPlan,
    path: str | pathlib.Path,
    overwrite: bool = False,
    as_float: bool = False,
) -> Export:
    """Write a folder that compressed-tensors, and transformers and vLLM with it, load; as `Exporter.write`.

    Raises:
        QuantError: as `Exporter.write`.
    """
    return COMPRESSED_TENSORS.write(network, plan, path, overwrite, as_float)
