"""A class's answers as a table: CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from explorer.teaching.questions import Question

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run begins with one of them
COLUMNS = ("nickname", "question", "round", "answer", "correct")


def csv_of(
    questions: Sequence[Question], record: Sequence[tuple[str, int, int, float]], words: Mapping[str, str]
) -> str:
    """Return a line for each answer: nickname, question's number, round, answer as it was read, and if it was right.

    `words` name the columns, and say `yes` and `no`; nothing is said of a question without a right answer.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([words[column] for column in COLUMNS])
    for nickname, place, turn, value in record:
        question = questions[place]
        answer = plain(question.options[int(value)]) if question.options else repr(value)
        is_right = question.is_right(value)
        right = "" if is_right is None else words["yes" if is_right else "no"]
        writer.writerow([plain(nickname), place + 1, turn, answer, right])
    return out.getvalue()


def plain(text: str) -> str:
    """Return a text that a spreadsheet shows as it is.

    >>> plain("=1+1"), plain("Ada")
    ("'=1+1", 'Ada')
    """
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text.startswith(FORMULA) else text
