"""How a class has answered, in numbers that name nobody: votes for each option, or in bins of the possible answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from explorer.teaching.questions import Question

BINS = 20
MIN_VOTES = 3  # of fewer, a spread would tell how one student has answered


@dataclass(frozen=True)
class Spread:
    """Votes of one round.

    Attributes:
        edges: of the bins, one more than there are counts; empty for options, each of which has a count.
        counts: votes.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def n(self) -> int:
        """How many have answered."""
        return sum(self.counts)


def spreads_of(question: Question, votes: Mapping[int, Sequence[float]]) -> dict[int, Spread]:
    """Return the spread of each round in which enough have voted that it tells of nobody.

    >>> question = Question("choice", "Which format?", truth=1, reveal="FP4.", options=("INT4", "FP4"))
    >>> sorted(spreads_of(question, {1: [1.0, 0.0, 1.0], 2: [1.0, 1.0]}))
    [1]
    """
    return {turn: spread_of(question, values) for turn, values in votes.items() if len(values) >= MIN_VOTES}


def spread_of(question: Question, values: Sequence[float]) -> Spread:
    """Return how answers to a question are spread.

    >>> question = Question("choice", "Which format?", truth=1, reveal="FP4.", options=("INT4", "FP4"))
    >>> spread_of(question, [1.0, 0.0, 1.0]).counts
    (1, 2)
    """
    if question.options:
        places = np.bincount(np.asarray(values, np.int64), minlength=len(question.options))
        return Spread((), tuple(places.tolist()))
    histogram = question.histogram
    low, high = (question.low, question.high) if histogram is None else (0.0, histogram.edges[-1])
    edges = np.linspace(low, high, BINS + 1)
    counts, _ = np.histogram(np.clip(values, low, high), edges)
    return Spread(tuple(edges.tolist()), tuple(counts.tolist()))
