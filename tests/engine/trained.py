"""The trained torch modules that the built-in networks are checked against."""

import copy
import pathlib

import torch
from safetensors.numpy import load_file

import quant_engine
from quant_engine.models import ARCHITECTURES

BUILTIN = pathlib.Path(quant_engine.__file__).parent / "network" / "builtin"


def trained_module(name):
    """Return the trained torch modules, in evaluation mode, with BatchNorm still in them."""
    built = ARCHITECTURES[name].build()
    stored = {key: torch.from_numpy(a) for key, a in load_file(BUILTIN / f"{name}.safetensors").items()}
    missing = built.load_state_dict(stored, strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    return built.eval()


def folded(module):
    """Return a copy with every BatchNorm fused by torch: {layer: module with weight and bias}, and the whole."""
    steps = []
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            steps[-1] = steps[-1][0], torch.nn.utils.fusion.fuse_conv_bn_eval(steps[-1][1], child)
        else:
            steps.append((name, copy.deepcopy(child)))
    layers = {name: child for name, child in steps if hasattr(child, "weight")}
    return layers, torch.nn.Sequential(*(child for _, child in steps))


def run(module, images):
    """Return the module's outputs."""
    with torch.inference_mode():
        return torch.cat([module(part) for part in torch.split(torch.from_numpy(images), 500)]).numpy()
