"""How many runs there may be, and how much memory results may take: of one session, and of all together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Limit = Literal["runs", "runs_of_all", "memory", "memory_of_all"]
Refused = Callable[[Limit, int], Exception]  # what work beyond a limit fails with, and what the most is


@dataclass(frozen=True)
class Limits:
    """The most that there may be.

    Attributes:
        runs: of one session that wait or are at work; `all_runs` of all sessions.
        size_bytes: of what one session holds, above which nothing long begins; `all_bytes` of all sessions.
        kept_bytes: of shared results that nobody looks at.
    """

    runs: int = 32
    all_runs: int = 256
    size_bytes: int = 1 << 30
    all_bytes: int = 4 << 30
    kept_bytes: int = 128 << 20


USUAL = Limits()


@dataclass(frozen=True)
class Taken:
    """What one session has: runs that wait or are at work, and bytes of all that it holds."""

    runs: int
    size_bytes: int


def exceeded(limits: Limits, mine: Taken, others: Taken, more: Taken) -> tuple[Limit, int] | None:
    """Return the limit that a session would exceed by `more`, and the most that there may be; None within limits.

    >>> exceeded(Limits(runs=2), Taken(2, 0), Taken(9, 0), more=Taken(1, 0))
    ('runs', 2)
    """
    runs, size = mine.runs + more.runs, mine.size_bytes + more.size_bytes
    found: tuple[tuple[Limit, bool, int], ...] = (
        ("runs", bool(more.runs) and runs > limits.runs, limits.runs),
        ("runs_of_all", bool(more.runs) and runs + others.runs > limits.all_runs, limits.all_runs),
        ("memory", size > limits.size_bytes, limits.size_bytes),
        ("memory_of_all", size + others.size_bytes > limits.all_bytes, limits.all_bytes),
    )
    return next(((limit, most) for limit, exceeds, most in found if exceeds), None)
