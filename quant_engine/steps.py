"""Work that says how much of it is done: generators that yield a share and return a result."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")


def finished(steps: Generator[Any, None, T]) -> T:
    """Return the result, once all is done.

    >>> def halves():
    ...     yield 0.5
    ...     return "whole"
    >>> finished(halves())
    'whole'
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def scaled(steps: Generator[float, None, T], done: float, share: float) -> Generator[float, None, T]:
    """Yield the shares of a part, which is a `share` of the whole and begins when some is `done`; return its result.

    >>> [*scaled((each for each in (0.5, 1.0)), 0.25, 0.5)]
    [0.5, 0.75]
    """
    while True:
        try:
            yield min(done + share * next(steps), 1.0)
        except StopIteration as end:
            result: T = end.value
            return result
