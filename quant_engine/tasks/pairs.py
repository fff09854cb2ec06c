"""Sets of two parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quant_engine.errors import QuantError


def pairs(given: Any, form: str) -> Iterable[tuple[Any, Any]]:
    """Return the pairs of an iterable, or the one tuple that is given.

    Raises:
        QuantError: when its turn comes, for what is not a pair; `form` says what to give.
    """
    if isinstance(given, tuple) and len(given) == 2:
        yield given
        return
    if not isinstance(given, Iterable):
        raise QuantError(f"data={given!r} holds no samples; give {form}, or {{split: {form}}}")
    for pair in given:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise QuantError(f"a {type(pair).__name__} is not a pair; give {form}, or an iterable of such")
        yield pair[0], pair[1]
