"""The calibration check of the inspector: whether sets of calibration data cover what a model is scored on."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import streamlit as st

from explorer import compute
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.language import read_words
from explorer.lessons.framework import study
from explorer.lessons.framework.study import Study
from explorer.notation import count, decibels, share, short
from explorer.refusals import refusals_said
from explorer.sources import ModelKey
from quant_engine.studies import SetCoverage, calibration_check, check_steps, evaluated_split
from quant_engine.studies.calibration_check import FINE, NARROW, WIDE

PLACE = "inspector coverage"
NUMBERS = {"outside_share": "%.3f", "width_ratio": "%.2f", "loss_db": "%.1f"}  # columns


def coverage_panel(model: ModelKey) -> None:
    """Offer the check of a model that has a task, folded away."""
    if compute.network(model).task is None:
        return
    said = read_words("inspector")["coverage"]
    with st.expander(said["title"], key="inspector_coverage", on_change="rerun") as folded:
        if folded.open:
            with refusals_said():
                _check(model, said)


def coverage_study(model: ModelKey) -> Study:
    """Return the check of all sets.

    Raises:
        QuantError: for a task without the splits that are compared.
    """

    def steps() -> Generator[SetCoverage | None, None, None]:
        return calibration_check(compute.network(model))

    return Study(ResultKey(PLACE, model), steps, check_steps(compute.network(model)))


def _check(model: ModelKey, said: Mapping[str, Any]) -> None:
    one, split = coverage_study(model), evaluated_split(compute.network(model))
    st.caption(said["lead"].format(samples=compute.samples(model, split)))

    def draw(task: Task | None) -> None:
        found = [item for item in (task.items if task is not None else ()) if item is not None]
        if found:
            st.markdown("\n".join(f"- {sentence(coverage)}" for coverage in found))
            _table(model, found, said)

    study.offer(one, said["begin"], said["measuring"], draw)


def sentence(found: SetCoverage) -> str:
    """Say whether a set is fine, or in which layers its ranges are too narrow or too wide."""
    said = read_words("inspector")["coverage"]
    told: dict[str, str] = {
        "kind": said[found.kind],
        "samples": count(found.samples),
        "total": count(len(found.layers)),
    }
    parts = [
        said[verdict].format(n=count(len(layers)), **told, **_worst(found, layers[0]))
        for verdict in (NARROW, WIDE)
        if (layers := found.judged(verdict))
    ]
    if parts:
        return str(said["bad"].format(parts="; ".join(parts), **told))
    worst = found.judged(FINE)[0]
    key = "fine" if found.layers[worst].loss_db > 0 else "fine_gain"
    return str(said[key].format(**told, **_worst(found, worst)))


def _worst(found: SetCoverage, layer: str) -> dict[str, str]:
    coverage = found.layers[layer]
    return {
        "layer": layer,
        "outside": share(coverage.outside_share),
        "ratio": short(coverage.width_ratio),
        "loss": decibels(coverage.loss_db),
    }


def _table(model: ModelKey, found: Sequence[SetCoverage], said: Mapping[str, Any]) -> None:
    """Draw a row for each layer and set, those of a layer together."""
    rows = [(layer, one) for layer in found[0].layers for one in found]
    columns: dict[str, list[Any]] = {
        said["layer"]: [layer for layer, _ in rows],
        said["set"]: [said[one.kind] for _, one in rows],
    }
    for name in NUMBERS:
        scale = 100 if name == "outside_share" else 1
        columns[said[name]] = [scale * getattr(one.layers[layer], name) for layer, one in rows]
    config = {said[name]: st.column_config.NumberColumn(format=form) for name, form in NUMBERS.items()}
    st.dataframe(
        columns,
        key="inspector_coverage_table",
        hide_index=True,
        column_config=config,
        alt=said["alt"].format(model=compute.name(model)),
    )
