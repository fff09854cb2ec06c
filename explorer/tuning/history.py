"""Undo and redo: every state that was set, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")
MAX_STATES = 200


@dataclass(frozen=True)
class History(Generic[T]):
    """The states before, the one at hand, and those that were undone.

    >>> history = History("a").then("b").then("c").undo()
    >>> history.now, history.undo().now, history.redo().now, history.then("d").redo().now
    ('b', 'a', 'c', 'd')
    """

    now: T
    before: tuple[T, ...] = ()
    undone: tuple[T, ...] = ()

    def then(self, state: T) -> History[T]:
        """Return the history with a next state; the same again is none."""
        if state == self.now:
            return self
        return History(state, (*self.before, self.now)[-MAX_STATES:])

    def undo(self) -> History[T]:
        """Return the history one step back, if there is one."""
        if not self.before:
            return self
        return replace(self, now=self.before[-1], before=self.before[:-1], undone=(*self.undone, self.now))

    def redo(self) -> History[T]:
        """Return the history one step on again, if there is one."""
        if not self.undone:
            return self
        return replace(self, now=self.undone[-1], before=(*self.before, self.now), undone=self.undone[:-1])
