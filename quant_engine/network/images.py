"""The committed images of Fashion-MNIST, normalised as the built-in networks take them."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from quant_engine.inputs import Float32Array
from quant_engine.models.builtin_model import DEVIATION, MEAN
from quant_engine.network.files import BUILTIN
from quant_engine.tasks import Classification

SPLITS = {  # where each is kept, so that images are read by those who need them alone
    "test": "fashion-mnist.npz",
    "calibration": "fashion-mnist.npz",
    "search": "fashion-mnist-search.npz",
    "training": "fashion-mnist-training.npz",
}


def read_images(split: str) -> tuple[Float32Array, NDArray[np.int64]]:
    """Return the normalised images (n, 1, 28, 28) of a split and their labels (n,)."""
    arrays = _stored(SPLITS[split])
    images = (arrays[f"{split}_images"][:, None].astype(np.float32) / 255 - MEAN) / DEVIATION
    return images.astype(np.float32), arrays[f"{split}_labels"].astype(np.int64)


# 2,000 images for test and, of the training images, 512 for calibration, 2,000 for search and 6,000 for training
FASHION_MNIST = Classification({split: partial(read_images, split) for split in SPLITS}, unit="image")


@cache
def _stored(file: str) -> dict[str, NDArray[np.uint8]]:
    with (BUILTIN / file).open("rb") as content, np.load(content, allow_pickle=False) as arrays:
        return dict(arrays)
