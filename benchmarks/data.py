"""What the benchmarks run on: sizes, and a tensor of weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sizes:
    """How large the operations are; the targets hold for the defaults."""

    rows: int = 4096
    columns: int = 4096
    clips: int = 200
    repeats: int = 15
    budget: float = 10.0  # seconds a case, beyond its first rounds
    memory_values: int = 100_000_000
    file_tensors: int = 32  # of rows × columns, in the file whose statistics are taken
    codebook_values: int = 1_000_000
    images: int = 2_000
    layers: int = 4  # of a network whose layers are measured one by one
    packs: bool = True  # where they are installed
    compile_peers: bool = True
    growth: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)  # values


QUICK = Sizes(
    rows=1024,
    columns=1024,
    clips=50,
    repeats=7,
    budget=0.0,
    memory_values=4_000_000,
    file_tensors=3,
    codebook_values=20_000,
    images=200,
    layers=2,
    packs=False,
    compile_peers=False,
    growth=(10_000, 100_000, 1_000_000),
)


def weights(rows: int, columns: int, seed: int = 0) -> NDArray[np.float32]:
    """Return synthetic weights: Gaussian of σ = 0.02, off zero by 0.0007, one in a thousand from a heavy tail."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(rows * columns, dtype=np.float32)
    tail = rng.integers(0, values.size, max(1, values.size // 1000))
    values[tail] = 3.0 * rng.standard_t(3, tail.size).astype(np.float32)
    return (values * np.float32(0.02) + np.float32(0.0007)).reshape(rows, columns)
