"""A tuned plan as text: what links, files and the store keep of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from explorer.fields import Field, Text
from explorer.state import PlaygroundState
from explorer.tuning.cells import Cells
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import LayerPlan, QuantizationPlan
from quant_engine.plan.files import ARRAYS_SUFFIX, plan_files

SCHEMA = 1
FILE, LAYER = "plan.json", "layer"  # of what a layer has from elsewhere
MAX_LINK = 2000  # characters


def write_plan(plan: TunedPlan, keep: Callable[[bytes], str] | None = None) -> str:
    """Return a plan as JSON, the same for equal plans.

    What a plan has from elsewhere is left out, unless there is what can `keep` it and says its name.

    >>> print(write_plan(TunedPlan().with_cells(["fc"], {"bits": 3}).locked(["fc"], True)))
    {"base":{"bits":8},"edits":{"fc":{"bits":3}},"locks":["fc"],"schema":1}
    """
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "base": _write_cells(plan.base, {name: getattr(plan.base, name) for name in _changed(plan.base)}),
        "edits": {layer: _write_cells(plan.base, cells) for layer, cells in plan.edits.items()},
        "ranges": {layer: [list(one) for one in held] for layer, held in plan.ranges.items()},
        "inputs": {layer: list(held) for layer, held in plan.inputs.items()},
        "plain": sorted(plan.plain),
        "locks": sorted(plan.locks),
    }
    if keep is not None:
        record["given"] = {layer: [keep(part) for part in _files(one)] for layer, one in plan.given.items()}
    kept = {name: value for name, value in record.items() if value}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_plan(text: str, kept: Callable[[str], bytes] | None = None) -> TunedPlan:
    """Return the plan of a text that `write_plan` has written, with what is `kept` of it by its names.

    >>> read_plan('{"base":{"bits":3},"plain":["fc"],"schema":1}').base.bits
    3

    Raises:
        ValueError: for any other text.
    """
    if not text:
        return TunedPlan()
    try:
        record = json.loads(text)
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise ValueError(text)
        given = {} if kept is None else _read_given(record.get("given", {}), kept)
        return TunedPlan(
            PlaygroundState(**_read_cells(record.get("base", {}))),
            MappingProxyType({str(layer): _read_cells(cells) for layer, cells in record.get("edits", {}).items()}),
            MappingProxyType({str(layer): _read_ranges(held) for layer, held in record.get("ranges", {}).items()}),
            MappingProxyType({str(layer): _read_range(*held) for layer, held in record.get("inputs", {}).items()}),
            frozenset(map(str, record.get("plain", ()))),
            MappingProxyType(given),
            locks=frozenset(map(str, record.get("locks", ()))),
        )
    except (TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:  # its author chooses
        raise ValueError(text) from error


def _files(given: LayerPlan) -> list[bytes]:
    """Return what a layer has from elsewhere as the files of a plan: JSON, and arrays where something is fitted."""
    return [*plan_files(FILE, {LAYER: given}).values()]


def _read_given(held: Mapping[str, list[str]], kept: Callable[[str], bytes]) -> dict[str, LayerPlan]:
    return {str(layer): _read_files([kept(name) for name in names]) for layer, names in held.items()}


def _read_files(parts: list[bytes]) -> LayerPlan:
    with tempfile.TemporaryDirectory() as folder:
        for ending, content in zip(("", ARRAYS_SUFFIX), parts, strict=False):
            Path(folder, FILE + ending).write_bytes(content)
        return QuantizationPlan.load(Path(folder, FILE))[LAYER]


def _changed(settings: PlaygroundState) -> list[str]:
    return [name for name, value in vars(PlaygroundState()).items() if getattr(settings, name) != value]


def _write_cells(settings: PlaygroundState, cells: Cells) -> dict[str, Any]:
    return {name: settings.fields()[name].held(value) for name, value in cells.items()}


def _read_cells(cells: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Field[Any]] = PlaygroundState.fields()
    return {name: fields[name].meaning(fields[name].parse(str(held))) for name, held in cells.items()}


def _read_ranges(held: list[Any]) -> tuple[tuple[int, float, float], ...]:
    return tuple((int(block), float(lo), float(hi)) for block, lo, hi in held)


def _read_range(lo: Any, hi: Any) -> tuple[float, float]:
    return float(lo), float(hi)


PLAN = Text("tuner_plan", read_plan, write_plan, instead="instead_alike")
