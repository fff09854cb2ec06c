"""Packs: real models with data, which are fetched in the background and then opened like any other."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import streamlit as st

from explorer import access, compute, frame
from explorer.background import Kind, Task, live
from explorer.language import read_words
from explorer.page_table import INSPECTOR, pages_folder
from explorer.sources import offer_pack, offer_packs
from quant_engine import QuantError
from quant_engine.packs import PACKS, Pack, Progress, install, is_installed

MB = 1_000_000
ADDING = "adding pack"  # in the session's tasks


def packs_panel() -> None:
    """Draw each pack with what can be done with it."""
    said = read_words("packs")
    offer_packs()
    st.subheader(said["title"], anchor=False)
    st.caption(said["text"] if access.may_add_packs() else said["text_class"])
    for pack in PACKS.values():
        with st.container(gap="xxsmall", key=f"pack_{pack.name}"):
            _pack(pack, said)


def _pack(pack: Pack, said: Mapping[str, Any]) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{pack.title}**", width="stretch")
        task = compute.session().find((ADDING, pack.name))
        if is_installed(pack):
            st.page_link(
                pages_folder() / INSPECTOR,
                label=said["inspect"].format(name=pack.name),
                icon=":material/table_chart:",
                query_params={frame.MODEL_KEY: pack.name, frame.TENSOR_KEY: pack.opening_layer},
            )
        elif task is not None and task.active:
            _button("stop", "stop", pack, said, _stop)
        elif access.may_add_packs():
            _button("add", "download", pack, said, _add)
    sizes = {"download": f"{pack.download_bytes / MB:,.0f}", "disk": f"{pack.size_bytes / MB:,.0f}"}
    st.caption(said["about"][pack.name] + "  \n" + said["sizes"].format(licence=pack.licence, **sizes))
    if task is not None and task.active:
        live(lambda: _progress(task, said), lambda: task.active)
    elif task is not None and task.error is not None and not is_installed(pack):
        if not isinstance(task.error, QuantError):
            raise task.error
        st.error(said["refused"].format(name=pack.name, error=task.error), icon=":material/block:")


def _progress(task: Task, said: Mapping[str, Any]) -> None:
    last: Progress | None = task.last
    step, done = ("fetching", 0) if last is None else (last.step, last.done_bytes)
    st.progress(0.0 if last is None else last.share, said["steps"][step].format(done=f"{done / MB:,.0f}"))


def _button(word: str, icon: str, pack: Pack, said: Mapping[str, Any], action: Any) -> None:
    label, key = said[word].format(name=pack.name), f"pack_{word}_{pack.name}"
    st.button(label, key=key, icon=f":material/{icon}:", on_click=action, args=(pack,))


def _add(pack: Pack) -> None:
    """Begin to fetch a pack, or go on with it (a callback)."""
    key = ADDING, pack.name
    compute.session().leave(key)  # what has failed is tried again
    compute.session().start(key, lambda: _adding(pack), Kind.LONG_RUN)


def _stop(pack: Pack) -> None:
    """Stop fetching a pack (a callback)."""
    compute.session().leave((ADDING, pack.name))


def _adding(pack: Pack) -> Generator[Progress, None, None]:
    yield from install(pack)
    offer_pack(pack)
