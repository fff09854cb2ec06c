"""Keys of what pages compute."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from quant_engine import LayerPlan, QuantizationPlan
from quant_engine.caches import ByteCache
from quant_engine.records import Record

T = TypeVar("T")
P = ParamSpec("P")


def key_of(*parts: object) -> str:
    """Return the text that names a result: plans by their keys, other choices by their JSON, the rest as text.

    >>> from quant_engine import LayerPlan, PerChannel
    >>> key_of("block", PerChannel(0), LayerPlan(), 3, None)
    'block|{"schema":1,"type":"PerChannel"}|{"activation":null,"bias":null,"dynamic":false,"weight":null}|3|None'
    """
    return "|".join(map(_text, parts))


def _text(part: object) -> str:
    if isinstance(part, LayerPlan | QuantizationPlan):
        return part.key
    return part.to_json() if isinstance(part, Record) else str(part)


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
            return cache.get(key_of(function.__name__, *arguments), lambda: function(*arguments, **named))

        return found

    return keep
