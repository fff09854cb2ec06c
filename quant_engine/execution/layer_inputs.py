"""What a layer receives, as the matrix that its weight is multiplied with: nobody else minds orientations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.models import Layer

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, eq=False)
class LayerInputs:
    """What a linear layer or a convolution receives, in batches.

    The matrix X has a column for each sample and place of the output (a token, a pixel), and a row for each weight of
    an output: W (out, in) gives WX. In a convolution of several groups each has an X of its own.
    """

    layer: Layer
    batches: Sequence[Tensor]

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(len(batch) for batch in self.batches)

    def rows(self) -> Iterator[Tensor]:
        """Yield Xᵀ, (groups, samples · places, in), a batch at a time."""
        for batch in self.batches:
            yield _rows(self.layer, batch)

    def means(self) -> Float64Array:
        """Return the mean of every input over samples and places, padding among them: (groups, in)."""
        total, count = np.zeros((self.layer.groups, self.layer.matrix_shape[1])), 0
        for part in self.rows():
            total += part.double().sum(1).numpy()
            count += part.shape[1]
        return total / count

    def hessian(self, other: LayerInputs | None = None) -> Float64Array:
        """Return XXᵀ, or XYᵀ with other inputs, over samples and places, divided by their number: (groups, in, in)."""
        width, count = self.layer.matrix_shape[1], 0
        total = np.zeros((self.layer.groups, width, width))
        for part, second in zip(self.rows(), (other or self).rows(), strict=True):
            total += (part.double().transpose(1, 2) @ second.double()).numpy()
            count += part.shape[1]
        return total / count

    def by_channel(self, channels: int) -> Float32Array:
        """Return the inputs as (samples, channels, values of a channel); tokens are samples here."""
        parts = [
            batch.reshape(-1, channels, batch.shape[-1] // channels)
            if self.layer.op == "linear"
            else batch.reshape(len(batch), channels, -1)
            for batch in self.batches
        ]
        return np.concatenate([part.numpy() for part in parts])

    def magnitude(self, channels: int) -> Float32Array:
        """Return mean |x| of each channel, (channels,)."""
        found: Float32Array = np.abs(self.by_channel(channels)).mean(axis=(0, 2))
        return found

    def largest(self, channels: int) -> Float32Array:
        """Return max |x| of each channel, (channels,)."""
        found: Float32Array = np.abs(self.by_channel(channels)).max(axis=(0, 2))
        return found


def draw_rows(pair: tuple[LayerInputs, LayerInputs], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return about `count` rows of Xᵀ, (groups, rows, in), the same ones of two inputs of one layer.

    As many from every sample, at places drawn at random; of a layer without places, all samples.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    largest, samples = max(map(len, pair[0].batches)), pair[0].samples
    for parts in zip(pair[0].rows(), pair[1].rows(), strict=True):
        share = -(-count * largest // samples)
        chosen = torch.randperm(parts[0].shape[1], generator=generator)[:share]
        for kept, part in zip(found, parts, strict=True):
            kept.append(part[:, chosen])
    return torch.cat(found[0], 1), torch.cat(found[1], 1)


def draw_places(layer: Layer, x: Tensor, count: int, generator: Generator) -> Tensor:
    """Return Xᵀ of a batch, (groups, rows, in), at no more than `count` places of each sample, drawn at random.

    A convolution draws the same places in all samples of the batch, and only the windows there are taken out of them.
    """
    import torch

    if layer.op == "linear":
        rows = x.reshape(1, -1, x.shape[-1])
        return rows[:, torch.randperm(rows.shape[1], generator=generator)[: count * len(x)]]
    wide, (height, width), (down, right), (spread_y, spread_x) = _windows(layer, x)
    ys = torch.arange(0, wide.shape[2] - spread_y * (height - 1), down)
    xs = torch.arange(0, wide.shape[3] - spread_x * (width - 1), right)
    drawn = torch.randperm(len(ys) * len(xs), generator=generator)[:count]
    row = ys[drawn // len(xs)][:, None] + spread_y * torch.arange(height)
    column = xs[drawn % len(xs)][:, None] + spread_x * torch.arange(width)
    windows = wide[:, :, row[:, :, None], column[:, None, :]]
    grouped = windows.reshape(len(x), layer.groups, -1, len(drawn), height * width)
    return grouped.permute(1, 0, 3, 2, 4).reshape(layer.groups, len(x) * len(drawn), -1)


def _windows(layer: Layer, x: Tensor) -> tuple[Tensor, tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return what a convolution receives with its padding, kernel, stride and dilation, all of two axes."""
    from torch.nn import functional

    wide = functional.pad(x, [end for axis in reversed(layer.padding) for end in axis])
    sizes = layer.shape[2:], layer.stride, layer.dilation
    if layer.op == "conv1d":
        wide, sizes = wide[:, :, None], ((1, *sizes[0]), (1, *sizes[1]), (1, *sizes[2]))
    kernel, stride, dilation = ((first, second) for first, second in sizes)
    return wide, kernel, stride, dilation


def _rows(layer: Layer, x: Tensor) -> Tensor:
    import torch
    from torch.nn import functional

    with torch.no_grad():
        if layer.op == "linear":
            return x.reshape(1, -1, x.shape[-1])
        wide, kernel, stride, dilation = _windows(layer, x)
        unfolded = functional.unfold(wide, kernel, dilation, 0, stride)
        samples, _, places = unfolded.shape
        grouped = unfolded.reshape(samples, layer.groups, -1, places)
        return grouped.permute(1, 0, 3, 2).reshape(layer.groups, samples * places, -1)
