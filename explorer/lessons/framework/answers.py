"""What a student has predicted, answered and done in a lesson, kept for the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from explorer import controls
from explorer.caches import ResultKey
from explorer.lessons.framework.model import BEATS, Choices, Lesson
from explorer.lessons.framework.prose import words
from explorer.notation import short
from explorer.teaching.fields import ANSWERS, ASKED, SHOWN


def prediction_key(lesson: Lesson) -> str:
    """Return the key of the prediction's control."""
    return f"{lesson.slug}_prediction"


def anyway_key(lesson: Lesson) -> str:
    """Return the key of the control that shows results without a prediction."""
    return f"{lesson.slug}_show_anyway"


def prediction(lesson: Lesson) -> str | None:
    """Return the option that was predicted."""
    return st.session_state.get(prediction_key(lesson))


def is_told(lesson: Lesson) -> bool:
    """Say whether what is predicted may be shown."""
    asked = controls.current(ANSWERS)
    predicted = prediction(lesson) is not None or bool(st.session_state.get(anyway_key(lesson)))
    return asked == SHOWN or (asked == ASKED and predicted)


def asked_in(lesson: Lesson, subject: ResultKey) -> str:
    """Return what names the question of a tensor under the lesson's settings: another state asks another question."""
    texts = (str(st.session_state.get(f.key, st.query_params.get(f.key, f.default))) for f in lesson.fields)
    held = (f.parse(text) if f.accepts(text) else f.default for f, text in zip(lesson.fields, texts, strict=True))
    return str(ResultKey("question", subject, *held))


def answers(lesson: Lesson) -> dict[str, str | float]:
    """Return the last answers by what was asked: an option's label, or a place on an axis."""
    found: dict[str, str | float] = st.session_state.setdefault(f"{lesson.slug}_answers", {})
    return found


def right_answers(lesson: Lesson) -> dict[str, str | float]:
    """Return the answers that were right, by what was asked."""
    found: dict[str, str | float] = st.session_state.setdefault(f"{lesson.slug}_right", {})
    return found


def note(lesson: Lesson, asked: str, answer: str | float, right: bool) -> None:
    """Keep an answer (a callback)."""
    answers(lesson)[asked] = answer
    if right:
        right_answers(lesson)[asked] = answer
        note_done(lesson, BEATS[-1])


def note_option(lesson: Lesson, asked: str, key: str, options: Choices) -> None:
    """Keep the option that a control holds (a callback)."""
    chosen = _held(key, [option.key for option in options.options])
    if chosen is not None:
        note(lesson, asked, options.option(chosen).label, options.is_right(chosen))


def note_prediction(lesson: Lesson, labels: Mapping[str, str]) -> None:
    """Keep how the option that was predicted reads (a callback)."""
    chosen = _held(prediction_key(lesson), list(labels))
    if chosen is not None:
        st.session_state[f"{lesson.slug}_predicted"] = labels[chosen]


def _held(key: str, options: Sequence[str]) -> str | None:
    """Return what a control holds, and free it of a label that was pressed while other options took its place."""
    held: str | None = st.session_state[key]
    if held in options:
        return held
    st.session_state[key] = None
    return None


def told_prediction(lesson: Lesson) -> list[str]:
    """Say what was predicted, if anything was."""
    if (chosen := prediction(lesson)) is None:
        return []
    label = st.session_state.get(f"{lesson.slug}_predicted", lesson.prose.predictions[chosen])
    return [f"{words()['you_predicted']}: {label}"]


def told_answers(lesson: Lesson) -> list[str]:
    """Say what was answered to each question, the right answer where it was found."""
    right = right_answers(lesson)
    return [
        words()["record_right" if asked in right else "record_answer"].format(
            answer=answer if isinstance(answer, str) else short(answer)
        )
        for asked, answer in {**answers(lesson), **right}.items()
    ]


def solved(lesson: Lesson, now: tuple[bool, ...]) -> list[bool]:
    """Return which puzzles have been solved in this session, with those that are `now` and were not when last seen.

    What is as a puzzle wants it when the step opens is no one's doing.
    """
    found: set[int] = st.session_state.setdefault(f"{lesson.slug}_solved", set())
    unsolved: set[int] = st.session_state.setdefault(f"{lesson.slug}_unsolved", set())
    found.update(number for number, one in enumerate(now) if one and number in unsolved)
    unsolved.update(number for number, one in enumerate(now) if not one)
    return [number in found for number in range(len(now))]


def note_done(lesson: Lesson, beat: str) -> None:
    """Keep that a step is done."""
    st.session_state.setdefault(f"{lesson.slug}_done", set()).add(beat)


def is_done(lesson: Lesson, beat: str) -> bool:
    """Say whether a step is done: the first by a prediction, the last by a right answer, the others by going on."""
    if beat == BEATS[0]:
        return prediction(lesson) is not None
    return beat in st.session_state.get(f"{lesson.slug}_done", ())


def done_in(lesson: Lesson) -> dict[str, Any]:
    """Return what has been done in a lesson in this session, as JSON has it, without what has not."""
    parts = {
        "prediction": prediction(lesson),
        "predicted": st.session_state.get(f"{lesson.slug}_predicted"),
        "answers": answers(lesson),
        "right": right_answers(lesson),
        "solved": sorted(st.session_state.get(f"{lesson.slug}_solved", ())),
        "done": sorted(st.session_state.get(f"{lesson.slug}_done", ())),
    }
    return {name: part for name, part in parts.items() if part}


def take_up(lesson: Lesson, done: Mapping[str, Any]) -> None:
    """Take up what was done in an earlier session, where this one has nothing yet; what makes no sense is left."""
    state, chosen = st.session_state, done.get("prediction")
    if isinstance(chosen, str) and chosen in lesson.prose.predictions and prediction(lesson) is None:
        state[prediction_key(lesson)] = chosen
        if isinstance(read := done.get("predicted"), str):
            state[f"{lesson.slug}_predicted"] = read
    for name, now in (("answers", answers(lesson)), ("right", right_answers(lesson))):
        if isinstance(given := done.get(name), dict):
            sound = {asked: one for asked, one in given.items() if isinstance(one, str | float)}
            state[f"{lesson.slug}_{name}"] = {**sound, **now}
    for name, known in (("solved", range(len(lesson.prose.puzzles))), ("done", BEATS)):
        if isinstance(kept := done.get(name), list):
            key = f"{lesson.slug}_{name}"
            state[key] = set(state.get(key, ())).union(one for one in kept if one in known)


def forget(lesson: Lesson) -> None:
    """Forget what has been predicted, answered and done in a lesson in this session."""
    state, slug = st.session_state, lesson.slug
    for name in ("answers", "right", "solved", "unsolved", "done", "predicted", "part_shown"):
        state.pop(f"{slug}_{name}", None)
    for key in [str(key) for key in state]:
        if key == prediction_key(lesson) or key.startswith(f"{slug}_answer_"):
            state[key] = None
        elif key in (anyway_key(lesson), f"{slug}_handout"):
            state[key] = False
