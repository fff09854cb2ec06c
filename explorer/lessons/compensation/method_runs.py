"""The runs of methods that a session has started, and what they have come to by now."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from explorer import compute
from explorer.background import Kind, Task, shares
from explorer.caches import ResultKey
from explorer.lessons.compensation.method_progress import Lap, baselines, laps
from explorer.lessons.compensation.method_results import SLUG, Entry, MethodResults, contestants
from explorer.lessons.framework import study
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.study import Study
from explorer.sources import ModelKey
from quant_engine.methods import METHODS, Setting


def baselines_study(model: ModelKey, setting: Setting) -> Study:
    """Return the study of the baselines."""
    network = compute.network(model)
    return Study(ResultKey("baselines", model, setting), lambda: shares(baselines(network, setting)), 1)


def baselines_of(model: ModelKey, setting: Setting) -> Task | None:
    """Return the task of the baselines, which goes on unless it was stopped; another setting takes its place."""
    return study.go_on(baselines_study(model, setting))


def await_baselines(model: ModelKey, setting: Setting) -> None:
    """Show how far the baselines are, where the race itself is not drawn."""
    study.show(baselines_study(model, setting), read_prose(SLUG).laboratory["race_baselines"], lambda task: None)


def start(model: ModelKey, setting: Setting, methods: Iterable[str]) -> None:
    """Start methods, unless they are under way or through (a callback)."""
    network, session = compute.network(model), compute.session()
    for method in methods:
        kind = Kind.LONG_RUN if METHODS[method].slow else Kind.RUN
        session.start(Entry(model, setting, method), partial(laps, network, method, setting), kind)


def raced(model: ModelKey, setting: Setting) -> MethodResults:
    """Return what is known of a race by now."""
    session, task = compute.session(), baselines_of(model, setting)
    ended: dict[str, Lap] = {}
    for method in contestants():
        run = session.find(Entry(model, setting, method))
        if run is not None and run.state == "done":
            ended[method] = run.items[-1]
    return MethodResults(model, setting, task.last if task is not None and task.state == "done" else None, ended)


def results_of(model: ModelKey, setting: Setting) -> MethodResults:
    """Return what is known by now; nothing of a network that cannot be scored."""
    return MethodResults(model, setting) if compute.network(model).task is None else raced(model, setting)


def entries() -> list[tuple[Entry, Task]]:
    """Return the runs of the session that belong to races, in the order in which they were started."""
    return [(key, run) for key, run in compute.session().own.items() if isinstance(key, Entry)]


def active() -> tuple[Entry, ...]:
    """Return which of them have more to come."""
    return tuple(entry for entry, run in entries() if run.active)
