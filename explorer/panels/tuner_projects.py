"""The tuner's projects: the plan is saved as it is edited, and every plan that was saved can be loaded again."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from explorer import compute, projects, tuner_session
from explorer.language import read_words
from explorer.notation import count
from explorer.sentences import verbatim
from explorer.sources import ModelKey
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import QuantError
from quant_engine.store import Project, SavedPlan, Store

NAMES, SEARCH, UPLOAD = "tuner_project_names", "tuner_project_search", "tuner_project_file"
SAVED, SEEN = "tuner_project_saved", "tuner_project_seen"  # the plan that was saved last; last numbers of projects
OTHERS = "tuner_project_others"  # what was last said of plans that another window has saved
MAX_NAME, MAX_MB = 200, 64
MAX_LISTED = 50  # plans of a project in its menu


def projects_panel(model: ModelKey, plan: TunedPlan) -> None:
    """Draw the project at hand, what was saved in it, and the others."""
    said = read_words("tuner")["projects"]
    try:
        kept = projects.store()
        if kept is None:
            st.caption(said["none_here"])
            return
        name = _name(kept, model)
        _project(kept, model, name, said)
        _others(kept, model, name, said)
    except QuantError as error:
        st.warning(verbatim(error), icon=":material/block:")


def save_as_you_go(model: ModelKey, plan: TunedPlan) -> None:
    """Save the plan at hand in the model's project, once it is another than the one that the tuner opens with."""
    if plan == TunedPlan() or st.session_state.get(SAVED) == (model, plan):
        return
    st.session_state[SAVED] = model, plan
    try:
        if (kept := projects.store()) is not None:
            seen: dict[str, int] = st.session_state.setdefault(SEEN, {})
            name = _name(kept, model)
            saved = projects.save(kept, model, name, plan, seen.get(name), tuner_session.original(model))
            seen[name] = saved.number
            if saved.others:
                said = read_words("tuner")["projects"]["others_saved"]
                st.session_state[OTHERS] = said.format(n=count(saved.others), name=name)
                st.toast(st.session_state[OTHERS], icon=":material/group:", duration="long")
    except QuantError as error:
        tuner_session.refuse(error)


def _name(kept: Store, model: ModelKey) -> str:
    """Return the project of a model in this session."""
    names: dict[ModelKey, str] = st.session_state.setdefault(NAMES, {})
    if model not in names:
        names[model] = projects.usual_name(kept, model)
    return names[model]


def _project(kept: Store, model: ModelKey, name: str, said: Mapping[str, Any]) -> None:
    """Draw the project's name, its plans, and what can be done with it."""
    exists = any(one.name == name for one in projects.of_model(kept, model))
    saved = kept.plans(name) if exists else []
    key = f"tuner_project_name_{hash(name)}"
    st.text_input(
        said["name"],
        name,
        key=key,
        max_chars=200,
        on_change=_rename,
        args=(kept, model, name, key),
        disabled=not exists,
    )
    if not saved:
        st.caption(said["nothing_saved"])
        return
    if others := st.session_state.get(OTHERS):
        st.info(others, icon=":material/group:")
    st.caption(said["saved"].format(time=_time(saved[-1].saved), n=count(len(saved))))
    listed = [*reversed(saved)][:MAX_LISTED]
    place = st.selectbox(
        said["plans"],
        range(len(listed)),
        format_func=lambda at: _titled(len(saved) - at, listed[at]),
        key=f"tuner_project_plan_{len(saved)}",
    )
    with st.container(horizontal=True, gap="xsmall"):
        st.button(said["load"], key="tuner_project_load", on_click=_load, args=(kept, model, listed[place].document))
        st.download_button(
            said["export"],
            lambda: _exported(kept, name),
            file_name=f"{_plain(name)}.sqlite",
            key="tuner_project_export",
            on_click="ignore",
        )


def _others(kept: Store, model: ModelKey, name: str, said: Mapping[str, Any]) -> None:
    """Draw the other projects of this model, and the way in for one from elsewhere."""
    search = st.text_input(said["search"], key=SEARCH)
    others = [one for one in projects.of_model(kept, model, search) if one.name != name]
    for one in others[:MAX_LISTED]:
        st.button(
            said["open"].format(name=one.name, time=_time(one.changed)),
            key=f"tuner_project_open_{one.name}",
            type="tertiary",
            on_click=_open,
            args=(kept, model, one),
        )
    if not others:
        st.caption(said["no_others"].format(model=compute.name(model)))
    st.button(said["new"], key="tuner_project_new", on_click=_begin, args=(kept, model))
    st.file_uploader(
        said["import"],
        ["sqlite"],
        key=UPLOAD,
        max_upload_size=64,
        on_change=_import,
        args=(kept, model),
        width="stretch",
    )


def _rename(kept: Store, model: ModelKey, name: str, key: str) -> None:
    """Give the project at hand the name that was typed (a callback)."""
    try:
        kept.rename(name, st.session_state[key])
        st.session_state[NAMES][model] = st.session_state[key].strip()
    except QuantError as error:
        tuner_session.refuse(error)


def _load(kept: Store, model: ModelKey, document: str) -> None:
    """Take a saved plan as the next one (a callback)."""
    try:
        plan, original = projects.load(kept, model, document)
        if original is not None:
            tuner_session.keep_original(model, original)
    except QuantError as error:
        tuner_session.refuse(error)
        return
    tuner_session.change(model, plan)


def _open(kept: Store, model: ModelKey, project: Project) -> None:
    """Go on with another project, at its last plan (a callback)."""
    try:
        document = kept.plans(project.name)[-1].document
    except QuantError as error:  # renamed or deleted meanwhile
        tuner_session.refuse(error)
        return
    st.session_state[NAMES][model] = project.name
    _load(kept, model, document)


def _begin(kept: Store, model: ModelKey) -> None:
    """Go on with the plan at hand in a new project (a callback)."""
    st.session_state[NAMES][model] = projects.free_name(kept, model)
    st.session_state.pop(SAVED, None)


def _import(kept: Store, model: ModelKey) -> None:
    """Add the projects of a file (a callback)."""
    given = st.session_state[UPLOAD]
    if given is None:
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "given.sqlite"
            path.write_bytes(given.getbuffer())
            names = kept.import_from(path)
        mine = [one for one in projects.of_model(kept, model) if one.name in names]
        if mine:
            _open(kept, model, mine[0])
        else:
            said = read_words("tuner")["projects"]["of_another"]
            tuner_session.refuse(QuantError(said.format(names=", ".join(names))))
    except QuantError as error:
        tuner_session.refuse(QuantError(str(error).replace(f"{folder}/", "")))


def _exported(kept: Store, name: str) -> bytes:
    """Return a project as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "project.sqlite"
        kept.export(name, path)
        return path.read_bytes()


def _titled(number: int, plan: SavedPlan) -> str:
    """Name a plan by its number and time: a menu takes options of one title for one and the same."""
    return f"{number} · {_time(plan.saved)}{f' · {plan.label}' if plan.label else ''}"


def _time(text: str) -> str:
    """Write a time in UTC as the machine's own."""
    return datetime.datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_ " else "_" for letter in name)[:80]
