"""A tuned plan as text: what links, files and the store keep of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from explorer.fields import Field, Text
from explorer.state import PlaygroundState
from explorer.tuning.cells import Cells
from explorer.tuning.tuned_plan import TunedPlan

SCHEMA = 1
MAX_LINK = 2000  # characters


def write_plan(plan: TunedPlan) -> str:
    """Return a plan as JSON, the same for equal plans; what a plan has from elsewhere is left out.

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
    kept = {name: value for name, value in record.items() if value}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_plan(text: str) -> TunedPlan:
    """Return the plan of a text that `write_plan` has written.

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
        return TunedPlan(
            PlaygroundState(**_read_cells(record.get("base", {}))),
            MappingProxyType({str(layer): _read_cells(cells) for layer, cells in record.get("edits", {}).items()}),
            MappingProxyType({str(layer): _read_ranges(held) for layer, held in record.get("ranges", {}).items()}),
            MappingProxyType({str(layer): _read_range(*held) for layer, held in record.get("inputs", {}).items()}),
            frozenset(map(str, record.get("plain", ()))),
            locks=frozenset(map(str, record.get("locks", ()))),
        )
    except (TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:  # its author chooses
        raise ValueError(text) from error


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
