"""A cache for what is computed: bounded by bytes, the least recently used goes first.

A result counts with the arrays and byte strings that it reaches, each buffer once over all results; what is mapped from
a file counts nothing, since the system takes it back by itself. Whoever asks for a key that is being computed waits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

OVERHEAD = 4096  # bytes that a result takes besides its arrays, with its key, entry and event: 3.5 kB measured
OURS = ("quant_engine",)  # packages into whose objects sizes look

T = TypeVar("T")


@dataclass(frozen=True)
class Usage:
    """How full a cache is, and how often it was asked."""

    results: int
    size_bytes: int
    max_bytes: int
    computed: int
    found: int


class _Entry:
    """A result that is there, or is being computed: `size_bytes` is 0 until then."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.result: Any = None
        self.size_bytes = 0
        self.buffers: dict[int, int] = {}  # bytes by identity, which stays as long as the result does


class ByteCache:
    """Results by key up to `max_bytes`; safe to use from several threads.

    What a result reaches of objects of the `packages` counts too. If it `spares_largest`, the largest buffer comes on
    top of the limit: a large tensor at hand then stays, with all results that stand on it.
    """

    def __init__(self, max_bytes: int, packages: tuple[str, ...] = OURS, spares_largest: bool = False) -> None:
        """Start empty."""
        self._max, self._packages, self._spares_largest = max_bytes, packages, spares_largest
        self._held: dict[int, tuple[int, int]] = {}  # bytes of a buffer, and how many results reach it
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._size = self._computed = self._found = 0

    def get(self, key: Hashable, work: Callable[[], T]) -> T:
        """Return what `work` computes, or computed for this key before; a failure is raised and not kept."""
        while True:
            with self._lock:
                entry = self._entries.get(key)
                if entry is None:
                    own = self._entries[key] = _Entry()
                    self._computed += 1
                    break
                self._entries.move_to_end(key)
                self._found += 1
            entry.ready.wait()
            if entry.size_bytes:
                kept: T = entry.result
                return kept
        return self._compute(key, own, work)

    def __contains__(self, key: Hashable) -> bool:
        """Say whether the result of a key is at hand."""
        with self._lock:
            return (entry := self._entries.get(key)) is not None and bool(entry.size_bytes)

    def usage(self) -> Usage:
        """Return how full the cache is."""
        with self._lock:
            return Usage(len(self._entries), self._size, self._max, self._computed, self._found)

    def clear(self) -> None:
        """Forget every result; what is being computed goes to those who wait for it alone."""
        with self._lock:
            self._entries.clear()
            self._held.clear()
            self._size = 0

    def _compute(self, key: Hashable, entry: _Entry, work: Callable[[], T]) -> T:
        try:
            result = entry.result = work()
            buffers = buffers_of(result, self._packages)
            with self._lock:
                entry.buffers, entry.size_bytes = buffers, OVERHEAD + sum(buffers.values())
                if self._entries.get(key) is entry:
                    self._hold(entry)
                    self._make_room()
            return result
        finally:
            if not entry.size_bytes:
                with self._lock:
                    if self._entries.get(key) is entry:
                        del self._entries[key]
            entry.ready.set()  # those who waited for a failure try for themselves

    def _make_room(self) -> None:
        """Forget what was used least recently (the lock is held); what is being computed stays."""
        while self._size > self._max + self._spared():
            key, entry = next((key, entry) for key, entry in self._entries.items() if entry.size_bytes)
            del self._entries[key]
            self._let_go(entry)

    def _spared(self) -> int:
        return max((size for size, _ in self._held.values()), default=0) if self._spares_largest else 0

    def _hold(self, entry: _Entry) -> None:
        self._size += OVERHEAD
        for buffer, size in entry.buffers.items():
            known = self._held.get(buffer, (size, 0))[1]
            self._held[buffer] = size, known + 1
            self._size += 0 if known else size

    def _let_go(self, entry: _Entry) -> None:
        self._size -= OVERHEAD
        for buffer in entry.buffers:
            size, known = self._held.pop(buffer)
            if known > 1:
                self._held[buffer] = size, known - 1
            else:
                self._size -= size


def size_of(result: object, packages: tuple[str, ...] = OURS) -> int:
    """Return the bytes of all arrays and byte strings that a result reaches, each buffer once.

    >>> part = np.zeros(100, np.float32)
    >>> size_of([part, part[:50], b"1234"])
    404
    """
    return sum(buffers_of(result, packages).values())


def buffers_of(result: object, packages: tuple[str, ...] = OURS) -> dict[int, int]:
    """Return the bytes of every array and byte string that a result reaches, by identity."""
    seen: set[int] = set()
    found: dict[int, int] = {}
    waiting = [result]
    while waiting:
        item = waiting.pop()
        while isinstance(item, np.ndarray) and isinstance(item.base, np.ndarray):
            item = item.base
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            found[id(item)] = 0 if isinstance(item, np.memmap) else item.nbytes
        elif isinstance(item, bytes):
            found[id(item)] = len(item)
        else:
            waiting.extend(_parts(item, packages))
    return found


def _parts(item: object, packages: tuple[str, ...]) -> list[Any]:
    """Return what a container or an object of the packages holds."""
    if isinstance(item, Mapping):
        return list(item.values())
    if isinstance(item, list | tuple | set | frozenset):
        return list(item)
    if not type(item).__module__.startswith(packages):
        return []
    slots = (getattr(item, name, None) for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ()))
    return [*getattr(item, "__dict__", {}).values(), *slots]
