"""Scores as what JSON can hold, and back."""

from __future__ import annotations

from typing import Any

from quant_engine.errors import QuantError
from quant_engine.tasks import Score

FIELDS = ("name", "value", "n", "interval", "unit", "better")


def write_score(score: Score) -> dict[str, Any]:
    """Return a score as a record; what each sample adds is left out.

    Example:
        >>> write_score(Score("SQNR", 20.0, 2000, (19.5, 20.4), "dB"))["interval"]
        [19.5, 20.4]
    """
    return {**{name: getattr(score, name) for name in FIELDS}, "interval": list(score.interval)}


def read_score(record: Any) -> Score:
    """Return the score of a record that `write_score` has made.

    Raises:
        QuantError: for any other.
    """
    try:
        low, high = record["interval"]
        fields = {name: record[name] for name in FIELDS}
        return Score(**{**fields, "value": float(record["value"]), "interval": (float(low), float(high))})
    except (TypeError, KeyError, ValueError) as error:
        raise QuantError(f"{record!r} is no record of a score: {error!r}; measure it again") from error
