"""Where this server keeps its classes: one file beside the projects of the person who runs it."""

from __future__ import annotations

import functools
from pathlib import Path

from explorer.data_folder import made, projects_path
from explorer.teaching.answers import Answers
from explorer.teaching.broadcast import BROADCAST
from explorer.teaching.courses import Course
from explorer.teaching.questions import Question

FILE = "classes.sqlite"


def classes() -> Answers:
    """Return the classes of this server.

    Raises:
        QuantError: as `Answers`, and for a folder that cannot be made.
    """
    return _opened(projects_path().with_name(FILE))


def act(code: str, action: str | int, revision: int | None = None) -> Course:
    """Take a class a step on, and tell the phones.

    Raises:
        QuantError: as `Answers.act`.
    """
    course = classes().act(code, action, revision)
    BROADCAST.tell(code)
    return course


def ask(code: str, question: Question, revision: int | None = None) -> Course:
    """Open the vote on a question, and tell the phones.

    Raises:
        QuantError: as `Answers.ask`.
    """
    course = classes().ask(code, question, revision)
    BROADCAST.tell(code)
    return course


def reveal(code: str) -> Course:
    """Tell the phones the answer to the question at hand, whatever they are doing; an open vote is closed.

    Raises:
        QuantError: as `Answers.act`.
    """
    course = classes().course(code)
    if course is not None and "close" in course.room.actions:
        course = act(code, "close", course.revision)
    return act(code, "reveal") if course is None or "reveal" in course.room.actions else course


def end(code: str) -> None:
    """Delete a class, and tell the phones."""
    classes().delete(code)
    BROADCAST.tell(code)


@functools.cache
def _opened(path: Path) -> Answers:
    return Answers(made(path))
