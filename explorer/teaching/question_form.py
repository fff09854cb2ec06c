"""The form in which a teacher writes a question, and the menu in which one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from explorer.language import read_words
from explorer.sentences import inert
from explorer.teaching.builtin import QUESTIONS, question_named, title_of
from explorer.teaching.own_question import MAX_OPTIONS, own_question, own_record
from explorer.teaching.questions import MAX_OPTION, MAX_TEXT, MAX_UNIT, Question, readable

WRITTEN = "written"  # stands in the menu for a question that the teacher writes
KINDS = ("choice", "number")
Made = Callable[[], "str | Question"]


def choose_question(question: str | Question, key: str) -> Made:
    """Draw the menu of questions with the form of one's own, and return what makes of them what a slide asks."""
    said, options = read_words("teach")["add"], ["", WRITTEN, *QUESTIONS]
    now = WRITTEN if isinstance(question, Question) else question
    chosen = st.selectbox(
        said["question"],
        options,
        options.index(now) if now in options else 0,
        format_func=lambda name: {"": said["no_question"], WRITTEN: said["own_question"]}.get(name) or title_of(name),
        key=f"{key}_question",
        help=said["question_help"],
    )
    if chosen == WRITTEN:
        return write_question(question if isinstance(question, Question) else None, key)
    if chosen:
        with st.spinner(read_words("teach")["playing"]["working_out"]):
            st.caption(inert(question_named(chosen).text))
    return lambda: chosen


def write_question(question: Question | None, key: str) -> Callable[[], Question]:
    """Draw the form of a question, and return what makes the question of it or raises a `QuantError`."""
    said = read_words("teach")["own"]
    held: Mapping[str, Any] = own_record(question) if question else {}
    with st.container(border=True, key=f"{key}_own", gap="xsmall"):
        text = st.text_area(said["text"], held.get("text", ""), key=f"{key}_text", max_chars=MAX_TEXT, height=70)
        kind = st.segmented_control(
            said["kind"],
            KINDS,
            default=held.get("kind", KINDS[0]),
            required=True,
            format_func=said["kinds"].__getitem__,
            key=f"{key}_kind",
        )
        parts = (_number if kind == "number" else _choice)(held, key, said)
        reveal = st.text_input(
            said["reveal"], held.get("reveal", ""), key=f"{key}_reveal", max_chars=MAX_TEXT, help=said["reveal_help"]
        )
    kept = {**parts, "text": _line(text), "reveal": _line(reveal)}
    return lambda: own_question({"kind": kind, **{name: part for name, part in kept.items() if part not in ("", None)}})


def _choice(held: Mapping[str, Any], key: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the options, one a line, and which of them is correct."""
    longest = MAX_OPTIONS * (MAX_OPTION + 1)
    lines = st.text_area(
        said["options"].format(n=MAX_OPTIONS),
        "\n".join(held.get("options", ())),
        key=f"{key}_options",
        max_chars=longest,
        height=120,
    )
    options = [line for line in map(_line, lines.splitlines()) if line]
    places = [None, *range(len(options))]
    truth = held.get("truth")
    right = st.selectbox(
        said["right"],
        places,
        places.index(int(truth)) if truth is not None and int(truth) in places else 0,
        format_func=lambda place: said["no_right"] if place is None else options[place],
        key=f"{key}_right",
        help=said["right_help"],
    )
    return {"options": options, "truth": right}


def _number(held: Mapping[str, Any], key: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Draw between which numbers the answer is, the correct one, how far from it is right, and the unit."""
    usual = {"low": 0.0, "high": 100.0, "truth": None, "tolerance": 0.0}
    parts: dict[str, Any] = {}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key=f"{key}_numbers"):
        for name, value in usual.items():
            parts[name] = st.number_input(
                said[name],
                min_value=0.0 if name == "tolerance" else None,
                value=held.get(name, 1.0 if name == "high" and held.get("kind") == KINDS[1] else value),
                step=None,
                format="%.6g",
                key=f"{key}_{name}",
                width=105,
            )
        parts["unit"] = _line(
            st.text_input(said["unit"], held.get("unit", ""), key=f"{key}_unit", max_chars=MAX_UNIT, width=105)
        )
    return parts


def _line(text: str) -> str:
    """Return text on one line, without what cannot be read."""
    return " ".join(readable(" ".join(text.split())).split())
