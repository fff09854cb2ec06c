"""The diagonal of the empirical Fisher information: how sensitive the loss is to a change of each weight."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from weakref import WeakKeyDictionary

from quant_engine.execution import Override
from quant_engine.inputs import Float32Array
from quant_engine.models import ties
from quant_engine.network import Network

_FOUND: WeakKeyDictionary[Network, Mapping[str, Float32Array]] = WeakKeyDictionary()


def fisher(network: Network) -> Mapping[str, Float32Array]:
    """Return the diagonal of each weight's empirical Fisher information, on the calibration data, read-only.

    F = 1/n Σ_n (∂ loss_n/∂ w)², of the weight's shape, found once for a network. loss_n is the cross entropy of sample
    n with its label, so that this is the empirical Fisher information, which stands in for the second derivative of the
    loss near a minimum (Martens 2020, section 11). A weight that layers share is one weight, with one gradient.
    """
    if network not in _FOUND:
        _FOUND[network] = MappingProxyType(_diagonal(network))
    return _FOUND[network]


def _diagonal(network: Network) -> dict[str, Float32Array]:
    import torch
    from torch.nn import functional

    images, labels = network.data("calibration")
    layers = network.layers()
    weights = {name: torch.from_numpy(network.weight(name).copy()).requires_grad_() for name in ties(layers)}
    totals = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    overrides = {name: Override(weights[info.tied_to or name]) for name, info in layers.items()}
    for image, label in zip(torch.from_numpy(images), torch.from_numpy(labels), strict=True):
        loss = functional.cross_entropy(network.executor.run(image[None], overrides), label[None])
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for total, gradient in zip(totals.values(), gradients, strict=True):
            total += gradient.double().square()
    found = {name: (total / len(images)).float().numpy() for name, total in totals.items()}
    for array in found.values():
        array.flags.writeable = False
    return {name: found[info.tied_to or name] for name, info in layers.items()}
