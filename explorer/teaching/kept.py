"""Where this server keeps its classes: one file beside the projects of the person who runs it."""

from __future__ import annotations

import functools
from pathlib import Path

from explorer.data_folder import made, projects_path
from explorer.teaching.answers import Answers, Course
from explorer.teaching.broadcast import BROADCAST

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


def end(code: str) -> None:
    """Delete a class, and tell the phones."""
    classes().delete(code)
    BROADCAST.tell(code)


@functools.cache
def _opened(path: Path) -> Answers:
    return Answers(made(path))
