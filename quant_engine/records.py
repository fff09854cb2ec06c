"""Frozen choices (formats, granularities, clipping methods, specs) as JSON and back.

A record is `{"type": class name, field: value, …}` and leaves out every field that has its default, so that a field
added later, with a default that keeps the old meaning, changes no stored record and no key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, ClassVar, Self

from quant_engine.errors import QuantError

SCHEMA = 1


class Record:
    """Base of every frozen dataclass that is stored; a subclass is known by its name."""

    _classes: ClassVar[dict[str, type[Record]]] = {}

    def __init_subclass__(cls) -> None:
        """Remember the class for reading."""
        Record._classes[cls.__name__] = cls

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
        try:
            record = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise QuantError(f"{str(text)[:80]!r} is not JSON: {error}") from error
        if not isinstance(record, dict) or record.pop("schema", None) != SCHEMA:
            raise QuantError(f"{text[:80]!r} is not of schema {SCHEMA}; write it with to_json() of this version")
        found = from_record(record)
        if not isinstance(found, cls):
            raise QuantError(f"{text[:80]!r} describes a {type(found).__name__}, not a {cls.__name__}")
        return found


def to_record(choice: Any) -> dict[str, Any]:
    """Return a frozen dataclass as a JSON-ready mapping."""
    record: dict[str, Any] = {"type": type(choice).__name__}
    for field in fields(choice):
        value = getattr(choice, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if default is MISSING or value != default:
            record[field.name] = to_record(value) if isinstance(value, Record) else value
    return record


def from_record(record: Any) -> Record:
    """Rebuild what `to_record` wrote."""
    name = record.get("type") if isinstance(record, Mapping) else None
    kind = Record._classes.get(name) if isinstance(name, str) else None
    if kind is None:
        raise QuantError(f"{record!r} names no type of {', '.join(sorted(Record._classes))}")
    unknown = set(record) - {field.name for field in fields(kind)} - {"type"}  # type: ignore[arg-type]
    if unknown:
        raise QuantError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    values = {name: _value(value) for name, value in record.items() if name != "type"}
    try:
        return kind(**values)
    except TypeError as error:
        raise QuantError(f"{dict(record)} is not a complete {kind.__name__}: {error}") from error


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return from_record(value)
    return tuple(value) if isinstance(value, list) else value
