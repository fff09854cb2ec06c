"""One cache for everything that pages compute: bounded by bytes, the least recently used goes first.

A result counts with the arrays and byte strings that it reaches, each buffer once. Whoever asks for a key that is being
computed waits for it.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np

from quant_engine import LayerPlan, QuantizationPlan
from quant_engine.records import Record

OVERHEAD = 1024  # bytes that a result takes besides its arrays
OURS = ("quant_engine", "explorer")  # packages into whose objects sizes look

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Usage:
    """How full a cache is, and how often it was asked."""

    results: int
    size_bytes: int
    most_bytes: int
    computed: int
    found: int


class _Entry:
    """A result that is there, or is being computed: `size_bytes` is 0 until then."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.result: Any = None
        self.size_bytes = 0


class ByteCache:
    """Results by key up to `most_bytes`; safe to use from several threads."""

    def __init__(self, most_bytes: int) -> None:
        """Start empty."""
        self._most = most_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = self._computed = self._found = 0

    def get(self, key: str, work: Callable[[], T]) -> T:
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

    def usage(self) -> Usage:
        """Return how full the cache is."""
        with self._lock:
            return Usage(len(self._entries), self._size, self._most, self._computed, self._found)

    def clear(self) -> None:
        """Forget every result; what is being computed goes to those who wait for it alone."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def _compute(self, key: str, entry: _Entry, work: Callable[[], T]) -> T:
        try:
            result = entry.result = work()
            size = OVERHEAD + size_of(result)
            with self._lock:
                entry.size_bytes = size
                if self._entries.get(key) is entry:
                    self._size += size
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
        while self._size > self._most:
            key, entry = next((key, entry) for key, entry in self._entries.items() if entry.size_bytes)
            del self._entries[key]
            self._size -= entry.size_bytes


def size_of(result: object) -> int:
    """Return the bytes of all arrays and byte strings that a result reaches, each buffer once.

    >>> part = np.zeros(100, np.float32)
    >>> size_of([part, part[:50], b"1234"])
    404
    """
    seen: set[int] = set()
    waiting, total = [result], 0
    while waiting:
        item = waiting.pop()
        while isinstance(item, np.ndarray) and isinstance(item.base, np.ndarray):
            item = item.base
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            total += item.nbytes
        elif isinstance(item, bytes):
            total += len(item)
        else:
            waiting.extend(_parts(item))
    return total


def _parts(item: object) -> list[Any]:
    """Return what a container or an object of ours holds."""
    if isinstance(item, Mapping):
        return list(item.values())
    if isinstance(item, list | tuple | set | frozenset):
        return list(item)
    if not type(item).__module__.startswith(OURS):
        return []
    slots = (getattr(item, name, None) for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ()))
    return [*getattr(item, "__dict__", {}).values(), *slots]


def key_of(*parts: object) -> str:
    """Return the text that names a result: plans by their keys, other choices by their JSON, the rest as text.

    >>> from quant_engine import LayerPlan, PerChannel
    >>> key_of("block", PerChannel(0), LayerPlan(), 3, None)
    'block|{"schema":1,"type":"PerChannel"}|{"activation":null,"bias":null,"dynamic":false,"weight":null}|3|None'
    """
    return "|".join(map(_text, parts))


def _text(part: object) -> str:
    if isinstance(part, LayerPlan | QuantizationPlan):
        return part.key
    return part.to_json() if isinstance(part, Record) else str(part)


def cached(cache: ByteCache) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keep a function's results by its name and its arguments, which are given by position.

    >>> @cached(ByteCache(1 << 20))
    ... def square(number: int) -> int:
    ...     return number * number
    >>> square(3), square(3)
    (9, 9)
    """

    def keep(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def found(*arguments: P.args, **named: P.kwargs) -> T:
            return cache.get(key_of(function.__name__, *arguments), lambda: function(*arguments, **named))

        return found

    return keep
