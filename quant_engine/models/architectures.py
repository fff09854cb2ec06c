"""The built-in architectures as data: a straight run of steps, each of which knows its torch modules.

The steps are readable without torch, so listing a network's layers costs no import of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_engine.inputs import Float32Array
from quant_engine.models.folding import BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

NORM_SUFFIX, RELU_SUFFIX = "_bn", "_relu"

Shape = tuple[int, ...]  # of one image's values, without the batch


@dataclass(frozen=True)
class Conv:
    """A convolution without bias, its BatchNorm and a ReLU; `groups == inputs` makes it depthwise.

    `shares` names a step before it whose parameters it uses.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 3
    groups: int = 1
    shares: str | None = None

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one image behind the step."""
        return self.outputs, *shape[1:]

    def nonnegative(self, before: bool) -> bool:
        """Return whether the step's outputs hold no negative value: a ReLU ends it."""
        return True

    def modules(self) -> list[tuple[str, nn.Module]]:
        """Return the step's named torch modules for training, in order."""
        from torch import nn

        return [
            (self.name, self.convolution(bias=False)),
            (self.name + NORM_SUFFIX, nn.BatchNorm2d(self.outputs)),
            (self.name + RELU_SUFFIX, nn.ReLU()),
        ]

    def evaluated(self) -> list[tuple[str, nn.Module]]:
        """Return the step's named torch modules with the BatchNorm folded into weight and bias."""
        from torch import nn

        return [(self.name, self.convolution(bias=True)), (self.name + RELU_SUFFIX, nn.ReLU(inplace=True))]

    def convolution(self, bias: bool) -> nn.Conv2d:
        """Return the convolution alone."""
        from torch import nn

        return nn.Conv2d(
            self.inputs, self.outputs, self.kernel, padding=self.kernel // 2, groups=self.groups, bias=bias
        )


@dataclass(frozen=True)
class Linear:
    """A fully connected layer with bias, followed by a ReLU unless it gives the logits; `shares` as in `Conv`."""

    name: str
    inputs: int
    outputs: int
    relu: bool = True
    shares: str | None = None

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one image behind the step."""
        return (self.outputs,)

    def nonnegative(self, before: bool) -> bool:
        """Return whether the step's outputs hold no negative value."""
        return self.relu

    def modules(self) -> list[tuple[str, nn.Module]]:
        """Return the step's named torch modules for training, in order."""
        from torch import nn

        steps: list[tuple[str, nn.Module]] = [(self.name, nn.Linear(self.inputs, self.outputs))]
        return [*steps, (self.name + RELU_SUFFIX, nn.ReLU(inplace=True))] if self.relu else steps

    def evaluated(self) -> list[tuple[str, nn.Module]]:
        """Return the step's named torch modules for evaluation."""
        return self.modules()


@dataclass(frozen=True)
class MaxPool:
    """Halve height and width."""

    name: str

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one image behind the step."""
        channels, height, width = shape
        return channels, height // 2, width // 2

    def nonnegative(self, before: bool) -> bool:
        """Return whether the step's outputs hold no negative value: they do if its inputs do."""
        return before

    def modules(self) -> list[tuple[str, nn.Module]]:
        """Return the step's named torch modules for training, in order."""
        from torch import nn

        return [(self.name, nn.MaxPool2d(2))]

    def evaluated(self) -> list[tuple[str, nn.Module]]:
        """Return the step's named torch modules for evaluation."""
        from quant_engine.models.modules import HalvingMaxPool

        return [(self.name, HalvingMaxPool())]


@dataclass(frozen=True)
class GlobalPool:
    """Average every channel over the picture."""

    name: str

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one image behind the step."""
        return shape[0], 1, 1

    def nonnegative(self, before: bool) -> bool:
        """Return whether the step's outputs hold no negative value: they do if its inputs do."""
        return before

    def modules(self) -> list[tuple[str, nn.Module]]:
        """Return the step's named torch modules for training, in order."""
        from torch import nn

        return [(self.name, nn.AdaptiveAvgPool2d(1))]

    def evaluated(self) -> list[tuple[str, nn.Module]]:
        """Return the step's named torch modules for evaluation."""
        from quant_engine.models.modules import PictureMean

        return [(self.name, PictureMean())]


@dataclass(frozen=True)
class Flatten:
    """Turn (channels, height, width) into one axis."""

    name: str

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one image behind the step."""
        return (math.prod(shape),)

    def nonnegative(self, before: bool) -> bool:
        """Return whether the step's outputs hold no negative value: they do if its inputs do."""
        return before

    def modules(self) -> list[tuple[str, nn.Module]]:
        """Return the step's named torch modules for training, in order."""
        from torch import nn

        return [(self.name, nn.Flatten())]

    def evaluated(self) -> list[tuple[str, nn.Module]]:
        """Return the step's named torch modules for evaluation."""
        return self.modules()


Weighted = Conv | Linear
Step = Weighted | MaxPool | GlobalPool | Flatten


@dataclass(frozen=True)
class Architecture:
    """A network that is a straight run of steps."""

    title: str
    steps: tuple[Step, ...]
    input_shape: Shape = (1, 28, 28)

    def layer_inputs(self) -> Iterator[tuple[Weighted, Shape, bool]]:
        """Yield every step that has a weight, the shape of its input, and whether that holds no negative value."""
        shape, nonnegative = self.input_shape, False
        for step in self.steps:
            if isinstance(step, Weighted):
                yield step, shape, nonnegative
            shape, nonnegative = step.output_shape(shape), step.nonnegative(nonnegative)

    def evaluated(self, parameters: Mapping[str, tuple[Float32Array, Float32Array | None]]) -> nn.Sequential:
        """Return torch modules with copies of folded weights and biases, every one a direct, named child."""
        from collections import OrderedDict

        import torch
        from torch import nn

        with torch.device("meta"):  # no time, and no random numbers, for weights that are replaced
            modules = OrderedDict(module for step in self.steps for module in step.evaluated())
        for name, arrays in parameters.items():
            for role, array in zip(("weight", "bias"), arrays, strict=True):
                assert array is not None  # every layer here has a bias
                setattr(modules[name], role, nn.Parameter(torch.from_numpy(array.copy()), requires_grad=False))
        return nn.Sequential(modules)

    def with_norms(
        self, norms: Mapping[str, BatchNorm], parameters: Mapping[str, tuple[Float32Array, Float32Array | None]]
    ) -> nn.Sequential:
        """Return the modules up to the last BatchNorm, with each BatchNorm by itself behind its convolution.

        Layers without one have their folded weights and biases.
        """
        from collections import OrderedDict

        import torch
        from torch import nn

        from quant_engine.models.modules import Normalize

        modules: OrderedDict[str, nn.Module] = OrderedDict()
        folded = dict(self.evaluated(parameters).named_children())
        last = max(i for i, step in enumerate(self.steps) if step.name in norms)
        for step in self.steps[: last + 1]:
            norm = norms.get(step.name)
            if norm is None or not isinstance(step, Conv):
                modules |= OrderedDict((name, folded[name]) for name, _ in step.evaluated())
                continue
            with torch.device("meta"):
                convolution = modules[step.name] = step.convolution(bias=False)
            convolution.weight = nn.Parameter(torch.from_numpy(norm.weight.copy()), requires_grad=False)
            parts = (norm.mean, norm.gamma / norm.deviation, norm.beta)
            modules[step.name + NORM_SUFFIX] = Normalize(*(torch.from_numpy(part.copy()) for part in parts))
            modules[step.name + RELU_SUFFIX] = nn.ReLU()
        return nn.Sequential(modules)

    def build(self) -> nn.Sequential:
        """Return freshly initialised torch modules, every one a direct, named child."""
        from collections import OrderedDict

        from torch import nn

        return nn.Sequential(OrderedDict(module for step in self.steps for module in step.modules()))


ARCHITECTURES = {
    "fashion-cnn": Architecture(
        "Fashion-MNIST CNN",
        (
            Conv("conv1", 1, 16),
            MaxPool("pool1"),
            Conv("conv2", 16, 32),
            MaxPool("pool2"),
            Conv("conv3", 32, 64),
            MaxPool("pool3"),
            Flatten("flatten"),
            Linear("fc1", 576, 96),
            Linear("fc2", 96, 10, relu=False),
        ),
    ),
    "fashion-depthwise": Architecture(
        "Fashion-MNIST depthwise CNN",
        (
            Conv("stem", 1, 24),
            MaxPool("pool1"),
            Conv("dw1", 24, 24, groups=24),
            Conv("pw1", 24, 48, kernel=1),
            Conv("dw2", 48, 48, groups=48),
            Conv("pw2", 48, 96, kernel=1),
            MaxPool("pool2"),
            Conv("dw3", 96, 96, groups=96),
            Conv("pw3", 96, 128, kernel=1),
            Conv("dw4", 128, 128, groups=128),
            Conv("pw4", 128, 160, kernel=1),
            GlobalPool("pool3"),
            Flatten("flatten"),
            Linear("fc", 160, 10, relu=False),
        ),
    ),
}
