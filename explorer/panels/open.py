"""Opening models: files of one's own, by path or name, and packs; the inspector then shows each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import streamlit as st

from explorer import access, compute, controls, frame
from explorer.background import live
from explorer.given import Opened, open_dropped, open_named
from explorer.language import read_words
from explorer.notation import short
from explorer.notices import FRESH
from explorer.own_files import MAX_FILE, MAX_TOTAL, MIB, models, own_files
from explorer.page_table import INSPECTOR, pages_folder
from explorer.panels.packs import packs_panel
from explorer.receiver import receiver
from explorer.sources import opening_model
from explorer.uploads import streamed
from quant_engine import QuantError
from quant_engine.network import Network

UPLOADS, REFUSED = "open_uploads", "open_refused"  # in the session's state
NAMED, ASKED = "open_named", "open_asked"  # what was named last, and the run that opens it
WIDTH = 520  # pixels
MAX_PATH = 260  # characters


def open_panel() -> None:
    """Draw the ways in, the models that are open, and the packs."""
    said = read_words("open")
    with st.container(horizontal=True, gap="large", key="open_ways"):
        with st.container(width=WIDTH, key="open_said"):
            st.header(said["title"], anchor=False)
            st.markdown(said["text"])
            if streamed():
                _stream(said)
                limits = said["limits_streamed"].format(total=short(access.upload_bytes() / access.GB))
            else:
                _upload(said)
                limits = said["limits"].format(file=MAX_FILE // MIB, total=MAX_TOTAL // MIB)
            st.caption(f"{limits} {said['privacy']}")
            if access.may_name_paths():
                _name(said)
            for name in own_files().names:
                _listed(name, said)
        with st.container(width=WIDTH, key="open_packs"):
            packs_panel()


def _name(said: Mapping[str, str]) -> None:
    """Take a path, or a name on the hub, with data; opening it is a run in the background."""
    field = said["name"] if access.may_name_anything() else said["path"]
    with st.form("open_by_name", border=False):
        given = st.text_input(field, key="open_given", max_chars=MAX_PATH, placeholder=said["name_example"])
        data = st.text_input(said["data"], key="open_data", max_chars=MAX_PATH, placeholder=said["data_example"])
        pressed = st.form_submit_button(said["open"], icon=":material/folder_open:")
    key = st.session_state.get(ASKED)
    if pressed and given.strip():
        named = given.strip(), data.strip()
        key = (ASKED, *named, st.session_state.get(NAMED, 0))
        controls.assign({ASKED: key, NAMED: st.session_state.get(NAMED, 0) + 1})
        compute.session().start(key, lambda: open_named(*named))
    if key is None or (task := compute.session().find(key)) is None:
        return
    more = chain((True, True), repeat(False))  # to Streamlit the address is that of the page before for one whole run
    if task.active or st.session_state.get(FRESH):
        live(lambda: st.caption(said["reading"].format(name=key[1])), lambda: task.active or next(more))
        return
    compute.session().leave(key)
    if task.error is not None:
        if not isinstance(task.error, QuantError):
            raise task.error
        st.error(said["refused"].format(name=key[1], error=task.error), icon=":material/block:")
        return
    controls.assign({ASKED: None})
    opened: Opened = task.result()
    _arrive(own_files().lend(opened.network), opened, said)


def _stream(said: Mapping[str, Any]) -> None:
    """Take files of any size, which the browser streams to the disk."""
    try:
        inbox = own_files().inbox
    except OSError as error:
        st.error(said["no_disk"].format(error=error), icon=":material/block:")
        return
    batch = receiver(inbox, {"drop": said["drop"], **said["receiver"]})
    if batch is not None and (paths := inbox.files(batch)):
        named = ", ".join(path.name for path in paths)
        _read(named, said, lambda read: own_files().take(batch, read))
    _refused()


def _upload(said: Mapping[str, Any]) -> None:
    """Take a file; what holds it in memory is then another control, so that it is released."""
    turn = st.session_state.setdefault(UPLOADS, 0)
    given = st.file_uploader(
        said["drop"], accept_multiple_files=True, key=f"open_file_{turn}", max_upload_size=MAX_FILE // MIB
    )
    if given:
        controls.assign({UPLOADS: turn + 1})
        named, files = ", ".join(file.name for file in given), [(file.name, file) for file in given]
        _read(named, said, lambda read: own_files().add_together(files, read))
    _refused()


def _read(named: str, said: Mapping[str, Any], add: Callable[[Callable[[Sequence[Path]], Network]], str]) -> None:
    """Open what has come, by a function that is told how files are read, and go to the inspector."""
    opened: list[Opened] = []

    def read(paths: Sequence[Path]) -> Network:
        opened.append(open_dropped(paths))
        return opened[-1].network

    controls.assign({REFUSED: ""})
    try:
        with st.spinner(said["reading"].format(name=named)):
            name = add(read)
    except (QuantError, OSError) as error:  # the disk may be full
        controls.assign({REFUSED: said["refused"].format(name=named, error=error)})
        st.rerun()
    _arrive(name, opened[-1], said)


def _refused() -> None:
    """Say why the last file was not opened."""
    if st.session_state.get(REFUSED):
        st.error(st.session_state[REFUSED], icon=":material/block:")


def _arrive(name: str, opened: Opened, said: Mapping[str, str]) -> None:
    """Go to the inspector, with a model and its first tensor; first say why it is weights only, if it is."""
    if opened.reason:
        st.warning(said["weights_only"].format(name=name, reason=opened.reason), icon=":material/info:")
        return
    chosen = _chosen(name)
    controls.assign(chosen)
    st.switch_page(pages_folder() / INSPECTOR, query_params=chosen)


def _chosen(name: str) -> dict[str, str]:
    """Return what chooses a model, and its first tensor."""
    return {frame.MODEL_KEY: name, frame.TENSOR_KEY: models().opening_layer(name)}


def _listed(name: str, said: Mapping[str, str]) -> None:
    """Draw a file that is open: the way to it, and what closes it."""
    with st.container(horizontal=True, vertical_alignment="center", key=f"open_listed_{name}"):
        st.page_link(
            pages_folder() / INSPECTOR,
            label=said["inspect"].format(name=name),
            icon=":material/table_chart:",
            query_params=_chosen(name),
        )
        label = said["close"].format(name=name)
        st.button(label, key=f"close_{name}", icon=":material/close:", type="tertiary", on_click=_close, args=(name,))


def _close(name: str) -> None:
    """Forget a file (a callback)."""
    if st.session_state.get(frame.MODEL_KEY) == name:
        controls.assign(_chosen(opening_model()))
    own_files().close(name)
