"""How often one may ask: buckets of tokens that fill again, by who asks."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_ASKERS = 20_000  # that are remembered; who asked longest ago is forgotten


class Limit:
    """So many requests at once, and so many a second.

    Example:
        >>> limit = Limit(burst=2, per_second=1, now=iter([0.0, 0.0, 0.0, 1.0]).__next__)
        >>> [limit.allows("a") for _ in range(4)]
        [True, True, False, True]
    """

    def __init__(self, burst: float, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        """Begin with full buckets."""
        self._burst, self._per_second, self._now = burst, per_second, now
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, asker: str) -> bool:
        """Take one from the bucket of an asker, if there is one."""
        now = self._now()
        left, since = self._held.get(asker, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        self._held[asker] = (left - 1 if left >= 1 else left, now)
        self._held.move_to_end(asker)
        if len(self._held) > MAX_ASKERS:
            self._held.popitem(last=False)
        return left >= 1

    def is_spent(self, asker: str) -> bool:
        """Say whether an asker has none left, and take none."""
        left, since = self._held.get(asker, (self._burst, 0.0))
        return left + (self._now() - since) * self._per_second < 1 and asker in self._held
