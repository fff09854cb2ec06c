"""Classes as rows of their file."""

from __future__ import annotations

import functools
import sqlite3
from dataclasses import dataclass

from explorer.teaching.classroom import Classroom
from explorer.teaching.questions import read_questions
from quant_engine import QuantError

COLUMNS = ", ".join(("code", "title", "created", "questions", "position", "phase", "revision", "asked"))
OF_CODE = f"SELECT {COLUMNS} FROM class WHERE code = ?"
OF_KEY = f"SELECT {COLUMNS} FROM class WHERE key_hash = ? ORDER BY id DESC"
_questions = functools.lru_cache(maxsize=32)(read_questions)


@dataclass(frozen=True)
class Course:
    """A class as the file has it.

    Attributes:
        code: by which students join.
        title: of its questions.
        created: when, in UTC, as ISO 8601.
        room: its questions and where it is.
        revision: one more at each step.
    """

    code: str
    title: str
    created: str
    room: Classroom
    revision: int


def course_of(row: tuple[str, str, str, str, int, str, int, str]) -> Course:
    """Return the class of a row of `COLUMNS`."""
    code, title, created, questions, position, phase, revision, asked = row
    room = Classroom(_questions(questions), position, phase, tuple(map(int, asked.split())))
    return Course(code, title, created, room, revision)


def moved_course(connection: sqlite3.Connection, course: Course, room: Classroom) -> Course:
    """Keep where a class is now, one revision on, and return it."""
    connection.execute(
        "UPDATE class SET position = ?, phase = ?, asked = ?, revision = revision + 1 WHERE code = ?",
        (room.position, room.phase, " ".join(map(str, room.asked)), course.code),
    )
    return given_course(connection, course.code)


def validate_revision(course: Course, revision: int | None) -> None:
    """Check that a class still is where it was seen.

    Raises:
        QuantError: if it has moved on.
    """
    if revision not in (None, course.revision):
        raise QuantError(f"class {course.code} has moved on meanwhile; look where it is")


def found_course(connection: sqlite3.Connection, code: str) -> Course | None:
    """Return the class of a code, None if there is none."""
    row = connection.execute(OF_CODE, (code,)).fetchone()
    return None if row is None else course_of(row)


def given_course(connection: sqlite3.Connection, code: str) -> Course:
    """Return the class of a code.

    Raises:
        QuantError: if there is none.
    """
    course = found_course(connection, code)
    if course is None:
        raise QuantError(f"there is no class {code[:20]!r}; open one")
    return course
