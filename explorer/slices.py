"""Long work that a page asks for a slice at a time, so that it can be watched, stopped, and gone on with."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

SLICE = 0.4  # seconds: as long as an accuracy that is asked for meanwhile waits at the most


class Sliced:
    """Steps of work, of which `advance` does some; what they find they put where others can read it.

    A background worker advances while some page asks it to. Nobody asks any more: nothing goes on.
    """

    def __init__(self, steps: Iterator[object], total: int, seconds: float = SLICE) -> None:
        """Begin with none of about `total` steps done."""
        self._steps = steps
        self._seconds = seconds
        self._lock = threading.Lock()
        self.total = total
        self.done = 0
        self.finished = False

    def advance(self) -> None:
        """Do steps for the time of a slice, one at the least."""
        with self._lock:
            until = time.monotonic() + self._seconds
            while not self.finished:
                try:
                    next(self._steps)
                except StopIteration:
                    self.finished = True
                    return
                self.done += 1
                if time.monotonic() >= until:
                    return

    @property
    def share(self) -> float:
        """How much of it is done."""
        return 1.0 if self.finished else min(self.done / max(self.total, 1), 1.0)
