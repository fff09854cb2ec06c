"""One small pool of threads for kernels, made when first needed and made anew after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

Result = TypeVar("Result")

SERIAL_BELOW = 1 << 20  # values; smaller work costs less than waking a thread

_serial = threading.local()  # how many of the calling thread's blocks `one_thread` are open
_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}  # by process: a forked child has no threads of its parent's pool


@contextmanager
def one_thread() -> Iterator[None]:
    """Have what the calling thread starts done by itself: the same sums in the same order on every machine."""
    _serial.depth = getattr(_serial, "depth", 0) + 1
    try:
        yield
    finally:
        _serial.depth -= 1


def thread_count() -> int:
    """Return how many cores this process may use, or 1 where the calling thread is to work alone."""
    if getattr(_serial, "depth", 0):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pool() -> ThreadPoolExecutor:
    process = os.getpid()
    with _lock:
        if process not in _pools:
            _pools.clear()
            _pools[process] = ThreadPoolExecutor(thread_count(), thread_name_prefix="quant-engine")
        return _pools[process]


def over_ranges(size: int, work: Callable[[int, int], Result], cost: int | None = None) -> list[Result]:
    """Run `work(start, stop)` over equal parts of range(size) and return the results in order.

    `cost` is the number of values touched, where that is not `size`; below `SERIAL_BELOW` all is done in one call.
    `work` must not call `over_ranges` itself.
    """
    parts = min(thread_count(), size)
    if (size if cost is None else cost) < SERIAL_BELOW or parts < 2:
        return [work(0, size)]
    edges = [size * i // parts for i in range(parts + 1)]
    others = [_pool().submit(work, start, stop) for start, stop in pairwise(edges[1:])]
    try:
        first = work(0, edges[1])  # here, where a core is awake: workers woken together may land on the same one
    finally:
        wait(others)  # none may still write when the caller goes on
    return [first, *(other.result() for other in others)]


def _forget_after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
