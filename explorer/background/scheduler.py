"""One scheduler for the work of all sessions: fair, bounded, and quick to forget what nobody wants any more.

A session shows a task in a place of its page. Another task in that place, another page, or the end of the session leave
it: a task left by all that has not begun is never computed, so a person who drags a control waits for the last position
only. Workers do a slice of a task at a time, so that no answer waits for the end of a study.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from explorer.background.limits import USUAL, Limits, Refused, Taken, exceeded
from explorer.background.task import Kind, Lane, Reached, Task

MAX_KEPT = 512  # shared tasks, ended or stopped ones among them
MAX_STOPPED = 64  # shared tasks that were left in the middle
LONG_AT_ONCE = 2
SLICE = 0.4  # seconds: as long as an answer waits for a study
MOST_OWN = 256  # runs that a session has to look at, ended ones among them
PAUSE = 0.02  # seconds before a task begins, in which the browser paints and a person may ask for something else
NICENESS = 10


class Scheduler:
    """One worker for answers, studies and runs in turn, one for what pages wait for, and a few for long runs.

    Each long run keeps its worker.

    A worker's next task is that of the session whose last turn is longest ago.
    """

    def __init__(
        self,
        long_at_once: int = LONG_AT_ONCE,
        slice_seconds: float = SLICE,
        pause: float = PAUSE,
        limits: Limits = USUAL,
        refused: Refused = lambda limit, most: RuntimeError(f"{limit}: {most}"),
        reached: Reached = lambda item: {},
    ) -> None:
        """Start without a thread; the pools make them for the first tasks.

        `refused` says what work beyond a limit fails with, `reached` what the items of tasks hold.
        """
        self._limits, self._refused, self.reached = limits, refused, reached
        self._workers = {Lane.SHARED: 1, Lane.LONG: long_at_once, Lane.AWAITED: 1}
        self._pools = {lane: _pool(lane, most) for lane, most in self._workers.items()}
        self._awake = dict.fromkeys(Lane, 0)  # workers that look for tasks until none is left
        self._slice, self._pause = slice_seconds, pause
        self.lock = threading.Lock()  # guards all that follows, and the sessions
        self.shared: OrderedDict[Hashable, Task] = OrderedDict()
        self.sessions: list[Session] = []
        self._turn = 0

    def session(self) -> Session:
        """Return a session that has come."""
        session = Session(self)
        session.enter()
        return session

    def start(self, task: Task) -> None:
        """Have a task done when it is its turn (the lock is held)."""
        lane = task.kind.lane
        if self._awake[lane] < self._workers[lane]:  # the others come to it
            self._awake[lane] += 1
            self._pools[lane].submit(self._work, lane)

    def trim(self) -> None:
        """Forget shared tasks that nobody looks at (the lock is held).

        First those that were left in the middle, and of these and the others what was asked for longest ago.
        """
        idle = [key for key, task in self.shared.items() if not task.wanted]
        idle.sort(key=lambda key: not self.shared[key].stopped)
        size = sum(self.shared[key].size_bytes for key in idle)
        stopped = sum(self.shared[key].stopped for key in idle)
        for key in idle:
            if len(self.shared) <= MAX_KEPT and size <= self._limits.kept_bytes and stopped <= MAX_STOPPED:
                break
            task = self.shared.pop(key)
            size, stopped = size - task.size_bytes, stopped - task.stopped

    def refusal(self, session: Session, more: Taken) -> Exception | None:
        """Return what a session's next piece of work fails with, if that is too much (the lock is held)."""
        taken = [one.taken for one in self.sessions if one is not session]
        others = Taken(sum(one.runs for one in taken), sum(one.size_bytes for one in taken))
        beyond = exceeded(self._limits, session.taken, others, more)
        return None if beyond is None else self._refused(*beyond)

    def latest_turn(self) -> int:
        """Return a turn before that of whoever had the last one (the lock is held)."""
        return self._turn - 1

    def _work(self, lane: Lane) -> None:
        """Do the tasks whose turn it is, a slice each, until none is left."""
        task: Task | None = None
        while True:
            if lane is not Lane.AWAITED and not (task and task.under_way):
                time.sleep(self._pause)
            with self.lock:
                task = self._take(lane)
                if task is None:
                    self._awake[lane] -= 1
                    return
            task.advance(self._slice)
            with self.lock:
                task.held = False
                task.under_way = task.ready
                self.trim()

    def _take(self, lane: Lane) -> Task | None:
        task = self._next(lane)
        if task is not None:
            task.held = task.under_way = True
            self._turn += 1
            for session in self.sessions:
                if task in session.places.values():
                    session.turns[lane] = self._turn
        return task

    def _next(self, lane: Lane) -> Task | None:
        """Return the task whose turn it is (the lock is held)."""
        asking: dict[Task, list[Session]] = {}
        for session in self.sessions:
            for task in dict.fromkeys(session.places.values()):
                if task.ready and task.kind.lane is lane:
                    asking.setdefault(task, []).append(session)

        def rank(task: Task) -> tuple[bool, int, Kind, int]:
            keeps_worker = lane is Lane.LONG and task.under_way
            return not keeps_worker, min(s.turns[lane] for s in asking[task]), task.kind, -len(asking[task])

        return min(asking, key=rank, default=None)


class Session:
    """What one session shows, by place, and the runs that are its own.

    Attributes:
        places: the task that each place of the page shows; places of runs are their keys.
        own: every run that was started, by key, in that order; those that have ended stay to be looked at.
        turns: when the session last had a turn, by whose workers it was.
        held: bytes of what else the session holds, by what it is.
        on_release: what else is to be done when it goes, by what it is about.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        """Start with nothing; `enter` makes it count."""
        self._scheduler, self._lock = scheduler, scheduler.lock
        self._page = ""
        self.places: dict[Hashable, Task] = {}
        self.own: dict[Hashable, Task] = {}
        self.turns: dict[Lane, int] = {}
        self.held: dict[Hashable, int] = {}
        self.on_release: dict[Hashable, Callable[[], object]] = {}

    @property
    def taken(self) -> Taken:
        """What counts towards the limits (the lock is held); what several sessions look at counts for each."""
        tasks = {*self.places.values(), *self.own.values()}
        size = sum(task.size_bytes for task in tasks) + sum(self.held.values())
        return Taken(sum(task.active for task in self.own.values()), size)

    def hold(self, what: Hashable, size_bytes: int) -> None:
        """Count what the session is about to hold besides results of its work; 0 bytes are let go of.

        Raises:
            Exception: what work beyond a limit fails with; what was held of it before then stays.
        """
        with self._lock:
            before = self.held.pop(what, 0)
            if size_bytes > before and (error := self._scheduler.refusal(self, Taken(0, size_bytes))) is not None:
                self.held[what] = before
                raise error
            self.held[what] = size_bytes

    def enter(self) -> None:
        """Come, or come back."""
        with self._lock:
            if self not in self._scheduler.sessions:
                self._scheduler.sessions.append(self)
                self.turns = dict.fromkeys(Lane, self._scheduler.latest_turn())

    def open(self, page: str) -> None:
        """Leave what another page has shown, if that was the last one; runs go on."""
        with self._lock:
            if page != self._page:
                self._page = page
                self._leave([place for place, task in self.places.items() if not task.kind.own])

    def ask(
        self,
        place: Hashable,
        key: Hashable,
        work: Callable[[], Any],
        kind: Kind = Kind.ANSWER,
        total: int = 1,
        refusable: bool = False,
    ) -> Task:
        """Show the task of `key` in `place`, begun with `work` unless there is one, and return it.

        A run, and what is `refusable` since its place says why it failed, has failed at once beyond a limit.

        What has failed stays so in the place that shows it; a run, and what is asked for anew, is tried again.
        """
        with self._lock:
            known = self.own if kind.own else self._scheduler.shared
            task = known.get(key)
            if task is None or (task.state == "failed" and (kind.own or self.places.get(place) is not task)):
                task = known[key] = self._new(key, work, kind, total, refusable)
            if self.places.get(place) is not task:
                task.wanted += 1
                self._leave([place] if place in self.places else [])
                self.places[place] = task
                if task.ready:
                    self._scheduler.start(task)
            if not kind.own:
                self._scheduler.shared.move_to_end(key)
                self._scheduler.trim()
            return task

    def _new(self, key: Hashable, work: Callable[[], Any], kind: Kind, total: int, refusable: bool) -> Task:
        """Return a new task (the lock is held)."""
        task = Task(key, work, kind, total, self._scheduler.reached)
        limited = kind.own or refusable
        if limited and (error := self._scheduler.refusal(self, Taken(int(kind.own), 0))) is not None:
            task.fail(error)
        if kind.own:
            ended = [known for known, one in self.own.items() if one.ended and one not in self.places.values()]
            for known in ended[: max(0, len(self.own) - MOST_OWN)]:
                del self.own[known]
        return task

    def start(self, key: Hashable, work: Callable[[], Any], kind: Kind = Kind.RUN) -> Task:
        """Start a run, or resume it."""
        return self.ask(key, key, work, kind)

    def leave(self, *places: Hashable) -> None:
        """Show nothing in some places any more; a run is cancelled by its key."""
        with self._lock:
            self._leave([place for place in places if place in self.places])

    def find(self, key: Hashable) -> Task | None:
        """Return the task of a key, if it was ever begun and is still known."""
        with self._lock:
            return self.own.get(key) or self._scheduler.shared.get(key)

    def forget(self, key: Hashable) -> None:
        """Have the shared task of a key done anew when it is next asked for, if it has ended."""
        with self._lock:
            if (task := self._scheduler.shared.get(key)) is not None and task.ended:
                del self._scheduler.shared[key]

    def release(self) -> None:
        """Go, and leave everything."""
        with self._lock:
            self._leave(list(self.places))
            if self in self._scheduler.sessions:
                self._scheduler.sessions.remove(self)
            self._scheduler.trim()
        for work in self.on_release.values():
            work()

    def _leave(self, places: list[Hashable]) -> None:
        for place in places:
            task = self.places.pop(place)
            task.wanted -= 1
            if not task.wanted:
                task.under_way = task.under_way and task.held
                if not task.begun and not task.kind.own:
                    self._scheduler.shared.pop(task.key, None)


def _pool(lane: Lane, workers: int) -> ThreadPoolExecutor:
    steps_back = None if lane is Lane.AWAITED else step_back
    return ThreadPoolExecutor(workers, "quant-explorer-background", initializer=steps_back)


def step_back() -> None:
    """Let the sessions' own threads and the browser go first, where the system has priorities by thread (Linux)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
