"""What a teacher adds to a link: controls that are hidden or locked, answers that wait, and a lecture's slide."""

from __future__ import annotations

import re
from typing import Any

from explorer.fields import Choice, Field, Number, Text
from explorer.teaching.lecture import MAX_KEYS, MAX_SLIDES

APART = "."  # between keys
ASKED, HIDDEN, SHOWN = "asked", "hidden", "shown"
NAME = re.compile(r"[A-Za-z0-9_-]{0,60}")


def _read_keys(text: str) -> tuple[str, ...]:
    keys = tuple(text.split(APART)) if text else ()
    if len(keys) > MAX_KEYS or not all(re.fullmatch(r"[a-z][a-z0-9_]{0,59}", key) for key in keys):
        raise ValueError(text)
    return keys


def _read_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(text)
    return text


HIDE = Text("hide", _read_keys, APART.join, instead="instead_left_out")
LOCK = Text("lock", _read_keys, APART.join, instead="instead_left_out")
ANSWERS = Choice("answers", {word: word for word in (ASKED, HIDDEN, SHOWN)}, default=ASKED)
LECTURE = Text("lecture", _read_name, str, instead="instead_left_out")
SLIDE = Number("slide", 0, MAX_SLIDES, 0)  # 0: none
COURSE = Text("class", _read_name, str, instead="instead_left_out")  # the code of the class on display
FIELDS: tuple[Field[Any], ...] = (HIDE, LOCK, ANSWERS, LECTURE, SLIDE)
