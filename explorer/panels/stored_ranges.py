"""The stored ranges of activations in the inspector: each over the values that it stands for, where they can be had."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import streamlit as st

from explorer import charts, compute
from explorer.background import Kind, Task, live
from explorer.caches import ResultKey
from explorer.figures.stored_range import describe_stored_range, stored_range_figure
from explorer.language import read_words
from explorer.notation import count, share, short
from explorer.refusals import refusals_said
from explorer.sources import ModelKey
from quant_engine.models import OnnxModel
from quant_engine.studies import RangeUse, StoredRange, range_use, stored_ranges

SAMPLES = 64
TEST = "test"
FORMS = {"outside": "%.3f", "used": "%.1f", "low": "%.4g", "high": "%.4g", "least": "%.4g", "greatest": "%.4g"}


def ranges_of(model: ModelKey) -> tuple[StoredRange, ...]:
    """Return the stored ranges of a model's file, kept."""
    return compute.kept(ResultKey("stored ranges", model), lambda: stored_ranges(compute.network(model).model))


def stored_ranges_panel(model: ModelKey) -> None:
    """Offer the ranges, folded away, where the file has any."""
    if not (found := ranges_of(model)):
        return
    said = read_words("inspector")["ranges"]
    with st.expander(said["title"].format(n=count(len(found))), key="inspector_ranges", on_change="rerun") as folded:
        if folded.open:
            with refusals_said():
                _ranges(model, found, said)


def _ranges(model: ModelKey, found: Sequence[StoredRange], said: Mapping[str, Any]) -> None:
    network = compute.network(model)
    received = [one for one in found if one.layer is not None]
    if network.task is None or not received:
        runs = isinstance(network.model, OnnxModel)
        st.caption(said["no_graph" if not runs else "no_data" if received else "no_layer"])
        _table(model, found, {}, said)
        return
    split = TEST if TEST in network.task.splits else min(network.task.splits)

    def steps() -> Generator[RangeUse, None, None]:
        for one in received:
            yield range_use(network, one, split, SAMPLES)

    key = ResultKey("stored range uses", model)
    task = compute.session().ask("inspector ranges", key, steps, Kind.STUDY, len(received))
    st.caption(said["lead"].format(n=SAMPLES, split=split, unit=network.task.unit))
    names = [one.tensor for one in received]
    chosen = st.selectbox(said["tensor"], names, key="inspector_ranges_tensor")
    live(lambda: _draw(model, found, task, chosen, said), lambda: task.active)


def _draw(model: ModelKey, found: Sequence[StoredRange], task: Task, chosen: str, said: Mapping[str, Any]) -> None:
    """Draw the chosen range over its values, and the table as it fills."""
    uses: dict[str, RangeUse] = {use.stored.tensor: use for use in task.items}
    if chosen in uses:
        use = uses[chosen]
        told = {"outside": share(use.outside_share), "used": share(use.used_share), "codes": use.stored.codes}
        figure = stored_range_figure(use, charts.canvas("stored range", model, chosen))
        charts.show(figure, "inspector_ranges_figure", describe_stored_range(use))
        ends = {"low": short(use.values.lo), "high": short(use.values.hi)}
        st.markdown(said["found"].format(layer=use.stored.layer, **told, **ends))
    elif task.active:
        st.caption(said["running"].format(done=count(len(uses)), total=count(task.total)))
    if task.error is not None:
        task.result()  # says why
    _table(model, found, uses, said)


def _table(
    model: ModelKey, found: Sequence[StoredRange], uses: Mapping[str, RangeUse], said: Mapping[str, Any]
) -> None:
    """Draw a row for each stored range, with what is known of its values."""
    columns: dict[str, list[Any]] = {
        said["tensor"]: [one.tensor for one in found],
        said["codes"]: [one.codes for one in found],
        said["low"]: [one.low for one in found],
        said["high"]: [one.high for one in found],
    }
    if uses:
        known = [uses.get(one.tensor) for one in found]
        columns |= {
            said["layer"]: [one.layer or "" for one in found],
            said["least"]: [None if use is None else use.values.lo for use in known],
            said["greatest"]: [None if use is None else use.values.hi for use in known],
            said["outside"]: [None if use is None else 100 * use.outside_share for use in known],
            said["used"]: [None if use is None else 100 * use.used_share for use in known],
        }
    forms = {said[name]: st.column_config.NumberColumn(format=form) for name, form in FORMS.items()}
    alt = said["alt"].format(model=compute.name(model))
    st.dataframe(columns, key="inspector_ranges_table", hide_index=True, column_config=forms, alt=alt)
