"""News of classes: phones wait here, in the server's loop, and the teacher's page tells them from its own thread."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Broadcast:
    """Who waits for news of which class."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._waiting: defaultdict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)
        self._lock, self._over = threading.Lock(), False

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    @contextmanager
    def listening(self, code: str) -> Iterator[asyncio.Event]:
        """Lend an event that is set at the next news; what is read after it was lent misses none."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting[code].add(entry)
        try:
            if self._over:
                entry[1].set()
            yield entry[1]
        finally:
            with self._lock:
                self._waiting[code].discard(entry)
                if not self._waiting[code]:
                    del self._waiting[code]

    def tell(self, code: str) -> None:
        """Wake all who wait for news of a class, from any thread."""
        with self._lock:
            found = [*self._waiting.get(code, ())]
        for loop, event in found:
            loop.call_soon_threadsafe(event.set)

    def end(self) -> None:
        """Wake everybody, and keep nobody waiting from now on: the server ends."""
        self._over = True
        with self._lock:
            codes = [*self._waiting]
        for code in codes:
            self.tell(code)


BROADCAST = Broadcast()
