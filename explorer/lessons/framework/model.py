"""What a lesson is: a laboratory, and for each of the five beats a function from what is on display to what is said.

The words are in `prose/`, one file a lesson; this package computes everything that the words leave open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from streamlit.delta_generator import DeltaGenerator

from explorer import controls
from explorer.fields import Choice, Field, Number, named
from explorer.figures.theme import Canvas
from explorer.formulas import Convention
from explorer.lessons.framework.chapter import Chapter, Part
from explorer.lessons.framework.prose import Prose, read_prose
from explorer.lessons.framework.scene import Scene
from explorer.sources import ModelKey
from explorer.tensors import WHOLE, Subject, tensor_fields
from quant_engine.network import Score

Value = TypeVar("Value")
Facts = Mapping[str, str]  # live numbers by name, as the prose quotes them

BEATS = ("Predict", "Try", "See", "Formula", "Check")


class LazyFacts(Mapping[str, str]):
    """Live numbers by name, each worked out when the words ask for it."""

    def __init__(self, numbers: Mapping[str, Callable[[], str]]) -> None:
        """Keep how each is worked out."""
        self._numbers = numbers

    def __getitem__(self, name: str) -> str:
        """Work a number out."""
        return self._numbers[name]()

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._numbers)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._numbers)


def goodness(score: Score) -> float:
    """Return what rises as a score gets better; of a perplexity, which grows exponentially, minus its logarithm.

    >>> goodness(Score("perplexity", 1.0, 10, (1.0, 2.0), better="lower")) == 0
    True
    """
    if score.better == "higher":
        return score.value
    return -math.log(score.value) if score.name == "perplexity" else -score.value


def overlap(one: Score, other: Score) -> bool:
    """Say whether the 95 % intervals of two accuracies overlap: then neither is the better one.

    >>> from quant_engine.network import Accuracy
    >>> overlap(Accuracy(880, 1000), Accuracy(890, 1000)), overlap(Accuracy(750, 1000), Accuracy(920, 1000))
    (True, False)
    """
    return one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]


def beyond(one: Score, others: Sequence[Score]) -> int:
    """Say whether the 95 % interval of an accuracy lies below those of all others (−1), above them (1), or neither (0).

    >>> from quant_engine.network import Accuracy
    >>> others = [Accuracy(700, 1000), Accuracy(900, 1000)]
    >>> [beyond(Accuracy(count, 1000), others) for count in (500, 690, 800, 980)]
    [-1, 0, 0, 1]
    """
    below = all(one.interval[1] < other.interval[0] for other in others)
    above = all(one.interval[0] > other.interval[1] for other in others)
    return above - below


@dataclass(frozen=True)
class Option:
    """One answer: `key` names its feedback in the prose, `label` is what is shown."""

    key: str
    label: str


@dataclass(frozen=True)
class Choices:
    """A question with a right answer among options; the wrong ones are misconceptions worked out.

    Options as good as the right one, as far as can be measured, are `tied` with it: they are right too.
    """

    options: tuple[Option, ...]
    right: str
    tied: frozenset[str] = frozenset()

    def is_right(self, key: str) -> bool:
        """Say whether an option is a right answer."""
        return key == self.right or key in self.tied

    def option(self, key: str) -> Option:
        """Return an option by key."""
        return next(option for option in self.options if option.key == key)


def choices(right: float, wrong: Mapping[str, float], write: Callable[[float], str]) -> Choices:
    """Return options sorted by value, so that the place of the right one says nothing.

    Misconceptions that lead to the same text as the right answer, or as one before them, are left out.

    >>> choices(5.0, {"double": 10.0, "same": 5.0}, str).options
    (Option(key='right', label='5.0'), Option(key='double', label='10.0'))
    """
    taken: dict[str, tuple[float, str]] = {write(right): (right, "right")}
    for key, value in wrong.items():
        taken.setdefault(write(value), (value, key))
    ordered = sorted((value, label, key) for label, (value, key) in taken.items())
    return Choices(tuple(Option(key, label) for _, label, key in ordered), "right")


@dataclass(frozen=True)
class Place:
    """A question answered by a place on an axis, scored by what the place costs beside the best one.

    `key` names what is asked about: an answer holds as long as that stays the same. `here` is where the figure's handle
    is.
    """

    key: str
    here: float
    best: float
    cost: Callable[[float], float]

    NEAR = 1.05  # times the least cost

    def verdict(self, place: float) -> tuple[str, float]:
        """Return the key of the feedback, and the cost in multiples of the least one."""
        lowest = self.cost(self.best)
        ratio = self.cost(place) / lowest if lowest > 0 else 1.0
        if ratio <= self.NEAR:
            return "right", ratio
        return ("too_wide" if place > self.best else "too_narrow"), ratio


@dataclass(frozen=True)
class Awaited:
    """A question whose answer is still to be computed: what to say, and a button that starts it."""

    text: str
    label: str
    start: Callable[[], None]


Question = Choices | Place | Awaited


@dataclass(frozen=True)
class Bench:
    """What a laboratory is given: the tensor, a row for its controls, what to draw on, and what may show already."""

    subject: Subject
    controls: DeltaGenerator
    canvas: Canvas
    predicted: bool
    trying: bool  # what answers the controls comes first
    writing: bool  # the formula is on display
    asking: bool  # the question is, and waits for its answer
    answers: Mapping[str, str | float]  # labels and places on an axis, by what was asked
    model: ModelKey
    layer: str
    part: Part  # on display

    @property
    def telling(self) -> bool:
        """Whether numbers that are predicted or asked for may be shown."""
        return self.predicted and not self.asking

    def ask(self, field: Field[Value]) -> Value:
        """Draw a control that parts share, where the one on display takes it, and return what it says."""
        with self.controls:
            return (controls.show if field.key in self.part.takes else controls.unshown)(field)


@dataclass(frozen=True)
class Lesson:
    """One concept. `slug` prefixes its settings in the URL and names its prose; `source` is the tensor it opens on.

    `story` is the model and layer on which it opens, for those who have not chosen others. A lesson whose source is of
    a network as a whole (`tensors.WHOLE`) has no menu of tensors.
    """

    number: int
    slug: str
    fields: tuple[Field[Any], ...]
    laboratory: Callable[[Bench], Scene]
    prediction: Callable[[Scene], str | None]  # the key of the right option; None while it is being worked out
    facts: Callable[[Scene], Facts]
    formulas: Callable[[Scene, Convention], Sequence[str]]
    question: Callable[[Scene], Question]
    source: str = "weights"
    puzzles: Callable[[Scene], tuple[bool, ...]] = lambda scene: ()  # which the scene solves, in the order of the prose
    repeated: Callable[[Scene], Collection[str]] = lambda scene: ()  # predictions that say the same as another one
    story: tuple[str, str] | None = None
    chapter: Chapter | None = None  # where it has parts
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by step, what its words speak of, by key

    @property
    def prose(self) -> Prose:
        """The lesson's words."""
        return read_prose(self.slug)

    @property
    def beat(self) -> Choice[str]:
        """The field of the beat on display."""
        return Choice(f"{self.slug}_beat", named(BEATS), default=BEATS[0], words="beat")

    @property
    def whole(self) -> bool:
        """Whether it is about a network, not about one tensor."""
        return self.source in WHOLE

    @property
    def tensor(self) -> tuple[Choice[str], Number[int]] | tuple[()]:
        """The fields of the tensor on display, where it can be chosen."""
        return () if self.whole else tensor_fields(self.slug, self.source)

    @property
    def all_fields(self) -> tuple[Field[Any], ...]:
        """Everything that a link to this lesson may set."""
        chapter = self.chapter
        parts = (chapter.field(self.slug, self.beat.default), *chapter.fields) if chapter else ()
        return (self.beat, *self.tensor, *self.fields, *parts)

    def predicted(self, scene: Scene) -> Choices:
        """Return the prediction's options, whose right one the tensor decides."""
        labels, repeated = self.prose.predictions, self.repeated(scene)
        offered = tuple(Option(key, label) for key, label in labels.items() if key not in repeated)
        return Choices(offered, self.prediction(scene) or "")
