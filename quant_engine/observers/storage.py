"""Observers in a file."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from quant_engine.checks import as_instance, as_member
from quant_engine.errors import QuantError
from quant_engine.files import arrays_of, has_metadata, metadata_of, pack, write_file
from quant_engine.observers.base import Arrays, Observer
from quant_engine.observers.extremes import MinMaxObserver, MovingAverageObserver
from quant_engine.observers.histogram import HistogramObserver
from quant_engine.records import SCHEMA, parse_json

MARK = "observers"  # the entry of the metadata by which such files are known
OBSERVERS: dict[str, type[Observer]] = {
    "MinMaxObserver": MinMaxObserver,
    "MovingAverageObserver": MovingAverageObserver,
    "HistogramObserver": HistogramObserver,
}


def save_observers(path: str | pathlib.Path, observers: Mapping[str, Observer]) -> None:
    """Write observers by name to one safetensors file, so that calibration can go on, or be merged, elsewhere.

    The file is written beside its place and moved there.

    Raises:
        QuantError: for what is no observer, and for a path of a file that this function has not written.
    """
    if not isinstance(observers, Mapping):
        raise QuantError(f"observers={observers!r} is no mapping; give a dict of an observer for each name")
    for name, observer in observers.items():
        as_instance(name, str, "an observer's name", "give text")
        as_member(observer, OBSERVERS, name)
    arrays = {f"{name}/{part}": a for name, observer in observers.items() for part, a in observer.to_arrays().items()}
    kinds = {name: type(observer).__name__ for name, observer in observers.items()}
    content = pack(arrays, {MARK: json.dumps({"schema": SCHEMA, "kinds": kinds})})
    write_file(path, content, has_metadata(MARK))


def load_observers(path: str | pathlib.Path) -> dict[str, Observer]:
    """Read what `save_observers` wrote.

    Raises:
        QuantError: for a file that is not readable, holds no observers of this schema or anything else, or numbers that
            are no observer's state.
    """
    try:
        metadata = metadata_of(path)
        arrays = arrays_of(pathlib.Path(path).read_bytes(), path)
        kinds = _kinds(parse_json(metadata.get(MARK)))
        found = {name: OBSERVERS[kind].from_arrays(_part(arrays, name)) for name, kind in kinds.items()}
        held = {f"{name}/{part}" for name, observer in found.items() for part in observer.to_arrays()}
        if set(arrays) != held:
            raise QuantError(f"no observer has the arrays {', '.join(sorted(set(arrays) - held))}")
        return found
    except (OSError, QuantError) as error:
        raise QuantError(f"{path} holds no observers that can be read: {error}") from error


def _kinds(head: Any) -> dict[str, str]:
    """Return which observer has which name."""
    found = as_instance(head, dict, "the entry observers", "write the file with save_observers()")
    if set(found) != {"schema", "kinds"} or type(found["schema"]) is not int or found["schema"] != SCHEMA:
        raise QuantError(f"it has {str(found)[:80]}; this version reads schema {SCHEMA} with kinds, and nothing else")
    kinds: dict[str, str] = as_instance(found["kinds"], dict, "kinds", "give an object of names")
    for name, kind in kinds.items():
        if not isinstance(kind, str) or kind not in OBSERVERS:
            raise QuantError(f"{name!r} is {str(kind)[:80]!r}; give one of {', '.join(OBSERVERS)}")
    return kinds


def _part(arrays: Arrays, name: str) -> Arrays:
    return {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.rpartition("/")[0] == name}
