"""Draw the committed Fashion-MNIST subsets: 2,000 test images and, for three uses, 8,512 training images.

    python tools/draw_subsets.py --data /usr/share/datasets/fashion-mnist

Images are drawn by a seed, not chosen: 200 a class for test and for search, 600 a class for training. The 512
calibration images are spread over the classes as evenly as that allows. No image is drawn twice.
"""

from __future__ import annotations

import argparse
import io
import pathlib

import numpy as np
from fashion import read_split

from quant_engine.files import write_file

BUILTIN = pathlib.Path(__file__).parents[1] / "quant_engine" / "network" / "builtin"
SEED = 2026
DRAWN = (("t10k", "test", 2000), ("train", "calibration", 512), ("train", "training", 6000), ("train", "search", 2000))


def draw(labels: np.ndarray, left: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` of the positions that are left, in random order, as equal a number of each class as possible."""
    classes = np.unique(labels)
    each = np.full(len(classes), count // len(classes))
    each[: count % len(classes)] += 1
    picked = [
        rng.choice(np.flatnonzero(left & (labels == c)), n, replace=False) for c, n in zip(classes, each, strict=True)
    ]
    return rng.permutation(np.concatenate(picked))


def main() -> None:
    """Read the full set, draw, and write three compressed files: to look at, to train on, to search with."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    folder = ask.parse_args().data
    rng = np.random.default_rng(SEED)
    drawn, left = {}, {}
    for split, name, count in DRAWN:
        images, labels = read_split(folder, split)
        still = left.setdefault(split, np.ones(len(labels), bool))
        picked = draw(labels, still, count, rng)
        still[picked] = False
        drawn[name] = {f"{name}_images": images[picked], f"{name}_labels": labels[picked]}
    BUILTIN.mkdir(exist_ok=True)
    write("fashion-mnist.npz", {**drawn["test"], **drawn["calibration"]})
    write("fashion-mnist-training.npz", drawn["training"])
    write("fashion-mnist-search.npz", drawn["search"])


def write(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to a compressed file, in the place of one with arrays of the same names."""
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    write_file(BUILTIN / name, packed.getvalue(), lambda old: set(np.load(old).files) == set(arrays))


if __name__ == "__main__":
    main()
