"""What models of even steps need of a format."""

from __future__ import annotations

from typing import Protocol


class UniformFormat(Protocol):
    """Consecutive integer codes."""

    @property
    def qmin(self) -> int:
        """The least code."""

    @property
    def qmax(self) -> int:
        """The greatest code."""

    @property
    def lowest(self) -> float:
        """The least value."""
