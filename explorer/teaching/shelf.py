"""Where lectures are: the examples, those of this machine's person, or of one session on a server for others."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import streamlit as st

from explorer import access
from explorer.data_folder import VARIABLE, made, projects_path
from explorer.frame import link_keys
from explorer.page_table import PAGES, TEACHING
from explorer.teaching.access_key import teacher_key
from explorer.teaching.fields import COURSE, FIELDS
from explorer.teaching.lecture import Known, Lecture
from explorer.teaching.routes import COOKIE
from quant_engine import QuantError

EXAMPLES = Path(__file__).resolve().parent / "examples"
HELD, DRAFT = "teaching_lectures", "draft"
MAX_HELD = 40  # lectures of one session
NOT_SLIDES = {"status", *(Path(script).stem for script in TEACHING)}


def known() -> Known:
    """Return what slides may lead to in this version."""
    pages = [page.path.stem for pages in PAGES.values() for page in pages if page.path.stem not in NOT_SLIDES]
    ours = {field.key for field in (*FIELDS, COURSE)} | {"present", "lang"}
    return Known(pages, link_keys() - ours)


@functools.cache
def _example(name: str) -> Lecture:
    return Lecture.read((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"), known())


def examples() -> Mapping[str, Lecture]:
    """Return the lectures that come with the app, by name, the shortest first."""
    found = {path.stem: _example(path.stem) for path in EXAMPLES.glob("*.json")}
    return dict(sorted(found.items(), key=lambda item: item[1].seconds))


def find(name: str) -> Lecture:
    """Return a lecture by its name in links: an example's, or its digest.

    Raises:
        QuantError: for one that is not here.
    """
    if (EXAMPLES / f"{name}.json").is_file():
        return _example(name)
    text = _texts().get(name)
    if text is None:
        raise QuantError(
            f"the lecture {name[:60]!r} is not on this server; open its file under Teach and play it there"
        )
    return Lecture.read(text, known())


def keep(lecture: Lecture) -> str:
    """Keep a lecture to be played, and return its name in links."""
    name = lecture.digest
    _write(name, lecture)
    return name


def draft() -> Lecture:
    """Return the lecture that is being made; a file of another version is none."""
    text = _texts().get(DRAFT)
    try:
        return Lecture() if text is None else Lecture.read(text, known())
    except QuantError:
        return Lecture()


def save_draft(lecture: Lecture) -> None:
    """Keep the lecture that is being made."""
    _write(DRAFT, lecture)


def outlives_session() -> bool:
    """Say whether what is kept is there tomorrow: on one's own machine, and for who holds classes with its key."""
    return access.may_name_anything() or bool(teacher_key(st.context.cookies.get(COOKIE, "")))


class _Folder(Mapping[str, str]):
    """Texts of files by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> str:
        try:
            return (self.folder / f"{name}.json").read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise KeyError(name) from error

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in self.folder.glob("*.json"))

    def __len__(self) -> int:
        return len([*self])


def _folder() -> Path:
    return projects_path().parent / "lectures"


def _texts() -> Mapping[str, str]:
    if outlives_session():
        return _Folder(_folder())
    held: dict[str, str] = st.session_state.setdefault(HELD, {})
    return held


def _write(name: str, lecture: Lecture) -> None:
    """Write a lecture whole or not at all.

    Raises:
        QuantError: where the disk takes nothing.
    """
    if not outlives_session():
        held: dict[str, str] = st.session_state.setdefault(HELD, {})
        held.pop(name, None)
        held[name] = lecture.write()
        for oldest in [other for other in held if other != DRAFT][:-MAX_HELD]:
            del held[oldest]
        return
    path = _folder() / f"{name}.json"
    try:
        made(path)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(lecture.write(), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise QuantError(f"{path.parent} takes no file: {error}; set {VARIABLE} to another place") from error
