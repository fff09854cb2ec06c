"""A question that a teacher has written: a choice, whose answer may be open, or a number with its truth.

A lecture's file holds it, and may be a stranger's: what is read is checked as anything from elsewhere is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from explorer.teaching.questions import OWN, Question
from quant_engine import QuantError
from quant_engine.checks import as_choice, as_instance

MAX_OPTIONS = 6
PARTS = {  # by kind, what may be said of it
    "choice": ("text", "options", "truth", "reveal"),
    "number": ("text", "low", "high", "truth", "tolerance", "unit", "reveal"),
}


def own_question(given: Any, where: str = "the question") -> Question:
    """Return the question of its JSON; what it says is what it is called by.

    Raises:
        QuantError: for another kind, parts that it does not have, too many options, and as `Question`.

    Example:
        >>> one = own_question({"kind": "choice", "text": "Lunch?", "options": ["now", "later"]})
        >>> one.truth, one.is_own, own_question(own_record(one)) == one
        (None, True, True)
    """
    entry: Mapping[str, Any] = as_instance(given, dict, where, "give a record")
    kind = as_choice(entry.get("kind"), PARTS, f"kind of {where}")
    if unknown := [name for name in entry if name not in ("kind", *PARTS[kind])]:
        raise QuantError(f"{where} has {unknown[0][:40]!r}, which a {kind} has not; leave it out")
    if not isinstance(options := entry.get("options", []), list) or len(options) > MAX_OPTIONS:
        raise QuantError(f"options of {where} must be a list of 2 to {MAX_OPTIONS} texts")
    question = Question(kind, **{"text": "", "truth": None, **{name: entry[name] for name in entry if name != "kind"}})
    return replace(question, name=f"{OWN}{hashlib.sha256(question.to_json().encode()).hexdigest()[:12]}")


def own_record(question: Question) -> dict[str, Any]:
    """Return the JSON of a teacher's question, without what is as usual."""
    usual = Question("choice", "?", None, options=("a", "b"))
    held = {name: getattr(question, name) for name in PARTS[question.kind]}
    kept = {name: value for name, value in held.items() if name == "text" or value != getattr(usual, name)}
    return {"kind": question.kind, **{name: list(one) if isinstance(one, tuple) else one for name, one in kept.items()}}
