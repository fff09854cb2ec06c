"""Accuracy with its resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z_95 = 1.959963984540054  # two-sided 95 % point of the standard normal


@dataclass(frozen=True)
class Accuracy:
    """How many of `total` labels were predicted correctly.

    Example:
        >>> low, high = Accuracy(1830, 2000).interval
        >>> f"{low:.4f} {high:.4f}"
        '0.9020 0.9264'
    """

    correct: int
    total: int

    @property
    def value(self) -> float:
        """The share of correct predictions."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % score interval (Wilson, 1927): p̂ ± z·√(p̂(1 − p̂)/n + z²/4n²), recentred and shrunk by 1 + z²/n."""
        n, share = self.total, self.value
        centre = share + Z_95**2 / (2 * n)
        reach = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n))
        shrink = 1 + Z_95**2 / n
        return max((centre - reach) / shrink, 0.0), min((centre + reach) / shrink, 1.0)
