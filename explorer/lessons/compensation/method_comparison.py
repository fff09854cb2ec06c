"""The first laboratory of lesson 11: methods that win accuracy back, each started by hand, on one accuracy plot."""

from __future__ import annotations

import io
import pathlib
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict

import streamlit as st

from explorer import charts, compute, tables
from explorer.background import Task, live
from explorer.caches import ResultKey
from explorer.figures.method_comparison import Lane, comparison_figure, describe_comparison, describe_way, way_figure
from explorer.lessons.compensation.method_progress import CLIPPED, NEAREST, accuracy_of
from explorer.lessons.compensation.method_results import SLUG, Entry, MethodResults, contestants
from explorer.lessons.compensation.method_runs import active, baselines_of, baselines_study, entries, raced, start
from explorer.lessons.framework import study
from explorer.lessons.framework.prose import method_words, read_prose
from explorer.lessons.mixed.harm import is_quick
from explorer.notation import count, is_share, share, short, shown_score, unbroken, with_interval
from explorer.sentences import verbatim
from explorer.sources import ModelKey
from quant_engine import QuantError, QuantizationPlan
from quant_engine.methods import METHODS, Setting, available

UNKNOWN = "?"
FIRST = ("gptq", "adaround", "qat")  # of the methods, beside the chart; the others wait in a drawer
ICONS = {
    "waiting": ":material/hourglass:",
    "running": ":material/hourglass:",
    "done": ":material/check:",
    "cancelled": ":material/resume:",
}  # of a method's button, by the state of its run


def watch(known: MethodResults) -> None:
    """Have the page run again when there is more to know, where the race itself is not drawn."""
    if compute.network(known.model).task is not None:
        live(lambda: None, lambda: _watched(known.model, known.setting))


def comparison_laboratory(known: MethodResults, predicted: bool, hidden: Sequence[str] = ()) -> None:
    """Draw the race; accuracies show once it is `predicted`, `hidden` ones never."""
    said, model, setting = read_prose(SLUG).laboratory, known.model, known.setting
    compute.require_task(model)
    task = baselines_of(model, setting)
    if task is not None and task.error is not None:
        if not isinstance(task.error, QuantError):
            raise task.error
        st.warning(said["race_refused"].format(error=task.error), icon=":material/block:")
    live(lambda: _draw(model, setting, predicted, tuple(hidden)), lambda: _watched(model, setting))
    if predicted:
        _download(known.without(hidden))


def _watched(model: ModelKey, setting: Setting) -> tuple[object, ...]:
    """Return what has more to come; when that changes, the rest of the page does too."""
    task = baselines_of(model, setting)
    return (*([task] if task is not None and task.active else []), *active())


def _draw(model: ModelKey, setting: Setting, predicted: bool, hidden: tuple[str, ...]) -> None:
    said, known = read_prose(SLUG).laboratory, raced(model, setting)
    with st.container(horizontal=True, gap="small"):
        _several(known)
        _starters(known, FIRST)
    _under_way(known, predicted, hidden)
    _chart(known, hidden if predicted else tuple(method for method in METHODS if method != NEAREST))
    if known.baselines is not None:
        if predicted:
            _table(known, hidden)
    else:
        _awaited(model, setting)
    if not predicted:
        st.info(said["race_locked"], icon=":material/lock:")
    with st.expander(said["methods_title"], key=f"{SLUG}_methods_title"):
        with st.container(horizontal=True, gap="small"):
            _starters(known, [method for method in contestants() if method not in FIRST])
        for method in METHODS:
            st.markdown(said["method_line"].format(**asdict(method_words(method))))


def _awaited(model: ModelKey, setting: Setting) -> None:
    """Show how far the baselines are, unless they are refused."""
    task = baselines_of(model, setting)
    if task is None or task.error is None:
        study.progress(baselines_study(model, setting), read_prose(SLUG).laboratory["race_baselines"])


def _starters(known: MethodResults, methods: Sequence[str]) -> None:
    """Show a button for each method."""
    runs, lacking = compute.session(), _lacking(known.model)
    for method in methods:
        run = runs.find(Entry(known.model, known.setting, method))
        state = "new" if run is None or run.stopping else run.state
        busy = state in ("waiting", "running")
        st.button(
            method_words(method).title,
            key=f"{SLUG}_start_{method}",
            icon=ICONS.get(state, ":material/play_arrow:"),
            disabled=busy or state == "done" or lacking[method] is not None,
            help=verbatim(lacking[method] or method_words(method).does),
            on_click=start,
            args=(known.model, known.setting, (method,)),
        )


def _lacking(model: ModelKey) -> dict[str, str | None]:
    """Return for every method why it cannot run; a large network, which a page cannot wait for, is not run for that."""
    return available(compute.network(model), probing=is_quick(model))


def _several(known: MethodResults) -> None:
    """Show the buttons for several methods."""
    runs, said, lacking = compute.session(), read_prose(SLUG).laboratory, _lacking(known.model)
    fast = [method for method in contestants() if not METHODS[method].slow and lacking[method] is None]
    begun = {method: runs.find(Entry(known.model, known.setting, method)) for method in fast}
    started = {method for method, run in begun.items() if run is not None and run.state != "cancelled"}
    st.button(
        said["start_fast"],
        key=f"{SLUG}_start_fast",
        type="primary",
        icon=":material/fast_forward:",
        disabled=started == set(fast),
        on_click=start,
        args=(known.model, known.setting, fast),
    )
    st.button(
        said["cancel_all"],
        key=f"{SLUG}_cancel_all",
        icon=":material/stop:",
        disabled=not active(),
        on_click=lambda: runs.leave(*active()),
    )


def _under_way(known: MethodResults, predicted: bool, hidden: tuple[str, ...]) -> None:
    """Show every run of this session that goes on, with how far it is, what waits, and what failed."""
    said, waiting = read_prose(SLUG).laboratory, []
    for entry, run in entries():
        name = entry.name(known.model, known.setting)
        if run.state == "running":
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.progress(_part(run), _doing(name, run, predicted and entry.method not in hidden))
                _cancel(said["cancel"], entry, run)
        elif run.state == "waiting":
            waiting.append((name, entry, run))
        elif run.state == "failed" and (entry.model, entry.setting) == (known.model, known.setting):
            st.error(said["failed"].format(method=name, error=run.error), icon=":material/error:")
    if waiting:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(said["waiting"], width="content")
            for name, entry, run in waiting:
                _cancel(name, entry, run)


def _cancel(label: str, entry: Entry, run: Task) -> None:
    """Show the button that cancels a run."""
    st.button(
        label,
        key=f"{SLUG}_cancel_{entry.slug}",
        icon=":material/close:",
        type="secondary" if run.state == "running" else "tertiary",
        disabled=run.stopping,
        on_click=compute.session().leave,
        args=(entry,),
        width="content",
    )


def _part(run: Task) -> float:
    """Return how much of a run is done."""
    last = run.last
    return min(last.done / last.total, 1.0) if last is not None and last.total else 0.0


def _doing(name: str, run: Task, told: bool) -> str:
    """Say how far a run is."""
    said, last = read_prose(SLUG).laboratory, run.last
    if run.stopping:
        return said["stopping"].format(method=name)
    if last is None:
        return said["begun"].format(method=name, seconds=f"{run.seconds:.0f}")
    if last.scoring:
        return said["scoring"].format(method=name)
    parts = [said["doing"].format(method=name, doing=last.doing, done=count(last.done), total=count(last.total))]
    if last.loss is not None:
        parts.append(said["loss"].format(loss=short(last.loss)))
    scored = [lap.accuracy for lap in run.items if lap.accuracy is not None]
    if scored and told:
        parts.append(said["so_far"].format(accuracy=shown_score(scored[-1])))
    parts.append(f"{run.seconds:.0f} s")
    return " · ".join(parts)


def _chart(known: MethodResults, hidden: tuple[str, ...]) -> None:
    """Draw the lanes."""
    said = read_prose(SLUG).laboratory
    lanes, plain = _lanes(known, hidden), known.baselines.plain if known.baselines else None
    canvas = charts.canvas(known.model, known.setting)
    charts.show(comparison_figure(lanes, plain, canvas), f"{SLUG}_chart_race", describe_comparison(lanes, plain))
    if plain is not None:
        st.caption(
            said["race_note" if is_share(plain) else f"race_note_{plain.better}"].format(
                score=plain.name,
                n=count(plain.n),
                unit=compute.sample_unit(known.model),
                one=share(1 / plain.n),
                plain=with_interval(plain),
            )
        )


def _table(known: MethodResults, hidden: tuple[str, ...]) -> None:
    """Draw the way there, and the table."""
    said, canvas = read_prose(SLUG).laboratory, charts.canvas(known.model, known.setting)
    lanes, plain = _lanes(known, hidden), known.baselines.plain if known.baselines else None
    if any(method in hidden for method in METHODS):
        st.caption(said["race_hidden"])
    if any(lane.has_way for lane in lanes):
        charts.show(way_figure(lanes, plain, canvas), f"{SLUG}_chart_way", describe_way(lanes))
    if known.standing:
        tables.table([_row(known, method, method in hidden) for method in known.standing])
        st.caption(said["table_note"])


def _title(method: str) -> str:
    return method_words(method).title


def _lanes(known: MethodResults, hidden: tuple[str, ...]) -> list[Lane]:
    """Return the lanes of the baselines, of the first methods, and of others that were started."""
    begun = {entry.method for entry, _ in entries() if (entry.model, entry.setting) == (known.model, known.setting)}
    methods = [method for method in METHODS if method in {NEAREST, CLIPPED, *FIRST, *begun}]
    return [_lane(known, method) if method not in hidden else Lane(_title(method)) for method in methods]


def _lane(known: MethodResults, method: str) -> Lane:
    """Return what has been measured of a method at this setting."""
    if method in (NEAREST, CLIPPED):
        if known.baselines is None:
            return Lane(_title(method), baseline=True)
        lap = known.baselines.nearest if method == NEAREST else known.baselines.clipped
        return Lane(_title(method), [(lap.seconds, accuracy_of(lap))], ended=True, baseline=True)
    run = compute.session().find(Entry(known.model, known.setting, method))
    laps_run = run.items if run is not None and run.state in ("running", "done") else ()
    found = [(lap.seconds, lap.accuracy) for lap in laps_run if lap.accuracy is not None]
    return Lane(_title(method), found, ended=method in known.ended)


def _row(known: MethodResults, method: str, hidden: bool) -> dict[str, str]:
    """Return a line of the table."""
    said, lap = read_prose(SLUG).laboratory, known.standing[method]
    found, moved = accuracy_of(lap), known.moved(method)
    back = known.baselines.regained(found) if known.baselines else None
    row = {
        said["column_method"]: _title(method),
        said["column_accuracy"].format(score=found.name): UNKNOWN if hidden else with_interval(found),
        said["column_back"]: UNKNOWN if hidden else "" if back is None or method == NEAREST else share(back),
        said["column_moved"]: "" if moved is None else share(moved),
        said["column_seconds"]: "" if method in (NEAREST, CLIPPED) else short(lap.seconds, 2),
        said["column_needs"]: method_words(method).needs,
    }
    return {column: unbroken(text) for column, text in row.items()}


def _download(known: MethodResults) -> None:
    """Offer the plan of the winner."""
    said, winner = read_prose(SLUG).laboratory, known.winner
    if winner is None:
        return
    plan = known.standing[winner].plan
    assert plan is not None
    packed = compute.kept(ResultKey("zip", known.model, known.setting, winner), lambda: zipped(plan))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.download_button(
            said["download"].format(method=_title(winner)),
            packed,
            f"{compute.name(known.model)}-{winner.replace(' ', '-')}.zip".lower(),
            "application/zip",
            key=f"{SLUG}_download",
            icon=":material/download:",
        )
        st.caption(said["download_note"])


def zipped(plan: QuantizationPlan) -> bytes:
    """Return the files of a plan in one archive."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        plan.save(pathlib.Path(folder) / "plan.json")
        for path in sorted(pathlib.Path(folder).iterdir()):
            archive.write(path, path.name)
    return packed.getvalue()
