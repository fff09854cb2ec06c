"""Lectures: the slides of the one that is being made, where it comes from and goes to, and what each lesson is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from explorer import tables
from explorer.dialogs import close, dialog
from explorer.language import read_words
from explorer.lessons import LESSONS
from explorer.page_table import entry_of
from explorer.panels.lecture_files import file_name, lecture_files_panel
from explorer.sentences import verbatim
from explorer.teaching import playing, shelf
from explorer.teaching.adding import slide_form
from explorer.teaching.builtin import is_known, title_of
from explorer.teaching.fields import LECTURE
from explorer.teaching.lecture import MAX_BYTES, MAX_TITLE, Lecture, Slide
from quant_engine import QuantError

UNDO, UPLOAD, LINK, EDIT = "teach_undo", "teach_upload", "teach_link", "teach_edit"
MAX_UNDO = 30
SIDE_WIDTH = 340  # pixels


def teach_panel() -> None:
    """Draw the lecture that is being made, with what can be done to it, and the lessons below."""
    said, lecture = read_words("teach"), shelf.draft()
    with st.container(horizontal=True, gap="large", key="teach_sides"):
        slides, side = st.container(key="teach_slides"), st.container(width=SIDE_WIDTH, key="teach_side")
    with slides:
        st.header(said["title"], anchor=False)
        st.markdown(said["lead"])
        _head(lecture, said)
        for place, slide in enumerate(lecture.slides):
            _row(lecture, place, slide, said)
        if not lecture.slides:
            st.info(said["empty"], icon=":material/playlist_add:")
    with side:
        _ways(lecture, said)
    _lessons(said["lessons"])
    edited = st.session_state.get(EDIT)
    if edited is not None and edited < len(lecture.slides):
        dialog(said["edit_title"], EDIT, lambda: _edit(lecture, edited, said))


def _head(lecture: Lecture, said: Mapping[str, Any]) -> None:
    """Draw the title, how long it takes, and how to play it."""
    key = f"teach_title_{lecture.digest}"
    st.text_input(said["lecture_title"], lecture.title, key=key, max_chars=MAX_TITLE, on_change=_retitle, args=(key,))
    if not lecture.slides:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="teach_play_row"):
        st.button(
            said["play"],
            key="teach_play",
            type="primary",
            icon=":material/co_present:",
            on_click=_play,
            args=(lecture, 1),
        )
        st.markdown(said["total"].format(n=len(lecture.slides), minutes=lecture.minutes))


def _row(lecture: Lecture, place: int, slide: Slide, said: Mapping[str, Any]) -> None:
    """Draw one slide, and what can be done with it."""
    last = len(lecture.slides) - 1
    with st.container(horizontal=True, vertical_alignment="center", gap="xxsmall", key=f"teach_slide_{place}"):
        with st.container(gap=None, width="stretch"):
            st.text(f"{place + 1}. {slide.title or slide.page}")
            st.caption(" · ".join(map(verbatim, _about(slide, said))))
        for name, icon, usable, act in (
            ("up", "arrow_upward", place > 0, (_change, lecture.moved(place, -1))),
            ("down", "arrow_downward", place < last, (_change, lecture.moved(place, 1))),
            ("preview", "visibility", True, (_play, lecture, place + 1)),
            ("edit", "edit", True, (_ask_edit, place)),
            ("duplicate", "content_copy", True, (_duplicate, lecture, place)),
            ("delete", "delete", True, (_change, lecture.without(place))),
        ):
            st.button(
                "",
                key=f"teach_{name}_{place}",
                icon=f":material/{icon}:",
                help=said[name],
                type="tertiary",
                disabled=not usable,
                on_click=act[0],
                args=act[1:],
            )


def _about(slide: Slide, said: Mapping[str, Any]) -> list[str]:
    """Say where a slide leads and what it restricts."""
    parts = [entry_of(slide.page).title, said["minutes"].format(minutes=f"{slide.seconds / 60:g}")]
    if slide.asks and is_known(slide.question):
        parts.append(said["asks"].format(title=title_of(slide.question)))
    if slide.hidden or slide.locked:
        parts.append(said["restrictions"].format(hidden=len(slide.hidden), locked=len(slide.locked)))
    if slide.answers_hidden:
        parts.append(said["answers_hidden"])
    return [*parts, said["has_note"]] if slide.note else parts


def _ways(lecture: Lecture, said: Mapping[str, Any]) -> None:
    """Draw where lectures come from and go to."""
    if lecture.slides:
        st.caption(said["kept" if shelf.outlives_session() else "kept_session"])
    with st.container(horizontal=True, gap="xsmall", key="teach_ways"):
        if st.session_state.get(UNDO):
            st.button(said["undo"], key="teach_undo_button", icon=":material/undo:", on_click=_undo)
        if lecture.slides:
            st.download_button(
                said["save"],
                lecture.write(),
                f"{file_name(lecture.title)}.json",
                "application/json",
                key="teach_save",
                icon=":material/download:",
                on_click="ignore",
            )
            st.button(said["link"], key="teach_link_button", icon=":material/link:", on_click=_link, args=(lecture,))
            st.button(said["clear"], key="teach_clear", icon=":material/note_add:", on_click=_change, args=(Lecture(),))
    if name := st.session_state.pop(LINK, ""):
        st.code(f"{_base()}/?{LECTURE.key}={name}", language=None, wrap_lines=True)
    st.markdown(f"**{said['examples']}**")
    for name, example in shelf.examples().items():
        with st.container(border=True, gap="xxsmall"):
            st.text(said["example"].format(title=example.title, n=len(example.slides), minutes=example.minutes))
            with st.container(horizontal=True, gap="xsmall"):
                st.button(
                    said["example_play"],
                    key=f"teach_play_{name}",
                    icon=":material/co_present:",
                    on_click=_play,
                    args=(example, 1, name),
                )
                st.button(said["example_take"], key=f"teach_take_{name}", on_click=_change, args=(example,))
    lecture_files_panel(lecture)
    st.file_uploader(said["open"], ["json"], key=UPLOAD, max_upload_size=1, on_change=_open, width="stretch")


def _lessons(said: Mapping[str, Any]) -> None:
    """Draw the table of lessons."""
    st.subheader(said["title"], anchor=False)
    st.caption(said["lead"])
    columns = said["columns"]
    rows = [
        (
            f"{lesson.number} {lesson.prose.title}",
            str(lesson.prose.minutes),
            said["needs"][lesson.slug],
            " ".join(lesson.prose.remember),
        )
        for lesson in LESSONS.values()
    ]
    tables.table([dict(zip(columns, row, strict=True)) for row in rows], hide_index=True)


def _edit(lecture: Lecture, place: int, said: Mapping[str, Any]) -> None:
    """Draw the form of one slide."""
    key, slide, words = f"teach_edit_{place}", lecture.slides[place], said["add"]
    st.caption(f"{said['address']}: {verbatim(slide.address)}")
    changed, question = slide_form(slide, key, words)
    if st.button(said["edit_done"], key=f"{key}_done", type="primary"):
        try:
            made = replace(changed, question=question())
            _change(lecture.changed(place, Slide.read(made.record(), shelf.known())))
        except QuantError as error:
            st.error(said["refused"].format(error=error))
            return
        close(EDIT)


def _change(lecture: Lecture) -> None:
    """Take another lecture as the one that is being made (a callback)."""
    before: list[Lecture] = st.session_state.setdefault(UNDO, [])
    before.append(shelf.draft())
    del before[:-MAX_UNDO]
    _save(lecture)


def _save(lecture: Lecture) -> None:
    try:
        shelf.save_draft(lecture)
    except QuantError as error:
        st.toast(read_words("teach")["refused"].format(error=error), icon=":material/block:")


def _undo() -> None:
    """Have back what was there before the last change (a callback)."""
    if before := st.session_state.get(UNDO):
        _save(before.pop())


def _duplicate(lecture: Lecture, place: int) -> None:
    """Have a slide twice (a callback)."""
    try:
        _change(lecture.with_slide(lecture.slides[place], place + 1))
    except QuantError as error:
        st.toast(verbatim(error), icon=":material/block:")


def _retitle(key: str) -> None:
    """Take over a title that was typed (a callback)."""
    _change(replace(shelf.draft(), title=st.session_state[key]))


def _ask_edit(place: int) -> None:
    """Have the form of a slide opened (a callback)."""
    st.session_state[EDIT] = place


def _play(lecture: Lecture, number: int, name: str = "") -> None:
    """Play a lecture from a slide on (a callback)."""
    try:
        playing.play(name or shelf.keep(lecture), number)
    except QuantError as error:
        st.toast(verbatim(error), icon=":material/block:")


def _link(lecture: Lecture) -> None:
    """Show the link that plays the lecture (a callback)."""
    try:
        st.session_state[LINK] = shelf.keep(lecture)
    except QuantError as error:
        st.toast(verbatim(error), icon=":material/block:")


def _open() -> None:
    """Take over the lecture of a file (a callback)."""
    given = st.session_state[UPLOAD]
    if given is None:
        return
    said = read_words("teach")
    try:
        text = given.getvalue()[: MAX_BYTES + 1]
        lecture = Lecture.read(text, shelf.known())
    except QuantError as error:
        st.toast(said["refused"].format(error=error), icon=":material/block:", duration="long")
        return
    _change(lecture)
    st.toast(said["opened"].format(title=lecture.title, n=len(lecture.slides)))


def _base() -> str:
    """Return the address of the app, without the page."""
    parts = urlsplit(st.context.url or "")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rsplit('/', 1)[0]}" if parts.netloc else ""
