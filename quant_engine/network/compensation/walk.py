"""A network run layer by layer, in floating point and as quantized so far, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.network.architectures import Conv, Weighted
from quant_engine.network.network import Network
from quant_engine.plan import LayerPlan
from quant_engine.quantizer import Quantizer

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 64  # images whose patches are in memory at once


@dataclass(frozen=True, eq=False)
class Visit:
    """A layer that a walk has come to, with what it receives: in floating point, and as the quantized layer sees it."""

    step: Weighted
    weight: Float32Array  # (out, in/groups · kernel)
    bias: Float32Array
    x: Tensor
    x_hat: Tensor

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.step.name

    @property
    def groups(self) -> int:
        """Number of groups of a convolution, 1 of other layers."""
        return self.step.groups if isinstance(self.step, Conv) else 1

    def means(self, x: Tensor) -> Float64Array:
        """Return the mean of every input over images and places, padding among them: (groups, in)."""
        total, count = np.zeros((self.groups, self.weight.shape[1])), 0
        for part in self.patches(x):
            total += part.double().sum(1).numpy()
            count += part.shape[1]
        return total / count

    def hessian(self, x: Tensor, other: Tensor | None = None) -> Float64Array:
        """Return XXᵀ, or XYᵀ with other inputs, over images and places, divided by their number: (groups, in, in)."""
        width, count = self.weight.shape[1], 0
        total = np.zeros((self.groups, width, width))
        for part, second in zip(self.patches(x), self.patches(x if other is None else other), strict=True):
            total += (part.double().transpose(1, 2) @ second.double()).numpy()
            count += part.shape[1]
        return total / count

    def outputs(self, x: Tensor) -> Tensor:
        """Return Wx + b, (patches, out), of patches (groups, patches, in)."""
        import torch

        weight = torch.from_numpy(self.weight.copy()).reshape(self.groups, -1, self.weight.shape[1])
        outputs = (x @ weight.transpose(1, 2)).transpose(0, 1).reshape(x.shape[1], -1)
        return outputs + torch.from_numpy(self.bias.copy())

    def patches(self, x: Tensor) -> Iterator[Tensor]:
        """Yield what the layer multiplies its weight with, (groups, images · places, in), some images at a time."""
        import torch

        for part in torch.split(x, BATCH):
            yield patches(self.step, part)


def patches(step: Weighted, x: Tensor) -> Tensor:
    """Return what a layer multiplies its weight with, (groups, images · places, in), of inputs (images, …)."""
    import torch

    with torch.no_grad():
        if not isinstance(step, Conv):
            return x[None]
        unfolded = torch.nn.functional.unfold(x, step.kernel, padding=step.kernel // 2)
        images, _, places = unfolded.shape
        grouped = unfolded.reshape(images, step.groups, -1, places)
        return grouped.permute(1, 0, 3, 2).reshape(step.groups, images * places, -1)


def samples(visit: Visit, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return about `count` patches (groups, patches, in), the same ones in floating point and as quantized so far.

    As many from every image, at places drawn at random; of a layer without places, all images.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for parts in zip(visit.patches(visit.x), visit.patches(visit.x_hat), strict=True):
        share = -(-count * BATCH // len(visit.x))
        chosen = torch.randperm(parts[0].shape[1], generator=generator)[:share]
        for kept, part in zip(found, parts, strict=True):
            kept.append(part[:, chosen])
    return torch.cat(found[0], 1), torch.cat(found[1], 1)


def walk(network: Network, plans: Mapping[str, LayerPlan]) -> Iterator[Visit]:
    """Come to one layer after the other, on the calibration images.

    `plans` holds a fitted quantizer for every layer's input (or None). When the walk goes on, the layer runs as its
    plan then says: so whoever walks puts there what it has found.
    """
    import torch

    x = torch.from_numpy(network.data("calibration")[0])
    x_hat = x.clone()
    for step in network.architecture.steps:
        if not isinstance(step, Weighted):
            x, x_hat = _run(step.run, x), _run(step.run, x_hat)
            continue
        name = step.name
        quantizer = plans[name].activation
        if isinstance(quantizer, Quantizer):
            x_hat = torch.from_numpy(quantizer.fake_quantize(x_hat.numpy()))
        weight, bias = network.weight(name), network.bias(name)
        yield Visit(step, weight.reshape(len(weight), -1), bias, x, x_hat)
        plan = plans[name]
        planned = network.planned_weight(name, plan)
        x = _run(_layer(step, weight, bias), x)
        x_hat = _run(
            _layer(step, weight if planned is None else planned, bias if plan.bias is None else plan.bias), x_hat
        )


def _layer(step: Weighted, weight: Float32Array, bias: Float32Array) -> Callable[[Tensor], Tensor]:
    import torch

    w, b = torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())
    return lambda x: step.run(x, w, b)


def _run(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run a step on some images at a time, which is quicker."""
    import torch

    with torch.no_grad():
        return torch.cat([run(part) for part in torch.split(x, BATCH)])
