"""A class's answers as a table: CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from explorer.teaching.questions import Question

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run begins with one of them
COLUMNS = ("nickname", "question", "text", "round", "answer", "correct", "truth")


def csv_of(
    questions: Sequence[Question], record: Sequence[tuple[str, int, int, float]], words: Mapping[str, str]
) -> str:
    """Return a line for each answer: nickname, question, round, answer as it was read, if it was right, and the truth.

    `words` name the columns, and say `yes` and `no`; nothing is said of a question without a right answer.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([words[column] for column in COLUMNS])
    for nickname, place, turn, value in record:
        question = questions[place]
        is_right = question.is_right(value)
        right = "" if is_right is None else words["yes" if is_right else "no"]
        answer, truth = (_read(question, one) for one in (value, question.truth))
        writer.writerow([plain(nickname), place + 1, plain(question.text), turn, answer, right, truth])
    return out.getvalue()


def _read(question: Question, value: float | None) -> str:
    """Return an answer as it is read, empty for none; a number is one to a spreadsheet, too."""
    if value is None:
        return ""
    return plain(question.options[int(value)]) if question.options else f"{value:.4g}"


def plain(text: str) -> str:
    """Return a text that a spreadsheet shows as it is.

    >>> plain("=1+1"), plain("Ada")
    ("'=1+1", 'Ada')
    """
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text.startswith(FORMULA) else text
