"""What the link at hand hides, asked where pages draw."""

from __future__ import annotations

from explorer import controls
from explorer.teaching.fields import ANSWERS, HIDDEN, LECTURE


def answers_wait() -> bool:
    """Say whether results stay hidden until they are revealed."""
    return controls.current(ANSWERS) == HIDDEN


def is_playing() -> bool:
    """Say whether the page is a lecture's: what is tried there is no student's progress."""
    return bool(controls.current(LECTURE))
