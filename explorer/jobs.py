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

from explorer.memory import give_back

MOST_KEPT = 512
NICENESS = 10
PAUSE = 0.02  # seconds


class SupersededError(Exception):
    """Nobody waits for this job any more."""


class Jobs:
    """Results by key, computed in the background at most once, for each session in turn."""

    def __init__(self, pause: float = PAUSE) -> None:
        """Start without a thread; the pool makes it for the first job."""
        self._pause = pause
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="quant-explorer-jobs", initializer=step_back)
        self._lock = threading.Lock()
        self._futures: OrderedDict[str, Future[Any]] = OrderedDict()
        self._waiting: dict[str, Callable[[], Any]] = {}
        self._wanted: dict[str, dict[str, str]] = {}
        self._turns: dict[str, int] = {}
        self._turn = 0

    def enter(self, session: str) -> None:
        """Count a session that has come."""
        with self._lock:
            self._welcome(session)

    def submit(self, session: str, place: str, key: str, work: Callable[[], Any]) -> Future[Any]:
        """Return the future of `key`, starting `work` unless it is done or under way.

        `place` is what the session shows it in, and what a later job of the same place takes it from: a job that no
        place waits for any more when its turn comes raises `SupersededError`.
        """
        with self._lock:
            self._welcome(session)
            self._wanted[session][place] = key
            future = self._futures.get(key)
            if future is None or (future.done() and future.exception() is not None):
                future = self._futures[key] = Future()
                self._waiting[key] = work
                self._pool.submit(self._take_turn)
            self._futures.move_to_end(key)
            while len(self._futures) > MOST_KEPT and next(iter(self._futures.values())).done():
                self._futures.popitem(last=False)
            return future

    def release(self, session: str) -> None:
        """Forget a session that has gone, and what it alone waited for."""
        with self._lock:
            self._wanted.pop(session, None)
            self._turns.pop(session, None)
            self._drop_unwanted()

    @property
    def sessions(self) -> int:
        """How many sessions have come and not gone."""
        with self._lock:
            return len(self._wanted)

    def _welcome(self, session: str) -> None:
        self._wanted.setdefault(session, {})
        self._turns.setdefault(session, self._turn - 1)  # before those who had the last one

    def _take_turn(self) -> None:
        """Do the job whose turn it is."""
        time.sleep(self._pause)
        with self._lock:
            self._drop_unwanted()
            if not self._waiting:
                return
            key = min(self._waiting, key=self._rank)
            work, future = self._waiting.pop(key), self._futures[key]
            self._turn += 1
            self._turns |= dict.fromkeys(self._sessions(key), self._turn)
        try:
            future.set_result(work())
        except Exception as error:  # whatever it is, those who wait are told
            future.set_exception(error)
        give_back()

    def _rank(self, key: str) -> tuple[int, int]:
        """Return what is least for the session whose last turn is longest ago, and of those for what most wait for."""
        sessions = self._sessions(key)
        return min(self._turns[session] for session in sessions), -len(sessions)

    def _drop_unwanted(self) -> None:
        """Tell whoever still looks at a job that no session wants (the lock is held)."""
        for key in [key for key in self._waiting if not self._sessions(key)]:
            del self._waiting[key]
            self._futures[key].set_exception(SupersededError(key))

    def _sessions(self, key: str) -> list[str]:
        return [session for session, places in self._wanted.items() if key in places.values()]


def step_back() -> None:
    """Let the sessions' own threads and the browser go first, where the system has priorities by thread (Linux)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
