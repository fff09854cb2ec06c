"""Peak memory of a Distribution, in a process of its own: `python -m benchmarks.memory VALUES [exact]`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.comparison import Row
from benchmarks.data import Sizes

MOST = 2.2  # times the tensor's bytes, the tensor included
CHUNK = 1 << 20


def rows(sizes: Sizes) -> list[Row]:
    """Return the peak for both indexes, in units of the tensor's bytes; nothing where there is no /proc."""
    found: list[Row] = []
    if not Path("/proc/self/status").exists():
        return found
    for kind in ("histogram", "exact"):
        command = [sys.executable, "-m", "benchmarks.memory", str(sizes.memory_values), kind]
        ratio = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        target = f"≤ {MOST:g} × the tensor"
        note = f"{sizes.memory_values:,} values, tensor included, beyond what the process held before"
        operation = f"memory: {kind} distribution"
        found.append(Row(operation, ratio, ratio, target=target, met=ratio <= MOST, note=note, unit="× the tensor"))
    return found


def peak_bytes() -> int:
    """Return the most memory held so far; `getrusage` would count that of the parent before the fork."""
    with open("/proc/self/status", encoding="utf-8") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _measure(count: int, exact: bool) -> float:
    import numpy as np

    import quant_engine as qe

    rng = np.random.default_rng(0)
    qe.Distribution(rng.standard_normal(1000, dtype=np.float32), exact)  # compiled, or loaded
    before = peak_bytes()
    x = np.empty(count, np.float32)
    for start in range(0, count, CHUNK):
        rng.standard_normal(dtype=np.float32, out=x[start : start + CHUNK])
    qe.Distribution(x, exact)
    return (peak_bytes() - before) / x.nbytes


if __name__ == "__main__":
    print(_measure(int(sys.argv[1]), sys.argv[2:] == ["exact"]))
