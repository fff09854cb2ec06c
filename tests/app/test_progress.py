"""Progress: what is kept of a lesson comes back, what makes no sense does not, and the record says it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from explorer.lessons import LESSONS


def restoring(kept: str, **state: Any) -> dict[str, Any]:
    """What progress is after a browser has told what it kept."""

    def script(kept, state):  # type: ignore[no-untyped-def]
        import streamlit as st

        from explorer.lessons.framework import progress

        st.session_state.update(state)
        progress.restore(kept)
        st.session_state["found"] = progress.progress()
        st.session_state["record"] = progress.record()
        st.session_state["next"] = progress.ended(), progress.stopped_at().slug

    at = AppTest.from_function(script, kwargs={"kept": kept, "state": state}).run()
    assert not at.exception
    return {"found": at.session_state["found"], "record": at.session_state["record"], "next": at.session_state["next"]}


DONE = {"clipping": {"prediction": "falls", "answers": {"a": 0.25}, "solved": [0], "done": ["See", "Try"]}}


def test_what_the_browser_kept_comes_back() -> None:
    assert restoring(json.dumps(DONE))["found"] == DONE


def test_what_this_session_has_done_goes_before_what_was_kept() -> None:
    found = restoring(json.dumps(DONE), clipping_prediction="same", clipping_answers={"a": 0.5})["found"]
    assert found["clipping"]["prediction"] == "same"
    assert found["clipping"]["answers"] == {"a": 0.5}


@pytest.mark.parametrize(
    "kept",
    [
        "{",
        "[]",
        "null",
        '{"no_such_lesson": {"prediction": "x"}}',
        '{"clipping": 3}',
        '{"clipping": {"prediction": "no such option", "answers": [1], "solved": [99, "x", null], "done": ["Sleep"]}}',
        '{"clipping": {"prediction": {"a": 1}, "answers": {"a": [1]}, "solved": 3}}',
    ],
)
def test_what_makes_no_sense_is_left(kept: str) -> None:
    assert restoring(kept)["found"] == {}


def test_the_record_names_the_lesson_the_prediction_and_the_answer() -> None:
    lines = restoring(json.dumps(DONE))["record"].splitlines()
    assert f"## 5 {LESSONS['clipping'].prose.title}" in lines
    assert "- You predicted: falls" in lines
    assert "- Answered: 0.25" in lines
    assert any(line.startswith("- Steps done: Predict, Try, See") for line in lines)


def test_the_record_says_answers_and_predictions_as_they_were_read_and_which_were_right() -> None:
    done = {
        "prediction": "biggest",
        "predicted": "The biggest: fc1",
        "answers": {"a": "conv1", "b": "fc2"},
        "right": {"a": "conv2"},
    }
    found = restoring(json.dumps({"mixed": done}))
    assert found["found"] == {"mixed": done}
    told = found["record"].splitlines()
    for line in ("You predicted: The biggest: fc1", "Answered: conv2 (right)", "Answered: fc2"):
        assert f"- {line}" in told


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ({}, (0, "bits")),
        (DONE, (0, "clipping")),
        ({"bits": {"done": ["Check"]}}, (1, "formats")),
        ({"bits": {"done": ["Check"]}, **DONE}, (1, "clipping")),
        ({slug: {"done": ["Check"]} for slug in LESSONS}, (11, "bits")),
    ],
)
def test_the_course_goes_on_where_it_was_left(done: dict[str, Any], expected: tuple[int, str]) -> None:
    assert restoring(json.dumps(done))["next"] == expected
