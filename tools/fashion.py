"""Read Fashion-MNIST from its idx files."""

from __future__ import annotations

import gzip
import pathlib

import numpy as np

NORMALISATION = (0.2860, 0.3530)  # mean and standard deviation of the training pixels, of 0..1


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Read one gzipped idx file of bytes: magic, one big-endian size an axis, then the values."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def read_split(folder: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (n, 28, 28) and labels (n,) of "train" or "t10k", as bytes."""
    return read_idx(folder / f"{split}-images-idx3-ubyte.gz"), read_idx(folder / f"{split}-labels-idx1-ubyte.gz")
