"""Slow work on a thread of its own, so that a figure never waits for it.

One worker runs one job at a time, each after a short pause in which the browser paints the figure and a person may
already ask for something else. A job that nobody waits for any more when its turn comes is dropped, so someone who
drags a control waits for the last position, not for all of them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

MOST_KEPT = 512
NICENESS = 10
PAUSE = 0.02  # seconds


class SupersededError(Exception):
    """Nobody waits for this job any more."""


class Jobs:
    """Results by key, computed in the background at most once."""

    def __init__(self, pause: float = PAUSE) -> None:
        """Start without a thread; the pool makes it for the first job."""
        self._pause = pause
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="quant-explorer-jobs", initializer=step_back)
        self._lock = threading.Lock()
        self._futures: OrderedDict[str, Future[Any]] = OrderedDict()
        self._wanted: dict[str, str] = {}

    def submit(self, owner: str, key: str, work: Callable[[], Any]) -> Future[Any]:
        """Return the future of `key`, starting `work` unless it is done or under way.

        `owner` is who waits for it, a browser session for example; whatever else it was waiting for it no longer wants.
        A job dropped for that reason raises `SupersededError`.
        """
        with self._lock:
            self._wanted[owner] = key
            future = self._futures.get(key)
            if future is None or (future.done() and future.exception() is not None):
                future = self._futures[key] = self._pool.submit(self._run, key, work)
            self._futures.move_to_end(key)
            while len(self._futures) > MOST_KEPT and next(iter(self._futures.values())).done():
                self._futures.popitem(last=False)
            return future

    def _run(self, key: str, work: Callable[[], Any]) -> Any:
        if self._is_wanted(key):
            time.sleep(self._pause)
        if not self._is_wanted(key):
            raise SupersededError(key)
        return work()

    def _is_wanted(self, key: str) -> bool:
        with self._lock:
            return key in self._wanted.values()


def step_back() -> None:
    """Let the sessions' own threads and the browser go first, where the system has priorities by thread (Linux)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
