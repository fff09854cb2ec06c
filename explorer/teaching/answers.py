"""The classes of a server with their students and answers, in one SQLite file: they outlive the server, and go by hand.

A student is known by the hash of a token that only the phone has, a teacher by the hash of a key. What `record` has
returned is on the disk.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from explorer.teaching.classroom import Classroom
from explorer.teaching.courses import (
    OF_KEY,
    Course,
    course_of,
    found_course,
    given_course,
    moved_course,
    validate_revision,
)
from explorer.teaching.questions import Question, read_questions, readable, validate_text, write_questions
from explorer.teaching.tables import CLASSES
from quant_engine import QuantError
from quant_engine.store import Database

LETTERS = (
    "ACDEFGHJKMNPQRTUVWXY34679"  # none looks like another: no 0 or O, no 1, I or L, no 2 or Z, no 5 or S, no 8 or B
)
CODE_LENGTH = 6
MAX_STUDENTS, MAX_CLASSES, MAX_NICKNAME, MAX_TITLE = 1000, 100, 24, 120
TAKEN, CLOSED, UNKNOWN, UNFIT = "taken", "closed", "unknown", "unfit"  # what became of an answer


class FullClassError(QuantError):
    """A class has as many students as it may have."""


@dataclass(frozen=True)
class Given:
    """An answer as a phone sends it."""

    code: str
    token: str
    question: int
    round: int
    value: object


class Answers:
    """A file of classes; it is made where there is none.

    Raises:
        QuantError: as `Database`.

    Example:
        >>> import tempfile
        >>> question = Question("choice", "Which format?", truth=1, reveal="FP4.", options=("INT4", "FP4"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     answers = Answers(Path(folder) / "classes.sqlite")
        ...     code = answers.open("Formats", [question], key="")
        ...     answers.join(code, "token", "Ada")
        ...     _ = answers.act(code, "begin")
        ...     answers.record([Given(code, "token", 0, 1, 1)]), answers.votes(code, 0)
        (['taken'], {1: [1.0]})
    """

    def __init__(self, path: str | Path) -> None:
        """Open or make the file."""
        self._database = Database(Path(path), CLASSES)

    def open(self, title: str, questions: Sequence[Question], key: str) -> str:
        """Open a class of the teacher who has a key, and return its code.

        Raises:
            QuantError: for no questions or an unreadable title, and if there are too many classes.
        """
        validate_text(title, "title", MAX_TITLE)
        text = write_questions(Classroom(tuple(questions)).questions)
        read_questions(text)
        with self._database.writing() as connection:
            codes = {row[0] for row in connection.execute("SELECT code FROM class")}
            if len(codes) >= MAX_CLASSES:
                raise QuantError(f"there are {len(codes)} classes; end one that is over first")
            code = next(code for code in iter(_new_code, "") if code not in codes)
            connection.execute(
                "INSERT INTO class (code, key_hash, title, questions, created, position, phase, revision) "
                "VALUES (?, ?, ?, ?, ?, 0, 'lobby', 0)",
                (code, _hash(key), title, text, _now()),
            )
        return code

    def courses(self, key: str) -> list[Course]:
        """Return the classes of a teacher, the last opened first."""
        with self._database.reading() as connection:
            rows = connection.execute(OF_KEY, (_hash(key),)).fetchall()
        return [course_of(row) for row in rows]

    def course(self, code: str) -> Course | None:
        """Return the class of a code, None if there is none."""
        with self._database.reading() as connection:
            return found_course(connection, code)

    def act(self, code: str, action: str | int, revision: int | None = None) -> Course:
        """Do what the teacher asks for, and return where the class is; with `revision`, only if it still is there.

        Raises:
            QuantError: if there is no such class, it has moved on, or its phase does not have the action.
        """
        with self._database.writing() as connection:
            course = given_course(connection, code)
            validate_revision(course, revision)
            return moved_course(connection, course, course.room.after(action))

    def ask(self, code: str, question: Question, revision: int | None = None) -> Course:
        """Open the vote on a question, which the class gets if it has it not, and return where it is.

        Raises:
            QuantError: as `act`, and if the class has as many questions as it may have.
        """
        with self._database.writing() as connection:
            course = given_course(connection, code)
            validate_revision(course, revision)
            room, place = course.room, course.room.place_of(question.name)
            if place is None:
                room, place = replace(room, questions=(*room.questions, question)), len(room.questions)
                text = write_questions(room.questions)
                read_questions(text)
                connection.execute("UPDATE class SET questions = ? WHERE code = ?", (text, code))
            return moved_course(connection, course, room.after(place))

    def join(self, code: str, token: str, nickname: str) -> None:
        """Let a student in; one who is there already keeps the name.

        Raises:
            QuantError: if there is no such class, it is full, or nothing of the nickname can be read.
        """
        called = " ".join(readable(nickname).split())[:MAX_NICKNAME]
        if not called:
            raise QuantError(f"nickname={nickname[:20]!r} cannot be read; give letters")
        with self._database.writing() as connection:
            number = _number(connection, code)
            (students,) = connection.execute("SELECT count(*) FROM student WHERE class = ?", (number,)).fetchone()
            if students >= MAX_STUDENTS and not self._is_in(connection, number, token):
                raise FullClassError(f"class {code} has {students} students; open another class")
            connection.execute(
                "INSERT INTO student (class, token_hash, nickname, joined) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (class, token_hash) DO NOTHING",
                (number, _hash(token), called, _now()),
            )

    def nickname(self, code: str, token: str) -> str | None:
        """Return what a student of a class is called, None for who is none."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT nickname FROM student JOIN class ON class.id = class WHERE code = ? AND token_hash = ?",
                (code, _hash(token)),
            ).fetchone()
        return None if row is None else str(row[0])

    def record(self, given: Sequence[Given]) -> list[str]:
        """Keep answers in one transaction, and return what became of each; a later one replaces while the vote is open.

        `taken`; `closed` if the question is not being voted on; `unknown` for no student of the class; `unfit` for what
        is no answer to the question.
        """
        with self._database.writing() as connection:
            courses = {code: found_course(connection, code) for code in {one.code for one in given}}
            return [_record(connection, courses[one.code], one) for one in given]

    def votes(self, code: str, question: int) -> dict[int, list[float]]:
        """Return the answers to a question by round, in ascending order, which tells of nobody."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT round, value FROM answer JOIN student ON student.id = student JOIN class ON class.id = class "
                "WHERE code = ? AND question = ? ORDER BY round, value",
                (code, question),
            ).fetchall()
        return {turn: [value for each, value in rows if each == turn] for turn in sorted({row[0] for row in rows})}

    def own(self, code: str, token: str, question: int) -> dict[int, float]:
        """Return what one student has answered to a question, by round."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT round, value FROM answer JOIN student ON student.id = student JOIN class ON class.id = class "
                "WHERE code = ? AND token_hash = ? AND question = ?",
                (code, _hash(token), question),
            ).fetchall()
        return {int(turn): float(value) for turn, value in rows}

    def students(self, code: str) -> int:
        """Return how many have joined."""
        with self._database.reading() as connection:
            (found,) = connection.execute(
                "SELECT count(*) FROM student JOIN class ON class.id = class WHERE code = ?", (code,)
            ).fetchone()
        return int(found)

    def totals(self) -> tuple[int, int]:
        """Return how many students and answers all classes have together."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT (SELECT count(*) FROM student), (SELECT count(*) FROM answer)").fetchone()
        return int(row[0]), int(row[1])

    def record_of(self, code: str) -> list[tuple[str, int, int, float]]:
        """Return nickname, question, round and value of every answer; namesakes are numbered."""
        with self._database.reading() as connection:
            number = _number(connection, code)
            named = connection.execute("SELECT id, nickname FROM student WHERE class = ? ORDER BY id", (number,))
            called: dict[int, str] = {}
            for student, nickname in named.fetchall():
                taken, name, count = set(called.values()), nickname, 2
                while name in taken:
                    name, count = f"{nickname} ({count})", count + 1
                called[student] = name
            rows = connection.execute(
                "SELECT student, question, round, value FROM answer JOIN student ON student.id = student "
                "WHERE class = ? ORDER BY question, round, student",
                (number,),
            ).fetchall()
        return [(called[student], question, turn, value) for student, question, turn, value in rows]

    def delete(self, code: str) -> None:
        """Delete a class with its students and answers."""
        with self._database.writing() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("DELETE FROM class WHERE code = ?", (code,))

    @staticmethod
    def _is_in(connection: sqlite3.Connection, number: int, token: str) -> bool:
        row = connection.execute("SELECT 1 FROM student WHERE class = ? AND token_hash = ?", (number, _hash(token)))
        return row.fetchone() is not None


def _number(connection: sqlite3.Connection, code: str) -> int:
    row = connection.execute("SELECT id FROM class WHERE code = ?", (code,)).fetchone()
    if row is None:
        raise QuantError(f"there is no class {code[:20]!r}; give the code that the teacher shows")
    return int(row[0])


def _record(connection: sqlite3.Connection, course: Course | None, given: Given) -> str:
    student = connection.execute(
        "SELECT student.id FROM student JOIN class ON class.id = class WHERE code = ? AND token_hash = ?",
        (given.code, _hash(given.token)),
    ).fetchone()
    if course is None or student is None:
        return UNKNOWN
    if not given.round or (given.question, given.round) != (course.room.position, course.room.round):
        return CLOSED
    try:
        value = course.room.question.answer(given.value)
    except QuantError:
        return UNFIT
    connection.execute(
        "INSERT OR REPLACE INTO answer (student, question, round, value, given) VALUES (?, ?, ?, ?, ?)",
        (student[0], given.question, given.round, value, _now()),
    )
    return TAKEN


def _new_code() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()
