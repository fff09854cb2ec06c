"""Questions of a class, and how it goes through them: nothing false is asked, and the truth stays here until told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.teaching.classroom import Classroom
from explorer.teaching.histogram import Histogram
from explorer.teaching.own_question import own_question, own_record
from explorer.teaching.questions import Question, Wording, asked, read_questions, told, write_questions
from quant_engine import QuantError

VALUES = np.random.default_rng(0).standard_normal(4000)
CHOICE = Question("choice", "Which?", truth=1, reveal="The second.", options=("one", "two", "three"), ties=(2,))
NUMBER = Question("number", "How many?", truth=139, reveal="139.", low=0, high=256, tolerance=8)
RANGE = Question(
    "range", "Where?", truth=2.5, reveal="Here.", histogram=Histogram.of(VALUES), bits=4, steps=7, tolerance=0.2
)
PUZZLE = Question(
    "puzzle",
    "Clip little.",
    truth=2.6,
    reveal="So.",
    histogram=Histogram.of(VALUES),
    bits=4,
    steps=7,
    max_clipped=0.02,
    max_error=0.8,
)
ALL = (CHOICE, NUMBER, RANGE, PUZZLE)


def test_questions_come_back_from_text_as_they_were() -> None:
    assert read_questions(write_questions(ALL)) == ALL


@pytest.mark.parametrize("question", ALL, ids=lambda question: question.kind)
def test_what_a_phone_is_asked_does_not_hold_the_truth(question: Question) -> None:
    assert not asked(question).keys() & told(question).keys()
    assert question.reveal not in json.dumps(asked(question))


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "essay"},
        {"text": ""},
        {"text": "x" * 601},
        {"text": "turned \u202e about"},
        {"truth": float("nan")},
        {"truth": 3},
        {"truth": 0.5},
        {"options": ["one"]},
        {"options": ["one", "one"]},
        {"options": ["x"] * 9},
        {"options": "two"},
        {"ties": [3]},
        {"tolerance": -1},
        {"bits": 17},
        {"histogram": "none"},
        {"of_the_future": 1},
        {"schema": 2},
    ],
)
def test_a_record_that_was_tampered_with_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(QuantError):
        read_questions(json.dumps([{**json.loads(CHOICE.to_json()), **changed}]))


@pytest.mark.parametrize(
    "changed",
    [
        {"edges": [0.0, 1.0]},
        {"edges": [-1.0, 0.5, 0.25]},
        {"edges": [-2.0, 0.0, 1.0]},
        {"counts": [1.0, -1.0]},
        {"counts": [0.0, 0.0]},
        {"sums": [float("inf"), 0.0]},
        {"squares": [1.0] * 500},
    ],
)
def test_a_histogram_that_cannot_be_is_refused(changed: dict[str, list[float]]) -> None:
    sound = {"edges": [-1.0, 0.0, 1.0], "counts": [1.0, 1.0], "sums": [-0.5, 0.5], "squares": [0.25, 0.25]}
    Histogram(**{name: tuple(part) for name, part in sound.items()})
    with pytest.raises(QuantError):
        Histogram(**{**sound, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "[1]", "[" * 5000, '["a"]', json.dumps([{}] * 61)])
def test_what_is_no_list_of_questions_is_refused(text: str) -> None:
    with pytest.raises(QuantError):
        read_questions(text)


@given(place=st.integers(0, 79), signed=st.booleans())
def test_the_clipped_error_of_a_histogram_is_that_of_its_values(place: int, signed: bool) -> None:
    values = VALUES if signed else np.maximum(VALUES, 0)
    histogram = Histogram.of(values)
    beta = histogram.betas[place]
    many_steps = 1 << 16  # the rounding error is nothing
    assert histogram.mse(beta, many_steps) == pytest.approx(
        np.mean((values - np.clip(values, -beta, beta)) ** 2), abs=1e-9
    )
    assert histogram.clipped(beta) == pytest.approx(np.mean(np.abs(values) > beta), abs=1e-12)


def test_answers_are_right_by_truth_tie_distance_or_goal() -> None:
    assert [CHOICE.is_right(CHOICE.answer(place)) for place in range(3)] == [False, True, True]
    assert [NUMBER.is_right(NUMBER.answer(n)) for n in (130, 131, 147, 148)] == [False, True, True, False]
    assert [PUZZLE.is_right(beta) for beta in (PUZZLE.truth, max(np.abs(VALUES)), 0.5)] == [True, False, False]


@pytest.mark.parametrize("answer", [None, "1", True, -1, 3, 0.5, float("nan"), 10**400, [1]])
def test_what_is_no_option_is_no_answer(answer: object) -> None:
    with pytest.raises(QuantError):
        CHOICE.answer(answer)


@pytest.mark.parametrize("answer", [0.0, -1.0, 100.0, float("inf"), "2"])
def test_a_range_ends_within_the_tensor(answer: object) -> None:
    with pytest.raises(QuantError):
        RANGE.answer(answer)


def test_a_puzzle_that_its_own_answer_does_not_solve_is_refused() -> None:
    with pytest.raises(QuantError):
        Question("puzzle", "?", 0.5, "!", histogram=PUZZLE.histogram, bits=4, steps=7, max_clipped=0.01, max_error=0.5)


def test_a_class_votes_twice_and_sees_the_truth_last() -> None:
    room = Classroom((CHOICE, NUMBER))
    seen = []
    for action in ("begin", "close", "spread", "again", "reveal", "next", "close", "open", "close", "reveal", "next"):
        room = room.after(action)
        seen.append((room.position, room.round, room.is_spread_shown, room.is_revealed))
    assert seen == [
        (0, 1, False, False),
        (0, 0, False, False),
        (0, 0, True, False),
        (0, 2, False, False),
        (0, 0, True, True),
        (1, 1, False, False),
        (1, 0, False, False),
        (1, 1, False, False),
        (1, 0, False, False),
        (1, 0, True, True),
        (1, 0, False, False),
    ]
    assert (room.phase, room.after("resume").phase) == ("ended", "revealed")


def test_the_next_question_is_the_first_that_was_not_asked() -> None:
    room = Classroom((CHOICE, NUMBER, RANGE)).after(1)
    places = [room.position]
    while room.phase != "ended":
        for action in ("close", "reveal", "next"):
            room = room.after(action)
        places.append(room.position)
    assert places[:3] == [1, 2, 0]
    assert room.asked == (1, 2, 0)


# --- a teacher's own --------------------------------------------------------------------------------------------------

POLL: dict[str, Any] = {"kind": "choice", "text": "Lunch?", "options": ["now", "later"]}
GUESS: dict[str, Any] = {"kind": "number", "text": "How many?", "truth": 12, "low": 0, "high": 20, "tolerance": 2}


@pytest.mark.parametrize("given", [POLL, {**POLL, "truth": 1, "reveal": "Later."}, GUESS, {**GUESS, "unit": "%"}])
def test_a_question_of_the_teachers_comes_back_from_its_record_under_the_same_name(given: dict[str, Any]) -> None:
    question = own_question(given)
    assert question.is_own
    again = own_question(json.loads(json.dumps(own_record(question))))
    assert (again, again.name) == (question, question.name)
    assert own_question({**given, "text": "Another?"}).name != question.name
    assert read_questions(write_questions([question])) == (question,)


def test_an_opinion_is_neither_right_nor_wrong_and_a_guess_is_right_near_the_truth() -> None:
    assert own_question(POLL).is_right(1.0) is None
    assert [own_question(GUESS).is_right(value) for value in (9.9, 10.0, 14.0, 14.1)] == [False, True, True, False]


@pytest.mark.parametrize(
    "given",
    [
        {**POLL, "kind": "puzzle"},
        {**POLL, "text": ""},
        {**POLL, "text": "x" * 601},
        {**POLL, "text": "two\nlines"},
        {**POLL, "text": ["a"]},
        {**POLL, "options": ["one"]},
        {**POLL, "options": ["a", "a"]},
        {**POLL, "options": [*"abcdefg"]},
        {**POLL, "options": ["a", "x" * 121]},
        {**POLL, "options": "ab"},
        {**POLL, "truth": 2},
        {**POLL, "truth": "now"},
        {**POLL, "truth": True},
        {**POLL, "name": "four_formats"},
        {**POLL, "wordings": []},
        {**GUESS, "truth": None},
        {**GUESS, "truth": 21},
        {**GUESS, "high": 0},
        {**GUESS, "high": 1e999},
        {**GUESS, "tolerance": -1},
        {**GUESS, "unit": "x" * 41},
        {**GUESS, "histogram": {}},
        [],
        None,
    ],
)
def test_what_is_no_question_of_a_teacher_is_refused(given: object) -> None:
    with pytest.raises(QuantError):
        own_question(given)


def test_a_question_is_said_in_the_language_of_the_phone_and_asked_without_the_others() -> None:
    german = Wording("de", "Welches?", "Das zweite.", ("eins", "zwei", "drei"))
    question = replace(CHOICE, wordings=(german,))
    assert asked(question.worded("de"))["options"] == german.options
    assert told(question.worded("de"))["reveal"] == german.reveal
    assert asked(question.worded("fr"))["text"] == CHOICE.text
    assert german.reveal not in json.dumps(asked(question))
    with pytest.raises(QuantError, match="options"):
        replace(CHOICE, wordings=(Wording("de", "?", "!", ("eins",)),))


@pytest.mark.parametrize("action", ["reveal", "next", "begin", "again", ""])
def test_what_an_open_question_does_not_allow_is_refused(action: str) -> None:
    with pytest.raises(QuantError):
        Classroom((CHOICE,), phase="open").after(action)


@pytest.mark.parametrize(("position", "phase"), [(1, "open"), (-1, "open"), (0, "later")])
def test_a_class_is_at_one_of_its_questions(position: int, phase: str) -> None:
    with pytest.raises(QuantError):
        Classroom((CHOICE,), position, phase)
