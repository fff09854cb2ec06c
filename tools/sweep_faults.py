"""Break a Dask cluster in every way while it sweeps, and print what came out: `python -m tools.sweep_faults`.

A scheduler and workers run as processes of their own. Each fault happens while cells are being worked on; afterwards
the table must have each cell once, equal bit for bit to what one process finds by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from distributed import Client
from safetensors.numpy import save_file

from quant_engine import IntFormat, MinMSE, PerChannel, PerTensor, QuantizerSpec
from quant_engine.sweep import SweepProgress, plan_sweep, read_sweep, sweep
from quant_engine.sweep.plan import SweepPlan

SPECS = [
    QuantizerSpec(IntFormat(bits), shared, clipping=MinMSE())
    for bits in (3, 4)
    for shared in (PerTensor(), PerChannel())
]
TENSORS, SHAPE = 24, (512, 640)
AT = 12  # cells on disk when the fault happens
WAIT = 60.0  # seconds
DASK = "import sys; from distributed.cli import dask_{0}; sys.exit(dask_{0}.main())"


@dataclass
class Cluster:
    """A scheduler and its workers, as an administrator runs them: whatever has ended is begun again."""

    folder: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        return f"tcp://127.0.0.1:{self.port}"

    def start(self, name: str) -> None:
        """Begin the scheduler, or a worker."""
        words = (
            ["--host", "127.0.0.1", "--port", f"{self.port}", "--no-show"] if name == "scheduler" else [self.address]
        )
        threads = [] if name == "scheduler" else ["--nthreads", "1", "--no-nanny", "--death-timeout", f"{WAIT}"]
        kind = name.split()[0]
        command = [sys.executable, "-c", DASK.format(kind), *words, *threads, "--no-dashboard"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def kill(self, *names: str) -> None:
        """Kill by a signal that nothing can catch."""
        for name in names:
            self.processes[name].kill()
            self.processes[name].wait()

    def supervise(self, *names: str) -> None:
        """Begin again what has ended, as a service manager does."""
        for name in names:
            self.processes[name].wait(WAIT)
            self.start(name)

    def end(self) -> None:
        """Kill all."""
        self.kill(*self.processes)


@contextmanager
def cluster(folder: Path, port: int, workers: int = 2) -> Iterator[Cluster]:
    """Lend a running cluster."""
    found = Cluster(folder, port)
    try:
        for name in ("scheduler", *(f"worker {number}" for number in range(workers))):
            found.start(name)
        yield found
    finally:
        found.end()


def make_model(path: Path, shape: tuple[int, int] = SHAPE) -> Path:
    """Write tensors, large ones of which take a while to search."""
    rng = np.random.default_rng(0)
    save_file({f"{n:02}": rng.standard_t(4, shape).astype(np.float32) for n in range(TENSORS)}, path)
    return path


def run(plan: SweepPlan, out: Path, address: str, fault: Callable[[], object] | None) -> bool:
    """Sweep on a cluster, with a fault in the middle; return whether it went to its end."""
    with Client(address, timeout=WAIT) as client:
        begun = False
        try:
            for step in sweep(plan, out=out, map=client.map):
                if fault is not None and not begun and step.done >= AT:
                    begun = True
                    if fault() is STOP:
                        return False
        except KeyboardInterrupt:
            return False
    return True


STOP = object()


def faults(cluster: Cluster) -> dict[str, Callable[[], object]]:
    """Return what can happen to a cluster, by what is told of it."""

    def restart_scheduler() -> None:
        cluster.kill("scheduler")
        cluster.start("scheduler")
        later = threading.Thread(target=cluster.supervise, args=("worker 0", "worker 1"), daemon=True)
        later.start()  # they end when their scheduler is gone

    def kill_all_workers() -> None:
        cluster.kill("worker 0", "worker 1")
        cluster.supervise("worker 0", "worker 1")

    def kill_one() -> None:
        cluster.kill("worker 0")

    return {
        "one of two workers killed (SIGKILL), not replaced": kill_one,
        "both workers killed, and begun again": kill_all_workers,
        "the scheduler killed, and begun again with its workers": restart_scheduler,
        "the client stopped, and the command begun again": lambda: STOP,
    }


def check(out: Path, expected: list[dict[str, object]], plan: SweepPlan) -> tuple[int, int, bool]:
    """Return how many cells are lost, how many are there twice, and whether all others are the same bits."""
    rows = found_in(out)
    seen = Counter((str(row["tensor"]), str(row["spec"])) for row in rows)
    lost = sum(place not in seen for place in plan.places())
    return lost, sum(count - 1 for count in seen.values()), rows == expected


def found_in(out: Path) -> list[dict[str, object]]:
    """Return a table's rows without what a clock says."""
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in read_sweep(out).rows()]


def killed_client(plan_path: Path, out: Path, address: str) -> int:
    """Sweep in a process of its own that is killed in the middle; return the cells that are then on disk."""
    code = "import sys; from tools.sweep_faults import child; child(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(plan_path), str(out), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        done = 0
        for line in process.stdout:
            done = int(line)
            if done >= AT:
                os.kill(process.pid, signal.SIGKILL)
                break
    return done


def child(model: str, out: str, address: str) -> None:
    """Sweep, and say how many cells are on disk."""
    with Client(address, timeout=WAIT) as client:
        for step in sweep(plan_sweep(model, SPECS), out=out, map=client.map):
            print(step.done, flush=True)
            time.sleep(0.05)


def table(folder: Path, port: int) -> Iterator[tuple[str, str, int, int, bool, float]]:
    """Yield for each fault: what it was, who went on, cells lost and there twice, the same bits, and seconds."""
    model = make_model(folder / "model.safetensors")
    plan = plan_sweep(model, SPECS)
    last: SweepProgress
    *_, last = sweep(plan, out=folder / "local.parquet")
    expected = found_in(folder / "local.parquet")
    with ExitStack() as stack:
        running = stack.enter_context(cluster(folder, port))
        for place, (told, fault) in enumerate({"nothing": None, **faults(running)}.items()):
            started, out = time.monotonic(), folder / f"{place}.parquet"
            alone = run(plan, out, running.address, fault)
            if not alone:
                run(plan, out, running.address, None)
            who = "the sweep by itself" if alone else "the same command"
            yield told, who, *check(out, expected, plan), time.monotonic() - started
            for name, process in list(running.processes.items()):
                if process.poll() is not None:
                    running.start(name)
        started, out = time.monotonic(), folder / "killed.parquet"
        done = killed_client(model, out, running.address)
        run(plan, out, running.address, None)
        told = f"the client killed (SIGKILL) with {done} of {last.total} cells on disk"
        yield told, "the same command", *check(out, expected, plan), time.monotonic() - started


def main() -> None:
    """Print the fault log as Markdown."""
    print(f"{TENSORS} tensors of {SHAPE[0]} × {SHAPE[1]} under {len(SPECS)} specs, two workers of one thread.\n")
    print("| what happened | who went on | cells lost | cells twice | same bits as one process | seconds |")
    print("|---|---|---:|---:|---|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for told, who, lost, twice, same, seconds in table(Path(folder), 18700 + os.getpid() % 1000):
            print(f"| {told} | {who} | {lost} | {twice} | {'yes' if same else 'NO'} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
