"""The inspector's table of a large file, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison import Row, figures
from benchmarks.data import Sizes, weights
from benchmarks.memory import peak_bytes
from explorer.sources import MODELS, ModelKey, Source, open_tensors
from explorer.tensor_table import looked_at
from quant_engine import IntFormat, QuantizerSpec

OPERATION = "statistics of all tensors of a file"
MOST_OF_DISK, MOST_OF_MEMORY = 2.0, 16.0  # times what reading takes, whichever is longer
MOST_GROWTH = 1.0  # of the memory, from the first tensor to the last, in tensors
ROUNDS = 3
CHUNK = 64 << 20


def rows(sizes: Sizes) -> list[Row]:
    """Return the time of the inspector's table beside reading the file, and how much its memory grows."""
    if not Path("/proc/self/status").exists():
        return []
    shape = sizes.file_tensors, sizes.rows, sizes.columns
    command = [sys.executable, "-m", "benchmarks.inspector", *map(str, shape)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    table = found["table"]
    met = table <= max(MOST_OF_DISK * found["disk"], MOST_OF_MEMORY * found["memory"])
    target = f"≤ {MOST_OF_DISK:g} × disk or {MOST_OF_MEMORY:g} × memory"
    note = "{} tensors of {:,} × {:,}, cold on the disk".format(*shape)
    timed = [
        Row(
            OPERATION,
            1e3 * table,
            1e3 * found["least"],
            f"reading it from {place}",
            1e3 * found[place],
            f"{figures(table / found[place])} × its time",
            target,
            met,
            note if place == "disk" else "",
        )
        for place in ("disk", "memory")
    ]
    growth = Row(
        "memory: statistics of all tensors",
        found["growth"],
        found["growth"],
        target=f"≤ {MOST_GROWTH:g} × a tensor",
        met=found["growth"] <= MOST_GROWTH,
        note="beyond the most that was held for the first",
        unit="× a tensor",
    )
    return [*timed, growth]


def _write(path: Path, count: int, values: NDArray[np.float32]) -> None:
    """Write a file of equal tensors."""
    step = values.nbytes
    entries = {
        f"layer{i}": {"dtype": "F32", "shape": values.shape, "data_offsets": [i * step, (i + 1) * step]}
        for i in range(count)
    }
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for _ in range(count):
            file.write(values.tobytes())
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> None:
    chunk = np.empty(CHUNK, np.uint8)
    with path.open("rb", buffering=0) as file:
        while file.readinto(chunk):
            pass


def _forget(path: Path) -> None:
    """Have the system forget what it holds of a file, where it can."""
    with path.open("rb") as file, contextlib.suppress(AttributeError):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _measure(count: int, high: int, wide: int) -> dict[str, float]:
    values, spec = weights(high, wide), QuantizerSpec(IntFormat(4))
    seconds: dict[str, list[float]] = {"disk": [], "memory": [], "table": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.safetensors"
        _write(path, count, values)
        next(looked_at(_opened(path), spec))  # compiled, or loaded
        before = peak_bytes()
        for number in range(1, ROUNDS + 1):
            again = Path(folder) / f"{number}.safetensors"  # another model: nothing is known of it
            os.link(path, again)
            model = _opened(again)
            _forget(path)
            seconds["disk"].append(_seconds(partial(_read, path)))
            seconds["memory"].append(count * min(_seconds(values.max) for _ in range(ROUNDS)))
            _forget(path)
            seconds["table"].append(_seconds(lambda model=model: [*looked_at(model, spec)]))  # type: ignore[misc]
    found = {name: median(parts) for name, parts in seconds.items()}
    return {**found, "least": min(seconds["table"]), "growth": (peak_bytes() - before) / values.nbytes}


def _opened(path: Path) -> ModelKey:
    MODELS.add(path.name, Source(partial(open_tensors, path)))
    return MODELS.key(path.name)


if __name__ == "__main__":
    print(json.dumps(_measure(*map(int, sys.argv[1:]))))
