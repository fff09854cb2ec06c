"""How long a sweep will take, from what each spec costs on this machine, measured on a sample of Gaussian values."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quant_engine.granularity import PerTensor
from quant_engine.kernels.parallel import one_thread
from quant_engine.network import Network
from quant_engine.quantizer import QuantizerSpec
from quant_engine.sweep.cells import attributed, whole
from quant_engine.sweep.plan import Chunk, SweepPlan
from quant_engine.sweep.subject import opened

SAMPLES = (1 << 12, 1 << 20, (1 << 22) + (1 << 12))  # values, the last beyond those that are put in order
COLUMNS = 1 << 12
BASE_BYTES = 450 << 20  # of a process with its compiled kernels
BYTES_A_VALUE = 32  # of what is held at a time: stored, in float32, in blocks, and what fits and counts take; measured
READ_SAMPLE = 64 << 20  # bytes
RUNS = 3  # of the model, by which others are estimated


@dataclass(frozen=True)
class Estimate:
    """What a sweep is expected to take.

    Attributes:
        chunks: number of pieces that are handed out.
        values: number of values, each read once a chunk (twice in blocks, where a range needs it).
        read_bytes: what is read, all in all.
        work_seconds: of all workers together, on cores like this machine's.
        run_seconds: of them those in which the model is run, with each tensor alone quantized.
        read_rate: bytes a second at which one worker reads.
        worker_bytes: memory of a worker.
        seconds: by number of workers, the largest chunks first, each worker taking the next when it has done one.
    """

    chunks: int
    values: int
    read_bytes: int
    work_seconds: float
    run_seconds: float
    read_rate: float
    worker_bytes: int
    seconds: dict[int, float]


def estimate(plan: SweepPlan, workers: Sequence[int], read_rate: float | None = None) -> Estimate:
    """Return how long a plan takes; `read_rate` in bytes a second, measured on its largest tensor if not given."""
    costs = {spec.key: _costs(spec) for spec in plan.specs}
    subject = opened(plan.source, plan.version)
    rate = read_rate or _read_rate(plan)
    chunks = plan.chunks()
    stored = {name: subject.stored_bytes(name) for name in plan.sizes}
    plain, runs = 0.0, dict.fromkeys(plan.sizes, 0.0)
    if plan.attribute and subject.network is not None:
        plain, runs = _run_costs(plan, subject.network)
    seconds = [
        sum(_seconds(costs[key], plan.sizes[chunk.tensor]) + runs[chunk.tensor] for key in chunk.specs)
        + stored[chunk.tensor] * _passes(plan, chunk) / rate
        for chunk in chunks
    ]
    return Estimate(
        len(chunks),
        sum(plan.sizes.values()),
        sum(stored[chunk.tensor] * _passes(plan, chunk) for chunk in chunks),
        sum(seconds) + plain,
        plain + len(plan.specs) * sum(runs.values()),
        rate,
        BASE_BYTES + BYTES_A_VALUE * min(max(plan.sizes.values()), plan.max_values),
        {count: plain + _makespan(seconds, count) for count in workers},
    )


def values_in(worker_bytes: int) -> int:
    """Return how many values of a tensor a worker with so much memory holds at a time.

    >>> values_in(4 << 30)
    67108864
    """
    spare = max(worker_bytes - BASE_BYTES, 0) // BYTES_A_VALUE
    return 1 << max(spare.bit_length() - 1, 20)


def _costs(spec: QuantizerSpec) -> list[float]:
    """Return the seconds that a spec takes on each of the samples."""
    rng, found = np.random.default_rng(0), []
    with one_thread():
        for size in SAMPLES:
            x = rng.standard_normal((size // COLUMNS, COLUMNS), np.float32)
            list(whole(x[:1], [spec]))  # which compiles what there is to compile
            started = time.perf_counter()
            list(whole(x, [spec]))
            found.append(time.perf_counter() - started)
    return found


def _seconds(costs: list[float], size: int) -> float:
    """Return what a tensor of a size takes: between samples evenly, beyond the last as much for each value."""
    if size > SAMPLES[-1]:
        return costs[-1] * size / SAMPLES[-1]
    return float(np.interp(size, SAMPLES, costs))


def _run_costs(plan: SweepPlan, network: Network) -> tuple[float, dict[str, float]]:
    """Return the seconds of a run in floating point, once for each worker, and of one with each tensor quantized.

    Some tensors, early, late and between, are measured; what lies between them takes evenly more or less, since a run
    begins at the tensor that is quantized.
    """
    names = [name for name in network.layers() if name in plan.sizes]
    places = np.unique(np.linspace(0, len(names) - 1, RUNS).astype(int))

    def timed(place: int) -> float:
        started = time.perf_counter()
        attributed(network, names[place], plan.specs[0])
        return time.perf_counter() - started

    first = timed(0)  # which runs the model in floating point, too
    found = [timed(place) for place in places]
    return max(first - found[0], 0.0), dict(
        zip(names, np.interp(range(len(names)), places, found).tolist(), strict=True)
    )


def _passes(plan: SweepPlan, chunk: Chunk) -> int:
    """Return how often a chunk reads its tensor: in blocks twice, where one range serves all of them."""
    ranged = any(isinstance(QuantizerSpec.from_json(text).granularity, PerTensor) for text in chunk.specs)
    return 2 if ranged and plan.sizes[chunk.tensor] > plan.max_values else 1


def _read_rate(plan: SweepPlan) -> float:
    subject, name = opened(plan.source, plan.version), max(plan.sizes, key=lambda one: plan.sizes[one])
    rows, columns = subject.layers[name].matrix_shape
    wanted = max(1, min(rows, READ_SAMPLE // (4 * columns)))
    started = time.perf_counter()
    x = subject.rows(name, 0, wanted)
    float(np.ascontiguousarray(x).reshape(-1)[:: 1 << 8].sum())  # what is mapped is read now
    elapsed = max(time.perf_counter() - started, 1e-6)
    return subject.stored_bytes(name) * wanted / rows / elapsed


def _makespan(seconds: Sequence[float], workers: int) -> float:
    """Return when the last of some workers ends, each of which takes the next chunk when it has done one."""
    free = [0.0] * workers
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)
