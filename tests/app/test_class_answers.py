"""The file of classes: what was confirmed outlives a kill, open votes are replaced, and nobody is named."""

from __future__ import annotations

import csv
import io
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from explorer.teaching.answers import CLOSED, LETTERS, TAKEN, UNFIT, UNKNOWN, Answers, Given
from explorer.teaching.classroom import Classroom
from explorer.teaching.own_question import own_question
from explorer.teaching.spread import spread_of
from explorer.teaching.table import COLUMNS, csv_of
from quant_engine import QuantError
from tests.app.test_class_questions import CHOICE, NUMBER, RANGE

WORDS = {**{name: name for name in COLUMNS}, "yes": "yes", "no": "no"}


@pytest.fixture
def answers(tmp_path: pathlib.Path) -> Answers:
    return Answers(tmp_path / "classes.sqlite")


@pytest.fixture
def code(answers: Answers) -> str:
    opened = answers.open("Formats", [CHOICE, NUMBER, RANGE], key="secret")
    for name in ("ada", "bob"):
        answers.join(opened, f"token of {name}", name)
    return opened


def given(code: str, value: object, who: str = "ada", question: int = 0, turn: int = 1) -> Given:
    return Given(code, f"token of {who}", question, turn, value)


def test_a_class_goes_on_in_another_process_where_it_was(answers: Answers, code: str, tmp_path: pathlib.Path) -> None:
    answers.act(code, "begin")
    course = Answers(tmp_path / "classes.sqlite").course(code)
    assert course is not None
    assert course.room == Classroom((CHOICE, NUMBER, RANGE), 0, "open", asked=(0,))
    assert [one.code for one in answers.courses("secret")] == [code]
    assert answers.courses("another's") == []
    assert set(code) <= set(LETTERS)


def test_an_answer_replaces_the_former_while_the_vote_is_open_and_never_after(answers: Answers, code: str) -> None:
    assert answers.record([given(code, 1)]) == [CLOSED]
    answers.act(code, "begin")
    assert answers.record([given(code, 1), given(code, 2), given(code, 0, "bob")]) == [TAKEN] * 3
    assert answers.votes(code, 0) == {1: [0.0, 2.0]}
    answers.act(code, "close")
    assert answers.record([given(code, 1)]) == [CLOSED]
    for action in ("spread", "again"):
        answers.act(code, action)
    assert answers.record([given(code, 0), given(code, 1, turn=2)]) == [CLOSED, TAKEN]
    assert answers.votes(code, 0) == {1: [0.0, 2.0], 2: [1.0]}
    assert answers.own(code, "token of ada", 0) == {1: 2.0, 2: 1.0}


def test_a_question_that_the_class_has_not_is_added_and_asked_and_others_are_asked_in_their_place(
    answers: Answers, code: str
) -> None:
    own = own_question({"kind": "choice", "text": "Lunch?", "options": ["now", "later"]})
    assert answers.ask(code, own).room.position == 3
    assert answers.record([given(code, 1, question=3)]) == [TAKEN]
    for action in ("close", "reveal", "next"):
        course = answers.act(code, action)
    assert (course.room.position, course.room.number) == (0, 2)
    again = answers.ask(code, own).room
    assert (again.position, len(again.questions)) == (3, 4)
    with pytest.raises(QuantError, match="moved on"):
        answers.ask(code, own, revision=0)
    rows = list(csv.reader(io.StringIO(csv_of(again.questions, answers.record_of(code), WORDS))))
    assert rows[1] == ["ada", "4", "Lunch?", "1", "later", "", ""]  # an opinion is neither right nor wrong


def test_a_file_of_the_version_before_goes_on(answers: Answers, code: str, tmp_path: pathlib.Path) -> None:
    answers.act(code, "begin")
    with sqlite3.connect(tmp_path / "classes.sqlite") as connection:
        connection.execute("ALTER TABLE class DROP COLUMN asked")
        connection.execute("PRAGMA user_version = 1")
    older = Answers(tmp_path / "classes.sqlite")
    for action in ("close", "reveal", "next"):
        course = older.act(code, action)
    assert (course.room.position, course.room.phase) == (1, "open")


def test_what_is_no_answer_of_a_student_of_the_class_is_not_kept(answers: Answers, code: str) -> None:
    answers.act(code, "begin")
    sent = [given(code, 1, "eve"), given("AAAAAA", 1), given(code, 7), given(code, "1"), given(code, 1, question=1)]
    assert answers.record(sent) == [UNKNOWN, UNKNOWN, UNFIT, UNFIT, CLOSED]
    assert answers.votes(code, 0) == {}


def test_who_joins_twice_is_one_student_with_the_first_name(answers: Answers, code: str) -> None:
    answers.join(code, "token of ada", "Eve")
    assert (answers.students(code), answers.nickname(code, "token of ada")) == (2, "ada")
    assert answers.nickname(code, "token of eve") is None


@pytest.mark.parametrize(
    ("asked", "called"),
    [
        ("  Ada \n Lovelace ", "Ada Lovelace"),
        ("\u202eadA\u0000", "adA"),
        ("x" * 99, "x" * 24),
        ("<script>", "<script>"),
    ],
)
def test_a_nickname_is_readable_and_short(answers: Answers, code: str, asked: str, called: str) -> None:
    answers.join(code, "new", asked)
    assert answers.nickname(code, "new") == called


@pytest.mark.parametrize("asked", ["", " ", "\u200b\u202e\n"])
def test_a_nickname_that_nobody_can_read_is_refused(answers: Answers, code: str, asked: str) -> None:
    with pytest.raises(QuantError, match="nickname"):
        answers.join(code, "new", asked)


def test_two_windows_that_press_next_at_once_go_on_by_one(answers: Answers, code: str) -> None:
    course = answers.course(code)
    assert course is not None
    answers.act(code, "begin", course.revision)
    with pytest.raises(QuantError, match="moved on"):
        answers.act(code, "begin", course.revision)
    with pytest.raises(QuantError, match="no class"):
        answers.act("AAAAAA", "begin")


def test_students_that_answer_at_once_are_all_counted(answers: Answers, code: str) -> None:
    for number in range(40):
        answers.join(code, f"token of {number}", f"student {number}")
    answers.act(code, "begin")
    threads = [
        threading.Thread(target=answers.record, args=([given(code, n % 3, str(n)) for n in range(start, 40, 4)],))
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spread_of(CHOICE, answers.votes(code, 0)[1]).counts == (14, 13, 13)


def test_the_table_holds_nicknames_and_no_formulas(answers: Answers, code: str) -> None:
    for name in ("=cmd()", "ada", " @x"):
        answers.join(code, f"token of {name}!", name)
    answers.act(code, "begin")
    answers.record([given(code, 1, who) for who in ("ada", "=cmd()!", "ada!", " @x!")])
    rows = list(csv.reader(io.StringIO(csv_of([CHOICE], answers.record_of(code), WORDS))))
    assert rows == [
        list(COLUMNS),
        *([name, "1", "Which?", "1", "two", "yes", "two"] for name in ("ada", "'=cmd()", "ada (2)", "'@x")),
    ]


def test_a_class_that_is_deleted_leaves_nothing(answers: Answers, code: str, tmp_path: pathlib.Path) -> None:
    answers.act(code, "begin")
    answers.record([given(code, 1)])
    answers.delete(code)
    assert answers.course(code) is None
    with sqlite3.connect(tmp_path / "classes.sqlite") as connection:
        for table in ("class", "student", "answer"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert b"Formats" not in (tmp_path / "classes.sqlite").read_bytes()


WRITER = """
import sys
from explorer.teaching.answers import Answers, Given
answers, code = Answers(sys.argv[1]), sys.argv[2]
n = 0
while True:
    answers.join(code, str(n), f"student {n}")
    answers.record([Given(code, str(n), 0, 1, n % 3)])
    print(n, flush=True)
    n += 1
"""


@pytest.mark.full
def test_what_was_confirmed_before_a_kill_is_there_after_it(
    answers: Answers, code: str, tmp_path: pathlib.Path
) -> None:
    answers.act(code, "begin")
    command = [sys.executable, "-c", WRITER, str(tmp_path / "classes.sqlite"), code]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=pathlib.Path(__file__).parents[2])
    assert writer.stdout is not None
    confirmed = [int(writer.stdout.readline()) for _ in range(30)]
    os.kill(writer.pid, signal.SIGKILL)
    confirmed += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    assert len(Answers(tmp_path / "classes.sqlite").votes(code, 0)[1]) in (len(confirmed), len(confirmed) + 1)
