"""A layer that has a weight to quantize."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from quant_engine.errors import QuantError

Shape = tuple[int, ...]
Range = tuple[float, float]
Op = Literal["linear", "conv1d", "conv2d", "embedding", "tensor"]


@dataclass(frozen=True)
class Layer:
    """A layer that has a weight to quantize.

    Attributes:
        name: what plans call it.
        op: what it does with the weight; a tensor of a file without a graph is no more than that.
        shape: the weight's: linear (out, in), convolutions (out, in/groups, …), embedding (rows, dim).
        tensor: key of the weight in the stored file.
        has_bias: whether it adds one.
        shapes: those of what it receives and gives for one sample, without the batch; None where the model was given no
            example to run.
        groups: of a convolution.
        stride: of a convolution, a number an axis; empty for other layers.
        padding: zeros (before, after) each axis of what a convolution receives.
        dilation: of a convolution, a number an axis.
        tied_to: the layer whose weight this is, where layers share one, which is stored once.
        input_range: between which values all it receives lies: (0, ∞) behind a ReLU, also through pooling and
            flattening; (−∞, ∞) where nothing is known.
    """

    name: str
    op: Op
    shape: Shape
    tensor: str
    has_bias: bool
    shapes: tuple[Shape, Shape] | None = None
    groups: int = 1
    stride: Shape = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: Shape = ()
    tied_to: str | None = None
    input_range: Range = (-math.inf, math.inf)

    @property
    def input_shape(self) -> Shape:
        """Shape of what the layer receives for one sample.

        Raises:
            QuantError: if it is not known.
        """
        return self._known()[0]

    @property
    def output_shape(self) -> Shape:
        """Shape of what the layer gives for one sample.

        Raises:
            QuantError: if it is not known.
        """
        return self._known()[1]

    def _known(self) -> tuple[Shape, Shape]:
        if self.shapes is None:
            raise QuantError(
                f"the shapes of layer {self.name!r} are not known; give from_module an example of its inputs, or load "
                "a task"
            )
        return self.shapes

    @property
    def parameters(self) -> int:
        """Number of weights, without the bias."""
        return math.prod(self.shape)

    @property
    def multiplications(self) -> int:
        """Number of multiplications for one sample: each weight once for every place of the output, padding included.

        The places are those of the last axes of a convolution's output and, of a linear layer's, all but the last: the
        tokens of a text. An embedding looks up and multiplies nothing.

        Raises:
            QuantError: if the shape of the output is not known.
        """
        if self.op == "embedding":
            return 0
        places = self.output_shape[:-1] if self.op == "linear" else self.output_shape[1:]
        return self.parameters * math.prod(places)

    @property
    def input_channels(self) -> int:
        """Number of channels that the layer reads."""
        return self.shape[1] * self.groups

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in what the layer receives: the last one, or that behind a convolution's samples."""
        return -1 if self.op == "linear" else 1

    @property
    def depthwise(self) -> bool:
        """Whether each of several groups of a convolution has a single input channel."""
        return self.groups > 1 and self.shape[1] == 1

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Shape of the view in which the weight is quantized: (out, everything else); of one axis and none, a row."""
        if len(self.shape) < 2:
            return 1, self.parameters
        return self.shape[0], math.prod(self.shape[1:])


def ties(layers: Mapping[str, Layer]) -> dict[str, tuple[str, ...]]:
    """Return every layer whose weight is its own, with all layers that use that weight, itself the first."""
    found: dict[str, tuple[str, ...]] = {}
    for name, layer in layers.items():
        own = layer.tied_to or name
        found[own] = (*found.get(own, ()), name)
    return found
