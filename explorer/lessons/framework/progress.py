"""What a student has done outlives the session: it is kept in the browser's own storage, and is a record to take away.

Links never hold it, and the server keeps it no longer than the session.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from explorer.fields import spoken
from explorer.lessons import LESSONS
from explorer.lessons.framework import answers
from explorer.lessons.framework.model import BEATS, Lesson
from explorer.lessons.framework.prose import words

KEY = "lessons_progress"
RESTORED = "lessons_restored"
_storage = st.components.v2.component(
    "quant_explorer_progress",
    html="",
    js="""// A browser may refuse its storage: progress then lasts as long as the session.
    const NAME = "quant-explorer-progress";
    const stored = () => { try { return localStorage.getItem(NAME); } catch { return null; } };
    const store = (text) => { try { localStorage.setItem(NAME, text); } catch { return; } };
    export default ({ data, setStateValue }) => {
      if (data.restored) store(data.progress); else setStateValue("kept", stored() ?? "{}");
    };""",
)


def keep() -> None:
    """Have the browser keep what has been done; the first time in a session, take up what it kept before."""
    restored = bool(st.session_state.get(RESTORED))
    _storage(key=KEY, data={"restored": restored, "progress": json.dumps(progress())}, on_kept_change=_restore)


def progress() -> dict[str, Any]:
    """Return what has been done in each lesson, as far as anything has."""
    found = {lesson.slug: answers.done_in(lesson) for lesson in LESSONS.values()}
    return {slug: done for slug, done in found.items() if done}


def ended() -> int:
    """Return how many lessons are done to their end."""
    return sum(answers.is_done(lesson, BEATS[-1]) for lesson in LESSONS.values())


def stopped_at() -> Lesson:
    """Return the last lesson that was begun and not ended, else the first that was not ended, else the first."""
    open_ones = [lesson for lesson in LESSONS.values() if not answers.is_done(lesson, BEATS[-1])]
    begun = [lesson for lesson in open_ones if answers.done_in(lesson)]
    return begun[-1] if begun else (open_ones or list(LESSONS.values()))[0]


def _restore() -> None:
    """Take up what the browser kept (a callback)."""
    restore(st.session_state[KEY].kept or "{}")
    st.session_state[RESTORED] = True


def restore(text: str) -> None:
    """Take up what was done in earlier sessions, where this session has nothing yet."""
    try:
        kept = json.loads(text)
    except ValueError:
        st.toast(words()["progress_unreadable"])
        return
    for slug, done in kept.items() if isinstance(kept, dict) else ():
        if slug in LESSONS and isinstance(done, dict):
            answers.take_up(LESSONS[slug], done)


def record() -> str:
    """Return what has been predicted, found and answered, as Markdown."""
    lines = [f"# {words()['record_title']}", ""]
    for slug, done in progress().items():
        lines += [f"## {LESSONS[slug].number} {LESSONS[slug].prose.title}", "", *_told(LESSONS[slug], done), ""]
    return "\n".join(lines)


def _told(lesson: Lesson, done: Mapping[str, Any]) -> list[str]:
    said = words()
    steps = ", ".join(spoken(beat) for beat in BEATS if answers.is_done(lesson, beat))
    lines = [said["record_steps"].format(steps=steps)]
    if total := len(lesson.prose.puzzles):
        lines.append(said["record_puzzles"].format(n=len(done.get("solved", ())), total=total))
    return [f"- {line}" for line in (*lines, *answers.told_prediction(lesson), *answers.told_answers(lesson))]
