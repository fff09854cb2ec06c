"""A map over processes of this machine, each of its own: one that is killed takes nothing with it but its chunk."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from quant_engine.checks import as_integer
from quant_engine.errors import QuantError
from quant_engine.sweep.cells import Row
from quant_engine.sweep.plan import Chunk

Work = Callable[[Chunk], list[Row]]


@contextmanager
def process_map(workers: int) -> Iterator[Callable[[Work, list[Chunk]], list[Future[list[Row]]]]]:
    """Lend a map that works in so many processes; at the end what has not begun is dropped, and they are ended."""
    count = as_integer(workers, "workers", 1)
    pools: dict[int, ProcessPoolExecutor] = {}
    stopped = threading.Event()

    def run(work: Work, chunk: Chunk) -> list[Row]:
        """Have this thread's own process do it."""
        thread = threading.get_ident()
        if stopped.is_set():
            raise QuantError("the sweep was stopped; begin it again")
        if thread not in pools:
            pools[thread] = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _end_with, (os.getpid(),))
        try:
            return pools[thread].submit(work, chunk).result()
        except BrokenProcessPool as error:
            pools.pop(thread).shutdown(wait=False)
            raise QuantError(
                f"the process that worked on {chunk.tensor} was killed; give it more memory, or use fewer workers"
            ) from error

    with ThreadPoolExecutor(count, "quant-explorer-sweep") as threads:
        try:
            yield lambda work, chunks: [threads.submit(run, work, chunk) for chunk in chunks]
        finally:
            stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)
            for pool in list(pools.values()):
                _end(pool)


def _end_with(parent: int) -> None:
    """End this process when its parent does, even if that is killed: nobody waits for it any more."""

    def watch() -> None:
        process: Any = multiprocessing.parent_process()
        process.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name=f"watching {parent}").start()


def _end(pool: ProcessPoolExecutor) -> None:
    """End the process of a pool, in the middle of whatever it does."""
    for process in list((pool._processes or {}).values()):
        process.terminate()
    pool.shutdown(wait=False, cancel_futures=True)
