"""A network run layer by layer, in floating point and as quantized so far, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quant_engine.execution import Override
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.models import Span
from quant_engine.network.architectures import Conv, Weighted
from quant_engine.network.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
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


def layer_hessian(network: Network, layer: str) -> Float64Array:
    """Return H = XXᵀ/n of what a layer receives from the calibration images in floating point: (groups, in, in).

    n counts images and the places of a convolution; `layer_error` with this H is a mean over them.
    """
    network.weight(layer)  # whoever asks for a layer that is not there is told so
    untouched = dict.fromkeys(network.layers(), LayerPlan())
    return next(visit.hessian(visit.x) for visit in walk(network, untouched) if visit.name == layer)


def walk(network: Network, plans: Mapping[str, LayerPlan]) -> Iterator[Visit]:
    """Come to one layer after the other, on the calibration images.

    `plans` holds a fitted quantizer for every layer's input (or None). When the walk goes on, the layer runs as its
    plan then says: so whoever walks puts there what it has found.
    """
    import torch

    steps = {step.name: step for step in network.architecture.steps if isinstance(step, Weighted)}
    plain, quantized = _State(network), _State(network)
    for span in network.executor.trace.spans:
        x = plain.advance(span, {})
        chosen: dict[str, LayerPlan] = {}
        for name in span.layers:
            x_hat = quantized.receive(span, name, network.overrides(QuantizationPlan(chosen)))
            weight, quantizer = network.weight(name), plans[name].activation
            if isinstance(quantizer, Quantizer):
                x_hat = torch.from_numpy(quantizer.fake_quantize(x_hat.numpy()))
            yield Visit(steps[name], weight.reshape(len(weight), -1), network.bias_or_zeros(name), x[name], x_hat)
            chosen[name] = plans[name]
        quantized.advance(span, network.overrides(QuantizationPlan(chosen)))


class _State:
    """How far a walk has come: what the next span receives, some images at a time, which is quicker."""

    def __init__(self, network: Network) -> None:
        import torch

        self._executor = network.executor
        self._images = torch.split(torch.from_numpy(network.data("calibration")[0]), BATCH)
        self._received: list[Tensor] | None = None  # None before the first span

    def receive(self, span: Span, layer: str, overrides: Mapping[str, Override]) -> Tensor:
        """Return what a layer of a span receives."""
        import torch

        with torch.no_grad():
            parts = [self._executor.capture(part, [layer], overrides, start)[layer] for part, start in self._each(span)]
        return torch.cat(parts)

    def advance(self, span: Span, overrides: Mapping[str, Override]) -> dict[str, Tensor]:
        """Run a span, and return what its layers receive."""
        import torch

        found: dict[str, list[Tensor]] = {layer: [] for layer in span.layers}
        taps = {layer: parts.append for layer, parts in found.items()}
        with torch.no_grad():
            self._received = [
                self._executor.run(part, overrides, taps=taps, start=start, stop=span.stop)
                for part, start in self._each(span)
            ]
        return {layer: torch.cat(parts) for layer, parts in found.items()}

    def _each(self, span: Span) -> Iterator[tuple[Tensor, tuple[int, Tensor] | None]]:
        for i, part in enumerate(self._images):
            yield part, None if span.start is None or self._received is None else (span.start, self._received[i])
