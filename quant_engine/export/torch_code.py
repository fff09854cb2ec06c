"""Python that rebuilds a plan in plain PyTorch, with its codes and scales in safetensors beside it.

`apply(module)` gives every layer its weight, scale · (code − zero_point), and has `torch.fake_quantize_*` quantize what
it receives. PyTorch multiplies by 1/scale where this engine divides: an input at a tie may get the code beside.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.export.base import Comparison, Contents, Exporter, Finding, Part, Verification, planned_specs
from quant_engine.export.matrices import float_weight, quantized_matrix
from quant_engine.export.running import outputs_by_name
from quant_engine.files import pack
from quant_engine.formats import IntFormat
from quant_engine.inputs import Inputs
from quant_engine.models import TorchModel
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import Quantizer, QuantizerSpec

ARRAYS_ENDING = ".safetensors"
CODE = '''\
"""Weights and inputs of a quantized model, rebuilt in PyTorch: apply(module) changes the module it is given."""

from pathlib import Path

import torch
from safetensors.torch import load_file

BLOCKS = {blocks!r}  # layer: rows and columns that share a scale
INPUTS = {inputs!r}  # layer: least code, greatest code, axis of the channels or None


def apply(module, arrays=Path(__file__).with_suffix({ending!r})):
    """Give each layer its quantized weight and bias, and quantize what it receives."""
    held = load_file(arrays)
    with torch.no_grad():
        for name, part in module.named_modules():
            if f"{{name}}.codes" in held:
                codes = held[f"{{name}}.codes"]
                scale, zero_point = (spread(held[f"{{name}}.{{end}}"], name, codes) for end in ("scale", "zero_point"))
                x_hat = (codes.float() - zero_point.float()) * scale
                part.weight = torch.nn.Parameter(x_hat.reshape(part.weight.shape), requires_grad=False)
            elif f"{{name}}.weight" in held:
                weight = held[f"{{name}}.weight"].reshape(part.weight.shape)
                part.weight = torch.nn.Parameter(weight, requires_grad=False)
            if f"{{name}}.bias" in held:
                part.bias = torch.nn.Parameter(held[f"{{name}}.bias"], requires_grad=False)
            if name in INPUTS:
                part.register_forward_pre_hook(quantizer(held, name, *INPUTS[name]))
    return module


def spread(part, name, codes):
    """Return one number a block so that it meets the block's codes."""
    for axis, (size, step) in enumerate(zip(codes.shape, BLOCKS[name])):
        if 1 < step < size:
            part = part.repeat_interleave(step, axis).narrow(axis, 0, size)
    return part


def quantizer(held, name, low, high, axis):
    """Return a hook that quantizes the first input of a layer."""
    scale, zero_point = held[f"{{name}}.input_scale"], held[f"{{name}}.input_zero_point"]

    def hook(_, inputs):
        x, *others = inputs
        if axis is None:
            x = torch.fake_quantize_per_tensor_affine(x, float(scale), int(zero_point), low, high)
        else:
            x = torch.fake_quantize_per_channel_affine(x, scale, zero_point, axis, low, high)
        return (x, *others)

    return hook
'''


def find_torch(network: Network, plan: QuantizationPlan) -> Iterator[Finding]:
    """Yield what plain PyTorch does not do: inputs other than static integers, one scale a tensor or a channel."""
    for part, spec, layer in planned_specs(plan):
        info = network.layers()[part.layer]
        if layer.input_scale is not None:
            yield Finding("refused", "its input is divided by a scale for each channel", part.layer, part.role)
        if part.role == "activation" and not _is_static(network, part.layer, layer):
            nearest = QuantizerSpec(IntFormat(min(spec.format.bits, 16)), symmetric=spec.symmetric)
            text = f"torch.fake_quantize has no {'dynamic ' * layer.dynamic}{spec.format} with {spec.granularity}"
            yield Finding("refused", text, part.layer, part.role, nearest)
        if info.tied_to is not None and part.role == "weight":
            yield Finding("warning", f"it shares the weight of {info.tied_to!r}, and gets one of its own", part.layer)


def _is_static(network: Network, name: str, plan: LayerPlan) -> bool:
    planned, info = plan.activation, network.layers()[name]
    if planned is None or plan.dynamic or plan.input_scale is not None:
        return False
    spec = planned if isinstance(planned, QuantizerSpec) else planned.spec
    if not isinstance(spec.format, IntFormat):
        return False
    if info.shapes is None:
        return True
    shape = (1, *info.input_shape)
    return spec.granularity.blocks(shape).count in (1, shape[info.channel_axis])


def make_torch(network: Network, plan: QuantizationPlan, path: pathlib.Path) -> Contents:
    """Return the code, and the arrays beside it."""
    arrays: dict[str, NDArray[Any]] = {}
    inputs: dict[str, tuple[int, int, int | None]] = {}
    blocks: dict[str, tuple[int, ...]] = {}
    written = set()
    for name, layer in plan.layers.items():
        if layer.weight is not None:
            spec = layer.weight if isinstance(layer.weight, QuantizerSpec) else layer.weight.spec
            blocks[name] = spec.granularity.blocks(network.layers()[name].matrix_shape).block
            arrays |= {f"{name}.{end}": array for end, array in _weight_arrays(network, name, layer).items()}
            written |= {Part(name, "weight")} if layer.input_scale is None else set()
        if layer.bias is not None:
            arrays[f"{name}.bias"] = layer.bias
        if _is_static(network, name, layer) and isinstance(layer.activation, Quantizer):
            scale, form = layer.activation.scale, layer.activation.spec.format
            arrays[f"{name}.input_scale"] = scale.reshape(-1)
            arrays[f"{name}.input_zero_point"] = layer.activation.zero_point.reshape(-1)
            axis = None if scale.size == 1 else network.layers()[name].channel_axis
            inputs[name] = form.qmin, form.qmax, axis
            written.add(Part(name, "activation"))
    beside = path.with_suffix(ARRAYS_ENDING)
    code = CODE.format(inputs=inputs, blocks=blocks, ending=ARRAYS_ENDING)
    content = {name: np.array(array, order="C") for name, array in arrays.items()}
    return Contents({path: code.encode(), beside: pack(content, {"format": "pt"})}, frozenset(written))


def _weight_arrays(network: Network, name: str, plan: LayerPlan) -> dict[str, NDArray[Any]]:
    """Return codes, scales and zero points of integers; of all other formats the values."""
    assert plan.weight is not None and not isinstance(plan.weight, QuantizerSpec)  # noqa: PT018
    if plan.input_scale is not None or not isinstance(plan.weight.spec.format, IntFormat):
        values = float_weight(network, name, plan)
        assert values is not None
        return {"weight": values}
    quantized = quantized_matrix(network, name, plan)
    return {
        "codes": quantized.codes.astype(np.int16 if quantized.spec.format.bits > 7 else np.int8),
        "scale": quantized.scale,
        "zero_point": quantized.zero_point,
    }


def compare_torch(network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None) -> Verification:
    """Return what the module gives once the code has run on it, beside the plan.

    Raises:
        QuantError: for code other than `make_torch` writes, which is not run.
    """
    import runpy

    import torch

    if path.read_bytes() != make_torch(network, plan, path).files[path]:
        raise QuantError(f"{path} is not the code of this plan and is not run; write it again")
    try:
        module = TorchModel(network.model.module).with_parameters({}).module
    except QuantError as error:
        return Verification(f"PyTorch {torch.__version__}", (Comparison("not run"),), (Finding("warning", str(error)),))
    changed = runpy.run_path(str(path))["apply"](module)
    exact = all(
        weight is None or np.array_equal(changed.get_submodule(name).weight.detach().numpy(), weight)
        for name, layer in plan.layers.items()
        for weight in (float_weight(network, name, layer),)
    )
    if data is None:
        return Verification(f"PyTorch {torch.__version__}", (Comparison("weights", exact=exact),))
    theirs, ours = (
        outputs_by_name(one) for one in (Network(TorchModel(changed), network.task).run(data), network.run(data, plan))
    )
    worst = max(float(np.abs(theirs[name] - ours[name]).max()) for name in ours)
    same = float(np.mean([theirs[name].argmax(-1) == ours[name].argmax(-1) for name in list(ours)[:1]]))
    return Verification(f"PyTorch {torch.__version__}", (Comparison("run", worst, same, exact),))


TORCH = Exporter("torch", "PyTorch code", ".py", find_torch, make_torch, compare_torch)
