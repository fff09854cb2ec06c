"""A lesson is short: what its five steps say, as the prose file has it, is read in a minute."""

from __future__ import annotations

import re

import pytest

from explorer.language import ENGLISH, read_file
from explorer.lessons import LESSONS
from explorer.lessons.framework.model import Lesson

MOST = 130  # words: without feedback, puzzles, labels and sources


def body(lesson: Lesson) -> list[str]:
    """What the steps say, from the lead to the question."""
    words = read_file(ENGLISH, lesson.slug)
    return [
        words["lead"],
        words["predict"]["prompt"],
        *words["predict"]["options"].values(),
        words["act"]["task"],
        words["reveal"]["text"],
        words["formula"]["text"],
        words["question"]["prompt"],
    ]


def words_of(texts: list[str]) -> int:
    """Words and numbers; what is filled in counts as one."""
    return sum(bool(re.search(r"\w", word)) for text in texts for word in text.split())


@pytest.mark.parametrize("slug", LESSONS)
def test_the_five_steps_of_a_lesson_have_few_words(slug: str) -> None:
    assert words_of(body(LESSONS[slug])) <= MOST


def test_every_lesson_has_puzzles() -> None:
    assert all(lesson.prose.puzzles for lesson in LESSONS.values())
