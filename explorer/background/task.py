"""One piece of work, done an item at a time: what it has found so far, and how it has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Hashable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from traceback import clear_frames
from types import TracebackType
from typing import Any, Literal, TypeVar

from explorer.background.at_hand import at_hand
from explorer.memory import give_back

Reached = Callable[[Any], Mapping[int, int]]  # of an item: the bytes of each array and byte string, by identity
OVERHEAD = 1024  # bytes that an item takes besides
T = TypeVar("T")
State = Literal["waiting", "running", "done", "cancelled", "failed"]


class Lane(IntEnum):
    """Which workers do a task."""

    SHARED = 0
    LONG = 1  # each keeps its worker
    AWAITED = 2  # by a page that stands still: its worker steps back for nobody


class Kind(IntEnum):
    """What a task is for. Of the tasks that one session waits for, the lowest kind has its turn first."""

    ANSWER = 0  # one result that the screen shows
    STUDY = 1  # many results that the screen shows, found one after the other
    RUN = 2  # started by hand: it belongs to one session and goes on while other pages are open
    LONG_RUN = 3  # the same, where it takes minutes: it has workers of its own
    AWAITED = -1  # what a page waits for before it draws anything

    @property
    def own(self) -> bool:
        """Whether each session has its own task of a key; other tasks are shared by all sessions."""
        return self >= Kind.RUN

    @property
    def lane(self) -> Lane:
        """Which workers do such tasks."""
        return {Kind.LONG_RUN: Lane.LONG, Kind.AWAITED: Lane.AWAITED}.get(self, Lane.SHARED)


@dataclass(frozen=True)
class Share:
    """An item that says how much of a task is done, where the number of items does not."""

    value: float


def shares(steps: Generator[float, None, T]) -> Generator[Share | T, None, None]:
    """Yield the shares of some work as items, and at last its result."""
    while True:
        try:
            yield Share(next(steps))
        except StopIteration as end:
            yield end.value
            return


def _nothing() -> None:
    """Stand for work that has ended."""


class Task:
    """A function, called once, or a generator function, whose items are taken one by one.

    A task goes on as long as at least one session shows it. Left by all, it stops after the item under way; asked for
    again, it resumes there.

    Attributes:
        key: names everything that the result depends on.
        wanted: number of places that show the task (the scheduler counts them).
        held: a worker has the task in hand.
        under_way: the task has had its turn and has not stopped or ended since.
    """

    def __init__(
        self,
        key: Hashable,
        work: Callable[[], Any],
        kind: Kind = Kind.ANSWER,
        total: int = 1,
        reached: Reached = lambda item: {},
    ) -> None:
        """Keep the work; `total` is the expected number of items, of which `reached` finds what they hold."""
        self.key, self.kind, self.total = key, kind, total
        self.wanted = self._items_bytes = self._at_hand = 0
        self.held = self.under_way = False
        self._error: tuple[Exception, TracebackType | None] | None = None
        self._work, self._reached = work, reached
        self._steps: Generator[Any, None, None] | None = None
        self._items: list[Any] = []
        self._buffers: set[int] = set()  # by identity, which stays as long as the items do
        self._ended = threading.Event()
        self._clock: tuple[float, float | None] = 0.0, None  # seconds spent, and since when it is at work

    @property
    def error(self) -> Exception | None:
        """What the task failed with, as it was raised then: raising it again would add to where that was, each time."""
        return None if self._error is None else self._error[0].with_traceback(self._error[1])

    @property
    def size_bytes(self) -> int:
        """What the items take, all arrays and byte strings that they reach, and what the work has at hand."""
        return self._items_bytes + self._at_hand

    @property
    def state(self) -> State:
        """Where the task is."""
        if self._ended.is_set():
            return "done" if self._error is None else "failed"
        if self.under_way:
            return "running"
        return "waiting" if self.wanted else "cancelled"

    @property
    def active(self) -> bool:
        """Whether there is more to come."""
        return self.state in ("waiting", "running")

    @property
    def ended(self) -> bool:
        """Whether `result` has something to return or to raise."""
        return self._ended.is_set()

    @property
    def stopping(self) -> bool:
        """Whether the task was left in the middle of an item, which it still finishes."""
        return self.state == "running" and not self.wanted

    @property
    def stopped(self) -> bool:
        """Whether the task was left between two items, and can go on there."""
        return self._steps is not None and not self.held and not self.wanted

    @property
    def ready(self) -> bool:
        """Whether a worker may take the task."""
        return bool(self.wanted) and not self.held and not self._ended.is_set()

    @property
    def begun(self) -> bool:
        """Whether anything has been done."""
        return self.under_way or self._ended.is_set() or self._steps is not None

    @property
    def items(self) -> tuple[Any, ...]:
        """What has been found so far."""
        return tuple(self._items)

    @property
    def last(self) -> Any | None:
        """What was found last."""
        return self._items[-1] if self._items else None

    @property
    def share(self) -> float:
        """How much of the task is done, as its last item says, or by the number of its items."""
        if self.state == "done":
            return 1.0
        return self.last.value if isinstance(self.last, Share) else min(len(self._items) / max(self.total, 1), 1.0)

    @property
    def seconds(self) -> float:
        """How long workers have had the task in hand."""
        spent, since = self._clock
        return spent if since is None else spent + time.monotonic() - since

    def result(self, timeout: float | None = None) -> Any:
        """Return the last item, once all are found.

        Raises:
            TimeoutError: if the task has not ended by then.
            Exception: what the task failed with.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError(f"{self.key} is {self.state}")
        if (error := self.error) is not None:
            raise error
        return self.last

    def fail(self, error: Exception) -> None:
        """End without a result, and keep nothing but the lines at which that was."""
        clear_frames(error.__traceback__)
        self._error = error, error.__traceback__
        self._end()

    def _end(self) -> None:
        """Let go of the work, and of all that only it knows; what it has found stays."""
        self._work, self._steps, self._at_hand = _nothing, None, 0
        self._ended.set()

    def advance(self, seconds: float) -> None:
        """Find items until the time is over, at least one; stop where the task ends or nobody wants it any more."""
        until = time.monotonic() + seconds
        self._clock = self.seconds, time.monotonic()
        try:
            while self._step() and self.wanted and time.monotonic() < until:
                pass
            self._at_hand = 0 if self._steps is None else at_hand(self._steps)
        except BaseException as error:  # whatever it is, those who look at the task are told, and the worker goes on
            self.fail(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        self._clock = self.seconds, None
        give_back()

    def _step(self) -> bool:
        """Find an item, and return whether there may be more."""
        if self._steps is None:
            found = self._work()
            if not isinstance(found, Generator):
                self._publish(found)
                self._end()
                return False
            self._steps = found
        try:
            self._publish(next(self._steps))
        except StopIteration:
            self._end()
            return False
        return True

    def _publish(self, item: Any) -> None:
        buffers = self._reached(item)
        self._items_bytes += OVERHEAD + sum(size for buffer, size in buffers.items() if buffer not in self._buffers)
        self._buffers |= buffers.keys()
        self._items.append(item)
