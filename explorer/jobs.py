"""Slow work on a thread of its own, so that a figure never waits for it.

One worker runs one job at a time. A job that has not started when its owner asks for another is dropped, so a person
who drags a control waits for the last position, not for all of them.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

MOST_KEPT = 512
NICENESS = 10


class Jobs:
    """Results by key, computed in the background at most once."""

    def __init__(self) -> None:
        """Start without a thread; the pool makes it for the first job."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="quant-explorer-jobs", initializer=_step_back)
        self._lock = threading.Lock()
        self._futures: OrderedDict[str, Future[Any]] = OrderedDict()
        self._wanted: dict[str, str] = {}

    def submit(self, owner: str, key: str, work: Callable[[], Any]) -> Future[Any]:
        """Return the future of `key`, starting `work` unless it is done or under way.

        `owner` is who waits for it, a browser session for example; what else it was waiting for is dropped unless it
        has begun.
        """
        with self._lock:
            former = self._wanted.get(owner)
            self._wanted[owner] = key
            if former is not None and former != key and former not in self._wanted.values():
                self._drop_if_waiting(former)
            future = self._futures.get(key)
            if future is None or future.cancelled() or (future.done() and future.exception() is not None):
                future = self._futures[key] = self._pool.submit(work)
            self._futures.move_to_end(key)
            while len(self._futures) > MOST_KEPT and next(iter(self._futures.values())).done():
                self._futures.popitem(last=False)
            return future

    def _drop_if_waiting(self, key: str) -> None:
        future = self._futures.get(key)
        if future is not None and future.cancel():
            del self._futures[key]


def _step_back() -> None:
    """Let the sessions' own threads and the browser go first, where the system has priorities by thread (Linux)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
