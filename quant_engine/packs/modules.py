"""EfficientNet-lite0 (Tan and Le 2019, without squeeze-and-excite, with ReLU6), its BatchNorms folded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from quant_engine.inputs import Float32Array
from quant_engine.models.folding import BatchNorm, fold_batch_norm

EPSILON = 1e-3
STEM, HEAD, CLASSES = 32, 1280, 1000
STAGES = (  # expansion, kernel, stride of the first block, channels, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
NORMS = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}  # behind which convolution


class Conv(nn.Sequential):
    """A convolution, padded as TensorFlow's SAME, and ReLU6 unless it is `linear`.

    At stride 2 on an even picture the one odd zero comes after: a padding of its own.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        """Make the parts in the order in which they run."""
        super().__init__()
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        uneven = before != after
        if uneven:
            self.add_module("pad", nn.ZeroPad2d((before, after, before, after)))
        self.add_module("conv", nn.Conv2d(inputs, outputs, kernel, stride, 0 if uneven else before, groups=groups))
        if not linear:
            self.add_module("act", nn.ReLU6())


class Block(nn.Module):
    """An inverted residual: expand, filter each channel, project; added to its input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        """Make the three convolutions; without an expansion, two."""
        super().__init__()
        wide = inputs * expansion
        self.expand = Conv(inputs, wide) if expansion > 1 else nn.Identity()
        self.depthwise = Conv(wide, wide, kernel, stride, groups=wide)
        self.project = Conv(wide, outputs, linear=True)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, height/stride, width/stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Sequential):
    """Photographs (n, 3, 224, 224) to the logits (n, 1000) of ImageNet's classes."""

    def __init__(self) -> None:
        """Make all blocks."""
        super().__init__()
        self.add_module("stem", Conv(3, STEM, 3, 2))
        channels, blocks = STEM, []
        for expansion, kernel, stride, outputs, count in STAGES:
            for place in range(count):
                blocks.append(Block(channels, outputs, expansion, kernel, stride if place == 0 else 1))
                channels = outputs
        self.add_module("blocks", nn.Sequential(*blocks))
        self.add_module("head", Conv(channels, HEAD))
        self.add_module("pool", nn.AdaptiveAvgPool2d(1))
        self.add_module("flatten", nn.Flatten())
        self.add_module("fc", nn.Linear(HEAD, CLASSES))


def folded(stored: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    """Return the state of `EfficientNetLite0`, of the weights as they are stored with their BatchNorms."""
    found = {"fc.weight": stored["_fc.weight"], "fc.bias": stored["_fc.bias"]}
    pairs = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for name in stored:
        block, _, part = name.removesuffix(".weight").rpartition(".")
        if part in NORMS:
            ours = f"{block.removeprefix('_')}.{part.removeprefix('_').removesuffix('_conv')}"
            pairs[ours] = (f"{block}.{part}", f"{block}.{NORMS[part]}")
    for ours, (conv, norm) in pairs.items():
        parts = (stored[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        weight, bias = fold_batch_norm(BatchNorm(stored[f"{conv}.weight"], *parts, epsilon=EPSILON))
        found |= {f"{ours}.conv.weight": weight, f"{ours}.conv.bias": bias}
    return {name: np.ascontiguousarray(array) for name, array in found.items()}  # safetensors writes memory as it lies
