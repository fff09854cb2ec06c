"""Observers in a file."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

from quant_engine.errors import QuantError
from quant_engine.observers.base import Arrays, Observer
from quant_engine.observers.extremes import MinMaxObserver, MovingAverageObserver
from quant_engine.observers.histogram import HistogramObserver
from quant_engine.records import SCHEMA

OBSERVERS: dict[str, type[Observer]] = {
    "MinMaxObserver": MinMaxObserver,
    "MovingAverageObserver": MovingAverageObserver,
    "HistogramObserver": HistogramObserver,
}


def save_observers(path: str | pathlib.Path, observers: Mapping[str, Observer]) -> None:
    """Write observers by name to one safetensors file, so that calibration can go on, or be merged, elsewhere."""
    from safetensors.numpy import save_file

    arrays = {f"{name}/{part}": a for name, observer in observers.items() for part, a in observer.to_arrays().items()}
    kinds = {name: type(observer).__name__ for name, observer in observers.items()}
    save_file(arrays, path, metadata={"observers": json.dumps({"schema": SCHEMA, "kinds": kinds})})


def load_observers(path: str | pathlib.Path) -> dict[str, Observer]:
    """Read what `save_observers` wrote.

    Raises:
        QuantError: for a file that is not readable or holds no observers of this schema.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            head = json.loads((file.metadata() or {})["observers"])
        if head["schema"] != SCHEMA:
            raise QuantError(f"{path} has schema {head['schema']}; this version reads {SCHEMA}")
        return {name: OBSERVERS[kind].from_arrays(_part(arrays, name)) for name, kind in head["kinds"].items()}
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise QuantError(f"{path} holds no observers that can be read: {error!r}") from error


def _part(arrays: Arrays, name: str) -> Arrays:
    return {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.rpartition("/")[0] == name}
