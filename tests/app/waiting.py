"""What AppTest does not do by itself: wait for the work that a page shows, and run again."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from explorer.background import Task
from explorer.compute import SESSION_KEY

LIMIT = 120.0  # seconds


def task_in(at: AppTest, place: str) -> Task:
    """Return the task that a place of the page shows."""
    task: Task = at.session_state[SESSION_KEY].places[place]
    return task


def await_answers(at: AppTest) -> AppTest:
    """Run again when all that the page shows is worked out, as the page does by itself."""
    for task in [*at.session_state[SESSION_KEY].places.values()]:
        task.result(LIMIT)
    at.run()
    assert not at.exception
    return at
