"""What bitsandbytes and faiss offer for codes of a table and of vectors, written as their users would."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.comparison import Run

Array = NDArray[np.float32]
NO_BITSANDBYTES = "not installed: pip install bitsandbytes"
NO_FAISS = "not installed: pip install faiss-cpu"


def nf4(x: Array, block: int) -> Callable[[], NDArray[np.uint8]] | None:
    """Return bitsandbytes' NF4 codes, two a byte, of blocks along rows; None without bitsandbytes."""
    if find_spec("bitsandbytes") is None:
        return None
    from bitsandbytes.functional import quantize_4bit

    source = torch.from_numpy(x)
    return lambda: quantize_4bit(source, blocksize=block, quant_type="nf4")[0].numpy()


def unpacked(codes: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return one code a value of what holds two a byte, the first one above."""
    return np.stack([codes.reshape(-1) >> 4, codes.reshape(-1) & 15], axis=1).reshape(shape)


def product_quantizer(dim: int, parts: int, bits: int) -> Any | None:
    """Return faiss' quantizer of vectors, untrained; None without faiss."""
    if find_spec("faiss") is None:
        return None
    import faiss

    found = faiss.ProductQuantizer(dim, parts, bits)
    found.cp.min_points_per_centroid = 1  # it would warn of fewer than 39
    return found


def training(points: Array, parts: int, bits: int) -> Run | None:
    """Return faiss' training of a product quantizer on points; None without faiss."""
    if product_quantizer(points.shape[1], parts, bits) is None:
        return None

    def run() -> Any:
        found = product_quantizer(points.shape[1], parts, bits)
        assert found is not None
        found.train(points)
        return found

    return run


def squared_error(quantizer: Any, points: Array) -> float:
    """Return the squared error of a trained product quantizer."""
    error = quantizer.decode(quantizer.compute_codes(points)) - points
    return float(np.square(error, dtype=np.float64).sum())
