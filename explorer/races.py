"""Long work on threads of its own, watched while it goes on and stopped when nobody wants it any more.

A run works off a generator, one item at a time, and may be cancelled between two of them; started again, it goes on
from there. All sessions share a few lanes, and one more for what is quick. Each session has its runs; one that goes
away has them cancelled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Hashable
from typing import Any, Literal

from explorer.jobs import step_back
from explorer.memory import give_back

AT_ONCE = 2  # runs under way, over all sessions; one more if it is quick

State = Literal["waiting", "running", "done", "cancelled", "failed"]
Work = Callable[[], Generator[Any, None, None]]


class Run:
    """A generator that is worked off in the background: what it has yielded so far, and how it has ended."""

    def __init__(self, owner: str, work: Work, quick: bool = False) -> None:
        """Keep the work; whoever has a lane free calls `carry_out`."""
        self.owner, self.quick = owner, quick
        self._generator = work()
        self._lock = threading.Lock()
        self._stop = False
        self._state: State = "waiting"
        self._items: list[Any] = []
        self._error: Exception | None = None
        self._begun: float | None = None
        self._spent = 0.0

    @property
    def state(self) -> State:
        """Where the run is."""
        with self._lock:
            return self._state

    @property
    def active(self) -> bool:
        """Whether there is more to come."""
        return self.state in ("waiting", "running")

    @property
    def stopping(self) -> bool:
        """Whether it was cancelled in the middle of an item, which it still finishes."""
        with self._lock:
            return self._stop and self._state == "running"

    @property
    def items(self) -> tuple[Any, ...]:
        """What has been yielded so far."""
        with self._lock:
            return tuple(self._items)

    @property
    def last(self) -> Any | None:
        """What was yielded last."""
        with self._lock:
            return self._items[-1] if self._items else None

    @property
    def error(self) -> Exception | None:
        """What it failed with."""
        with self._lock:
            return self._error

    @property
    def seconds(self) -> float:
        """How long it has been under way, without the time for which it was cancelled."""
        with self._lock:
            return self._spent + (0.0 if self._begun is None else time.monotonic() - self._begun)

    def cancel(self) -> None:
        """Let the run stop as soon as it can; one that still waits stops at once, one that has ended stays as it is."""
        with self._lock:
            self._stop = True
            if self._state == "waiting":
                self._state = "cancelled"

    def go_on(self) -> bool:
        """Take a cancellation back, and say whether the run has to wait for a lane again."""
        with self._lock:
            self._stop = False
            if self._state != "cancelled":
                return False
            self._state = "waiting"
            return True

    def carry_out(self) -> None:
        """Work the generator off until it ends or is cancelled; nothing is done for a run cancelled before."""
        with self._lock:
            if self._state != "waiting":
                return
            self._state, self._begun = "running", time.monotonic()
        while not self._stopped():
            try:
                item = next(self._generator)
            except StopIteration:
                self._end("done")
                return
            except Exception as error:  # whatever it is, the one who watches the run is told
                self._end("failed", error)
                return
            give_back()
            with self._lock:
                self._items.append(item)

    def _stopped(self) -> bool:
        with self._lock:
            stop = self._stop
            if stop:
                self._leave("cancelled")
            return stop

    def _end(self, state: State, error: Exception | None = None) -> None:
        with self._lock:
            self._error = error
            self._leave(state)

    def _leave(self, state: State) -> None:
        """Stop the clock in a state (the lock is held)."""
        assert self._begun is not None
        self._state, self._spent, self._begun = state, self._spent + time.monotonic() - self._begun, None


class Lanes:
    """What lets a few runs go on at once, each on a thread that gives way to the pages.

    When a lane is free, it goes to the owner with the fewest runs under way: to what is quick, and what came first. One
    lane more is there for what is quick, which so never waits for what takes long.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """Open so many lanes, and the one for what is quick."""
        self._at_once = at_once
        self._lock = threading.Lock()
        self._waiting: list[Run] = []
        self._going: list[Run] = []

    def enter(self, run: Run) -> None:
        """Let a run go on as soon as it is its turn."""
        with self._lock:
            if run not in self._waiting:  # cancelled and taken back before its turn came
                self._waiting.append(run)
            self._fill()

    def _fill(self) -> None:
        """Start runs as long as lanes are free (the lock is held)."""
        self._waiting = [run for run in self._waiting if run.active]
        while ready := [run for run in self._waiting if self._has_lane(run)]:
            run = min(ready, key=self._turn)
            self._waiting.remove(run)
            self._going.append(run)
            threading.Thread(target=self._drive, args=(run,), name="quant-explorer-race", daemon=True).start()

    def _has_lane(self, run: Run) -> bool:
        """Say whether a run finds a lane free: one of the quick ones under way takes none from those that are not."""
        if run.quick:
            return len(self._going) < self._at_once + 1
        apart = any(going.quick for going in self._going)
        return len(self._going) - apart < self._at_once

    def _turn(self, run: Run) -> tuple[int, bool]:
        """Return what is least for the run whose turn it is."""
        return sum(going.owner == run.owner for going in self._going), not run.quick

    def _drive(self, run: Run) -> None:
        try:
            step_back()
            run.carry_out()
        finally:
            with self._lock:
                self._going.remove(run)
                self._fill()


class Runs:
    """The runs of one session by key; what has ended stays to be looked at."""

    def __init__(self, owner: str, lanes: Lanes) -> None:
        """Start with none."""
        self.owner = owner
        self._lanes = lanes
        self._lock = threading.Lock()
        self._runs: dict[Hashable, Run] = {}

    def start(self, key: Hashable, work: Work, quick: bool = False) -> Run:
        """Return the run of a key: a new one, one that goes on if it was cancelled, or the one under way or done.

        What has failed is begun anew.
        """
        with self._lock:
            found = self._runs.get(key)
            if found is None or found.state == "failed":
                found = self._runs[key] = Run(self.owner, work, quick)
                self._lanes.enter(found)
            elif found.go_on():
                self._lanes.enter(found)
            return found

    def get(self, key: Hashable) -> Run | None:
        """Return the run of a key, if it was ever started."""
        with self._lock:
            return self._runs.get(key)

    def all(self) -> dict[Hashable, Run]:
        """Return every run that was started, in the order in which they were."""
        with self._lock:
            return dict(self._runs)

    def active(self) -> dict[Hashable, Run]:
        """Return the runs that have more to come."""
        return {key: run for key, run in self.all().items() if run.active}

    def cancel_all(self) -> None:
        """Cancel whatever has more to come."""
        for run in self.active().values():
            run.cancel()
