"""Waiting for what is found of a large tensor: in the background, with how far that is and how long it will take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from explorer import compute
from explorer.background import Kind
from explorer.caches import ResultKey
from explorer.language import read_words
from explorer.memory import available_bytes
from explorer.notation import count, duration
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from quant_engine import MinMax, MinMSE, QuantizerSpec
from quant_engine.granularity import Granularity

PLACE, ORDER = "large tensor", "values in order"
AWAITED_FROM = 1 << 24  # values: what is found of fewer takes no longer than a page
SORTED_UP_TO, FREE = 1 << 27, 4  # values that are sorted, and how many times what they take is then free
UNSAID = 0.4  # seconds before anything is said
LOOK = 0.1  # seconds from one look to the next
READ, PASS, COUNTED = 6.0, 1.0, 3.0  # nanoseconds a value, on two cores of a few years ago
SEARCHED: dict[type[Any], float] = {
    MinMax: 0.0,
    MinMSE: 25.0,
}  # of a range for each of many blocks; other methods take …
SORTED = 60.0


@dataclass(frozen=True)
class Step:
    """One thing to find, and about how many nanoseconds that takes for each value."""

    work: Callable[[], object]
    expected_ns: float


def range_awaited(model: ModelKey, layer: str) -> None:
    """Wait until the least and the greatest value of a tensor are known."""
    _await(model, layer, (), [Step(partial(compute.value_range, model, layer), READ)])


def outcome_awaited(model: ModelKey, layer: str, settings: PlaygroundState, spec: QuantizerSpec) -> None:
    """Wait until all is known that the playground shows of a tensor, or of many blocks what quantizing does."""
    one = spec.granularity.blocks(_shape(model, layer)).count == 1
    search = 0.0 if one and settings.kind.ranged else SEARCHED.get(type(spec.clipping), SORTED)
    steps = [Step(partial(compute.outcome, model, layer, spec), COUNTED + search)]
    if one and settings.kind.scalar:
        steps += _drawn(model, layer, settings, spec)
    steps.append(Step(partial(compute.reference_report, model, layer, spec), COUNTED))
    _await(model, layer, (spec, *sorted(settings.methods)), steps)
    if compute.answers_in_order(model, layer, spec) and not compute.is_sorted(model, layer):
        _sort(model, layer)


def _sort(model: ModelKey, layer: str) -> None:
    """Sort a large tensor's values in the background, if memory allows it: from then on no answer reads them all."""

    def work() -> None:
        compute.in_order(model, layer)

    values, free = compute.matrix(model, layer), available_bytes()
    if AWAITED_FROM <= values.size <= SORTED_UP_TO and (free is None or free > FREE * values.nbytes):
        compute.session().ask(ORDER, ResultKey(ORDER, model, layer), work, Kind.STUDY)


def _drawn(model: ModelKey, layer: str, settings: PlaygroundState, spec: QuantizerSpec) -> list[Step]:
    """Return what else is drawn of a tensor that is one block."""
    shared: tuple[Granularity, int] = spec.granularity, 0
    steps = [Step(partial(compute.packed_statistics, model, layer, *shared), 3 * PASS)]
    if settings.clips:
        steps += [
            Step(partial(compute.marks, model, layer, 0, spec, {name: way}), PASS)
            for name, way in settings.methods.items()
        ]
        steps.append(Step(partial(compute.min_error, model, layer, 0, spec), PASS))
    return [*steps, Step(partial(compute.block_view, model, layer, spec, 0), PASS)]


def _await(model: ModelKey, layer: str, about: tuple[object, ...], steps: Sequence[Step]) -> None:
    """Wait for the steps; whoever changes a control while they are waited for ends it.

    Raises:
        QuantError: as the steps do.
    """
    size = math.prod(_shape(model, layer))
    if size < AWAITED_FROM:
        return

    def found() -> Generator[float, None, None]:
        for step in steps:
            step.work()
            yield step.expected_ns

    task = compute.session().ask(PLACE, ResultKey(PLACE, model, layer, *about), found, Kind.AWAITED, len(steps))
    said, shown, begun = read_words("frame")["waiting"]["large"], st.empty(), time.monotonic()
    total = sum(step.expected_ns for step in steps)
    while True:
        try:
            task.result(LOOK)
            break
        except TimeoutError:
            waited = time.monotonic() - begun
        if waited >= UNSAID:
            known: Sequence[Any] = task.items
            share = sum(known) / total
            left = task.seconds * (1 - share) / share if share else max(1e-9 * total * size - waited, 1.0)
            told = {"n": count(size), "done": len(known) + 1, "total": len(steps), "left": duration(max(left, 1.0))}
            shown.progress(min(share, 1.0), said.format(**told))
    shown.empty()


def _shape(model: ModelKey, layer: str) -> tuple[int, ...]:
    return compute.network(model).layers()[layer].matrix_shape
