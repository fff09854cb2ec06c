"""What names a result, and functions whose results are kept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from quant_engine import LayerPlan, QuantizationPlan
from quant_engine.caches import ByteCache

PACKAGES = ("quant_engine", "explorer")  # into whose objects sizes look

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, init=False)
class ResultKey:
    """What names a result: what is asked, and all that the answer depends on.

    Models go in as `ModelKey`s, their digests and tasks; plans count with the digests of their arrays.

    >>> from quant_engine import LayerPlan
    >>> ResultKey("score", "0a1b", LayerPlan()) == ResultKey("score", "0a1b", LayerPlan())
    True
    >>> print(ResultKey("block", "0a1b", "fc2", 3))
    block|0a1b|fc2|3
    """

    question: str
    about: tuple[object, ...]

    def __init__(self, question: str, *about: object) -> None:
        """Take plans by their keys."""
        plain = (one.key if isinstance(one, LayerPlan | QuantizationPlan) else one for one in about)
        object.__setattr__(self, "question", question)
        object.__setattr__(self, "about", tuple(plain))

    def __str__(self) -> str:
        """Return it as text."""
        return "|".join(map(str, (self.question, *self.about)))


def cached(cache: ByteCache) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keep a function's results by its name and its arguments, which are given by position.

    >>> @cached(ByteCache(1 << 20))
    ... def square(number: int) -> int:
    ...     return number * number
    >>> square(3), square(3)
    (9, 9)
    """

    def keep(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def found(*arguments: P.args, **named: P.kwargs) -> T:
            return cache.get(ResultKey(function.__name__, *arguments), lambda: function(*arguments, **named))

        return found

    return keep
