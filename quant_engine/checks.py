"""Checks at the public edge: `as_*` returns what was asked for, `validate_*` only raises; both refuse with a remedy.

Every argument and field that is a single number or a truth value goes through here, so that a NaN, a string or a bool
given for a number is the same refusal everywhere. Arrays are checked by `quant_engine.inputs`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from quant_engine.errors import QuantError

T = TypeVar("T")


def as_integer(value: Any, name: str, low: int | None = None, high: int | None = None) -> int:
    """Return an integer (also numpy's, never a bool) from `low` to `high`, both included, as a plain one.

    Raises:
        QuantError: for anything else.

    Example:
        >>> as_integer(np.int64(4), "bits", 1, 16)
        4
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or _outside(int(value), low, high):
        raise QuantError(f"{name}={_shown(value)} must be an integer{_range(low, high)}")
    return int(value)


def as_number(
    value: Any, name: str, low: float | None = None, high: float | None = None, above: float | None = None
) -> float:
    """Return a finite real number (also numpy's, never a bool) as a float.

    `low` and `high` are included; `above` is a lower bound that is not.

    Raises:
        QuantError: for anything else, integers beyond float64 among it.

    Example:
        >>> as_number(1, "damping", above=0)
        1.0
    """
    number = math.nan
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        try:
            number = float(value) + 0.0  # −0.0 and 0.0 have one key
        except OverflowError:
            number = math.inf
    if not math.isfinite(number) or _outside(number, low, high) or (above is not None and number <= above):
        over = "" if above is None else f" above {above:g}" + ("" if high is None else " and")
        raise QuantError(f"{name}={_shown(value)} must be a finite number{over}{_range(low, high)}")
    return number


def validate_boolean(value: Any, name: str) -> None:
    """Check that a value is a bool.

    Raises:
        QuantError: for anything else.
    """
    if not isinstance(value, bool):
        raise QuantError(f"{name}={_shown(value)} must be True or False")


def as_instance(value: Any, kind: type[T], name: str, remedy: str) -> T:
    """Return a value of a type.

    Raises:
        QuantError: for another type; `remedy` says what to give.
    """
    if not isinstance(value, kind):
        raise QuantError(f"{name}={_shown(value)} is not a {kind.__name__}; {remedy}")
    return value


def as_choice(value: Any, choices: Iterable[str], name: str) -> str:
    """Return a word that is one of some.

    Raises:
        QuantError: for anything else; it lists the choices.
    """
    listed = list(choices)
    if not isinstance(value, str) or value not in listed:
        raise QuantError(f"{name}={_shown(value)} is unknown; choose one of {', '.join(listed)}")
    return value


def as_list(values: Any, kind: type[T], name: str, remedy: str) -> list[T]:
    """Return the values of an iterable, each of a type.

    Raises:
        QuantError: for what is no iterable, for text, and for a value of another type; `remedy` says what to give.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise QuantError(f"{name}={_shown(values)} must be a list; {remedy}")
    return [as_instance(value, kind, f"{name}[{place}]", remedy) for place, value in enumerate(values)]


def as_member(value: Any, table: Mapping[str, type], name: str) -> Any:
    """Return an instance of one of a table's classes.

    Raises:
        QuantError: for anything else, and for an instance of a subclass: the classes are final, and what reads them
            goes by their exact type.
    """
    if type(value) not in table.values():
        base = next((known for known, kind in table.items() if isinstance(value, kind)), None)
        if base is not None:
            raise QuantError(f"{name}={_shown(value)} is of a subclass of {base}, which is final; give a {base} itself")
        raise QuantError(f"{name}={_shown(value)} is none of {', '.join(table)}; give an instance of one")
    return value


def _outside(value: float, low: float | None, high: float | None) -> bool:
    return (low is not None and value < low) or (high is not None and value > high)


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {_plain(low)} to {_plain(high)}"
    if low is not None:
        return f" of {_plain(low)} or more"
    return "" if high is None else f" of {_plain(high)} or less"


def _plain(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _shown(value: Any) -> str:
    """Return a short text: a list of a million numbers, or a number of a thousand digits, must not fill a screen."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}…"
