"""Frozen choices (formats, granularities, clipping methods, specs) as JSON and back.

A record is `{"type": class name, field: value, …}` and leaves out every field that has its default, so that a field
added later, with a default that keeps the old meaning, changes no stored record and no key.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, ClassVar, Self

from quant_engine.errors import QuantError

SCHEMA = 1
MAX_DEPTH = 50  # records within records; where Python itself ends differs from version to version


class Record:
    """Base of every frozen dataclass that is stored, by the name of its class; a name belongs to its first class."""

    _classes: ClassVar[dict[str, type[Any]]] = {}

    def __init_subclass__(cls) -> None:
        """Remember the class for reading, unless another one has its name."""
        Record._classes.setdefault(cls.__name__, cls)

    def to_json(self) -> str:
        """Return the canonical JSON text, with its schema version.

        >>> from quant_engine import IntFormat
        >>> IntFormat(4, narrow=True).to_json()
        '{"bits":4,"narrow":true,"schema":1,"type":"IntFormat"}'
        """
        return json.dumps({"schema": SCHEMA, **to_record(self)}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild what `to_json` wrote.

        Raises:
            QuantError: for text that is not such JSON, another schema or class, or values the class refuses.
        """
        record = parse_json(text)
        if not isinstance(record, dict) or record.pop("schema", None) != SCHEMA:
            raise QuantError(f"{text[:80]!r} is not of schema {SCHEMA}; write it with to_json() of this version")
        found = from_record(record)
        if not isinstance(found, cls):
            raise QuantError(f"{text[:80]!r} describes a {type(found).__name__}, not a {cls.__name__}")
        return found


def parse_json(text: Any) -> Any:
    """Return what a JSON text holds.

    Raises:
        QuantError: for what is not JSON, for text that is no Unicode (half of a surrogate pair), and for an object with
            a key twice, of which one value would be lost.
    """
    try:
        found = json.loads(text, object_pairs_hook=_distinct)
        json.dumps(found, ensure_ascii=False).encode()
        return found
    except (ValueError, TypeError, RecursionError) as error:
        raise QuantError(f"{str(text)[:80]!r} is not JSON: {error}") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise QuantError(f"the key {', '.join(map(repr, twice))} occurs twice in one object; keep one")
    return found


def to_record(choice: Any) -> dict[str, Any]:
    """Return a frozen dataclass as a JSON-ready mapping.

    Raises:
        QuantError: for a class whose name is another one's, as which it would be read.
    """
    name = type(choice).__name__
    if Record._classes.get(name) is not type(choice):
        raise QuantError(f"the name {name} of {type(choice)} is that of another record; rename the class")
    record: dict[str, Any] = {"type": name}
    for field in fields(choice):
        value = getattr(choice, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if default is MISSING or value != default:
            record[field.name] = _plain(value)
    return record


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and value and isinstance(value[0], Record):
        return [to_record(one) for one in value]
    return to_record(value) if isinstance(value, Record) else value


def from_record(record: Any) -> Record:
    """Rebuild what `to_record` wrote.

    Raises:
        QuantError: for another class or fields, values the class refuses, and records nested beyond all use.
    """
    found: Record = _rebuilt(record, 0)
    return found


def _rebuilt(record: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise QuantError("the record is nested too deeply; write it with to_json()")
    name = record.get("type") if isinstance(record, Mapping) else None
    kind = Record._classes.get(name) if isinstance(name, str) else None
    if kind is None:
        raise QuantError(f"{str(record)[:80]} names no type of {', '.join(sorted(Record._classes))}")
    unknown = set(record) - {field.name for field in fields(kind)} - {"type"}
    if unknown:
        raise QuantError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    values = {name: _value(value, depth + 1) for name, value in record.items() if name != "type"}
    try:
        return kind(**values)
    except TypeError as error:
        raise QuantError(f"{str(record)[:80]} is not a complete {kind.__name__}: {error}") from error


def _value(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return _rebuilt(value, depth)
    if isinstance(value, list):
        return tuple(_rebuilt(one, depth) if isinstance(one, Mapping) else one for one in value)
    return value
