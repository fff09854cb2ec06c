"""Draw the committed Fashion-MNIST subsets: 2,000 test images, 200 a class, and 512 calibration images of training.

    python tools/draw_subsets.py --data /usr/share/datasets/fashion-mnist

Images are drawn by a seed, not chosen. The calibration images are spread over the classes as evenly as 512 allows.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from fashion import read_split

TARGET = pathlib.Path(__file__).parents[1] / "quant_engine" / "network" / "builtin" / "fashion-mnist.npz"
SEED = 2026


def draw(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` positions in random order, as equal a number of each class as possible."""
    classes = np.unique(labels)
    each = np.full(len(classes), count // len(classes))
    each[: count % len(classes)] += 1
    picked = [rng.choice(np.flatnonzero(labels == c), n, replace=False) for c, n in zip(classes, each, strict=True)]
    return rng.permutation(np.concatenate(picked))


def main() -> None:
    """Read the full set, draw, and write one compressed file."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    folder = ask.parse_args().data
    rng = np.random.default_rng(SEED)
    arrays = {}
    for split, name, count in (("t10k", "test", 2000), ("train", "calibration", 512)):
        images, labels = read_split(folder, split)
        picked = draw(labels, count, rng)
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = images[picked], labels[picked]
    TARGET.parent.mkdir(exist_ok=True)
    np.savez_compressed(TARGET, **arrays)


if __name__ == "__main__":
    main()
