"""Questions that a class answers: their text, the real tensor they are about, and the truth that the engine computed.

A phone is told `asked(question)`, from which the answer cannot be read, and `told(question)` once it is revealed.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from explorer.teaching.histogram import Histogram
from quant_engine import QuantError
from quant_engine.checks import as_choice, as_instance, as_integer, as_list, as_number
from quant_engine.records import Record, parse_json, to_record

MAX_TEXT, MAX_OPTION, MAX_UNIT = 600, 120, 40
MAX_OPTIONS, MAX_QUESTIONS, MAX_BITS, MAX_NAME, MAX_WORDINGS = 8, 60, 16, 60, 40
OWN = "own_"  # how names of teachers' own questions begin
MAX_JSON = 4 << 20  # characters of a set of questions
UNREADABLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # controls, marks that turn the direction of text, and the like


@dataclass(frozen=True)
class Wording(Record):
    """What a question says in a language.

    Raises:
        QuantError: as `Question`.
    """

    language: str
    text: str
    reveal: str
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every text."""
        validate_text(self.language, "language", MAX_NAME)
        object.__setattr__(self, "options", _texts(self.text, self.reveal, self.options))


@dataclass(frozen=True)
class Question(Record):
    """What a class is asked.

    Attributes:
        kind: `choice` of one option, a `number`, a `range` (β on a histogram), or a `puzzle` (a β that meets goals).
        text: the question, in the teacher's language.
        truth: what the engine computed: an option's place, a number, the β of least error, or a β that meets the goals;
            a teacher's own question knows it from the teacher, and a choice may have none.
        reveal: what is said when the truth is shown, empty for nothing beyond it.
        options: what is chosen from.
        ties: places of options that are right as well, since they cannot be told from the best one.
        unit: of numbers.
        low, high: between which a number is asked for.
        histogram: of the real tensor that β is chosen on.
        bits, format: how the tensor is quantized, and how that is called.
        steps: scales from 0 to β, such as 7 for signed symmetric integers of 4 bits.
        tolerance: how far from the truth is right.
        accepted: the first and last β that are right, where it is a β that is asked for.
        max_clipped: the greatest share of values that a puzzle lets be clipped.
        max_error: the greatest MSE that it allows, in that of the widest range.
        name: by which a slide's question and a class's are the same, in whatever language they are read.
        wordings: the texts in other languages.

    Raises:
        QuantError: for an unknown kind, texts that are empty, too long or unreadable, numbers that are not finite, and
            what the kind lacks.

    Example:
        >>> question = Question("choice", "Which format?", truth=1, reveal="FP4.", options=("INT4", "FP4"))
        >>> Question.from_json(question.to_json()) == question
        True
    """

    kind: str
    text: str
    truth: float | None
    reveal: str = ""
    options: tuple[str, ...] = ()
    ties: tuple[int, ...] = ()
    unit: str = ""
    low: float = 0.0
    high: float = 1.0
    histogram: Histogram | None = None
    bits: int = 0
    format: str = ""
    steps: int = 0
    tolerance: float = 0.0
    accepted: tuple[float, ...] = ()
    max_clipped: float = 0.0
    max_error: float = 0.0
    name: str = ""
    wordings: tuple[Wording, ...] = ()

    def __post_init__(self) -> None:
        """Check every part, and what the kind needs."""
        as_choice(self.kind, KINDS, "kind")
        object.__setattr__(self, "options", _texts(self.text, self.reveal, self.options))
        for name, most in (("unit", MAX_UNIT), ("format", MAX_UNIT), ("name", MAX_NAME)):
            validate_text(getattr(self, name), name, most, may_lack=True)
        for name in ("low", "high") if self.truth is None else ("truth", "low", "high"):
            object.__setattr__(self, name, as_number(getattr(self, name), name))
        for name in ("tolerance", "max_clipped", "max_error"):
            object.__setattr__(self, name, as_number(getattr(self, name), name, low=0))
        if self.histogram is not None:
            as_instance(self.histogram, Histogram, "histogram", "give Histogram.of(values)")
        as_integer(self.bits, "bits", 0, MAX_BITS)
        as_integer(self.steps, "steps", 0, 2**MAX_BITS)
        ties = as_list(self.ties, int, "ties", "give their places")
        object.__setattr__(
            self, "ties", tuple(as_integer(tie, "ties", 0, len(self.options) - 1) for tie in ties[:MAX_OPTIONS])
        )
        ends = [as_number(end, "accepted") for end in as_list(self.accepted, object, "accepted", "give two numbers")]
        object.__setattr__(self, "accepted", tuple(ends))
        self._validate_wordings()
        KINDS[self.kind].validate(self)

    def _validate_wordings(self) -> None:
        wordings = as_list(self.wordings, Wording, "wordings", "give Wording objects")
        if any(len(one.options) != len(self.options) for one in wordings) or len(wordings) > MAX_WORDINGS:
            raise QuantError(f"{len(wordings)} wordings must have {len(self.options)} options each; give as many")
        object.__setattr__(self, "wordings", tuple(wordings))

    @property
    def is_own(self) -> bool:
        """Whether a teacher has written it."""
        return self.name.startswith(OWN)

    def worded(self, language: str) -> Question:
        """Return the question as it is said in a language, or as it is where that is not known.

        >>> one = Question("number", "How many?", 4, high=8, wordings=(Wording("de", "Wie viele?", ""),))
        >>> one.worded("de").text, one.worded("fr").text
        ('Wie viele?', 'How many?')
        """
        found = next((one for one in self.wordings if one.language == language), None)
        return self if found is None else replace(self, text=found.text, reveal=found.reveal, options=found.options)

    @property
    def right(self) -> tuple[float, float] | None:
        """From where to where an answer is right, None for options.

        >>> Question("number", "How many?", 4, high=8, tolerance=1).right
        (3.0, 5.0)
        """
        if self.kind == "choice" or self.truth is None:
            return None
        if self.accepted:
            return self.accepted[0], self.accepted[1]
        return self.truth - self.tolerance, self.truth + self.tolerance

    def answer(self, value: Any) -> float:
        """Return a given answer if it is one.

        Raises:
            QuantError: for what is no number, no place of an option, or outside of what is asked for.
        """
        if self.kind == "choice":
            return float(as_integer(value, "answer", 0, len(self.options) - 1))
        if self.histogram is None:
            return as_number(value, "answer", self.low, self.high)
        return as_number(value, "answer", high=self.histogram.edges[-1] * (1 + 1e-9), above=0)

    def is_right(self, value: float) -> bool | None:
        """Say whether an answer is right: the truth, a tie with it, near enough to it, or a β that meets the goals.

        None where no answer is right or wrong.
        """
        return None if self.truth is None else KINDS[self.kind].is_right(self, value)


@dataclass(frozen=True)
class _Kind:
    """What a kind of question needs, and when an answer to it is right."""

    validate: Callable[[Question], None]
    is_right: Callable[[Question, float], bool]


def asked(question: Question) -> dict[str, Any]:
    """Return what a phone may know before the answer: all but the truth, what ties with it, and what is said of it."""
    hidden = (*SECRET, "wordings")  # which say the same in other languages
    parts = {each.name: getattr(question, each.name) for each in fields(question) if each.name not in hidden}
    return parts if question.histogram is None else {**parts, "histogram": to_record(question.histogram)}


def told(question: Question) -> dict[str, Any]:
    """Return what a phone is told when the answer is revealed."""
    return {**{name: getattr(question, name) for name in SECRET}, "right": question.right}


SECRET = ("truth", "ties", "tolerance", "accepted", "reveal")


def write_questions(questions: Sequence[Question]) -> str:
    """Return questions as JSON text."""
    return f"[{','.join(question.to_json() for question in questions)}]"


def read_questions(text: str) -> tuple[Question, ...]:
    """Return the questions that `write_questions` wrote.

    Raises:
        QuantError: for other text, none or too many questions, and as `Question`.
    """
    if len(as_instance(text, str, "questions", "give JSON text")) > MAX_JSON:
        raise QuantError(f"the questions have {len(text):,} characters; at most {MAX_JSON:,} are read")
    found = parse_json(text)
    if not isinstance(found, list) or not 1 <= len(found) <= MAX_QUESTIONS:
        raise QuantError(f"{text[:80]!r} is no list of 1 to {MAX_QUESTIONS} questions; write it with write_questions()")
    return tuple(Question.from_json(json.dumps(one)) for one in found)


def validate_text(text: Any, name: str, most: int, may_lack: bool = False) -> None:
    """Check that a text can be read by people: not empty, not too long, and without controls or marks of direction.

    Raises:
        QuantError: for anything else.
    """
    given = as_instance(text, str, name, "give text")
    if len(given) > most or not (given.strip() or may_lack):
        raise QuantError(f"{name}={given[:40]!r} has {len(given):,} characters; give 1 to {most}")
    if readable(given) != given:
        raise QuantError(f"{name}={given[:40]!r} has control characters; leave them out")


def readable(text: str) -> str:
    r"""Return a text without control characters, and without marks that change its direction or cannot be seen.

    >>> readable("Ada\u202e\x00 Lovelace")
    'Ada Lovelace'
    """
    return "".join(one for one in text if unicodedata.category(one) not in UNREADABLE)


def _texts(text: str, reveal: str, options: Sequence[str]) -> tuple[str, ...]:
    """Check what is said, and return the options."""
    validate_text(text, "text", MAX_TEXT)
    validate_text(reveal, "reveal", MAX_TEXT, may_lack=True)
    found = tuple(as_list(options, str, "options", "give texts"))
    for option in found[: MAX_OPTIONS + 1]:
        validate_text(option, "option", MAX_OPTION)
    return found


def _validate_choice(question: Question) -> None:
    if not 2 <= len(question.options) <= MAX_OPTIONS or len(set(question.options)) < len(question.options):
        raise QuantError(f"{len(question.options)} options; give 2 to {MAX_OPTIONS} that differ")
    if (truth := question.truth) is not None:
        as_integer(int(truth) if truth.is_integer() else None, "truth", 0, len(question.options) - 1)


def _validate_number(question: Question) -> None:
    truth = as_number(question.truth, "truth")
    if not question.low <= truth <= question.high or question.low == question.high:
        raise QuantError(f"truth={truth:g} is not within {question.low:g} to {question.high:g}; widen them")


def _validate_range(question: Question) -> None:
    as_instance(question.histogram, Histogram, "histogram", "give Histogram.of(values)")
    as_integer(question.bits, "bits", 1, MAX_BITS)
    as_integer(question.steps, "steps", 1, 2**MAX_BITS)
    truth = question.answer(question.truth)
    ends = question.accepted
    if ends and not (len(ends) == 2 and ends[0] <= truth <= ends[1]):
        raise QuantError(f"accepted={ends[:3]} is no pair around {truth:g}; give the first and last β")


def _validate_puzzle(question: Question) -> None:
    _validate_range(question)
    truth = as_number(question.truth, "truth")
    if not meets_goals(question, truth):
        raise QuantError(f"β={truth:g} does not meet the puzzle's goals; give a β that does")


def meets_goals(question: Question, beta: float) -> bool:
    """Say whether a β clips little enough, and makes the error small enough against that of the widest range."""
    histogram = as_instance(question.histogram, Histogram, "histogram", "give Histogram.of(values)")
    widest = histogram.mse(histogram.edges[-1], question.steps)
    error = histogram.mse(beta, question.steps)
    return histogram.clipped(beta) <= question.max_clipped and error <= question.max_error * widest


def _is_near(question: Question, value: float) -> bool:
    low, high = question.right or (value, value)
    slack = 1e-9 * (abs(low) + abs(high))
    return low - slack <= value <= high + slack


KINDS = {
    "choice": _Kind(_validate_choice, lambda question, value: value in (question.truth, *question.ties)),
    "number": _Kind(_validate_number, _is_near),
    "range": _Kind(_validate_range, _is_near),
    "puzzle": _Kind(_validate_puzzle, meets_goals),
}
