"""A lecture: pages with their state, one after the other, and the file that keeps it.

A file comes from anywhere: what is read is checked to the last value, and leads nowhere but to pages of this app.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from explorer.teaching.own_question import own_question, own_record
from explorer.teaching.questions import Question, readable
from quant_engine import QuantError
from quant_engine.checks import as_choice, as_instance, as_integer, as_list
from quant_engine.records import parse_json

SCHEMA = 1
MAX_BYTES, MAX_SLIDES = 1 << 19, 120
MAX_TITLE, MAX_NOTE, MAX_VALUE, MAX_KEYS, MAX_SECONDS = 120, 4000, 20_000, 80, 4 * 3600
KEY = re.compile(r"[a-z][a-z0-9_]{0,59}")
TRUTH, USUAL_SECONDS = "give a boolean", 120
QUESTION = re.compile(r"[a-z][a-z0-9_]{0,59}")
PART = re.compile(r"[A-Za-z0-9_-]{0,80}")
OF_SLIDES = ("title", "page", "link", "part", "hidden", "locked", "answers_hidden", "seconds", "note", "question")


@dataclass(frozen=True)
class Known:
    """What slides may lead to: pages by name, and the keys that links have."""

    pages: Collection[str]
    keys: Collection[str]


@dataclass(frozen=True)
class Slide:
    """One page with its state.

    Attributes:
        title: what the bar and the list call it.
        page: the page's name, as in its address.
        link: the parameters of the address.
        part: the key of the part of the page that is scrolled to, empty for its top.
        hidden, locked: keys of controls that are not drawn, or drawn and not to be used.
        answers_hidden: whether results stay hidden until they are revealed.
        seconds: what the slide may take.
        note: what the speaker alone reads.
        question: the name of a question to the class, or one that the teacher has written; empty for none.
    """

    title: str
    page: str
    link: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    hidden: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()
    answers_hidden: bool = False
    seconds: int = USUAL_SECONDS
    note: str = ""
    question: str | Question = ""

    @property
    def asks(self) -> str:
        """The name of the question, empty for none."""
        return self.question if isinstance(self.question, str) else self.question.name

    @property
    def hides(self) -> bool:
        """Whether something waits to be revealed: the answers of the page, or that to the slide's question."""
        return self.answers_hidden or bool(self.question)

    @property
    def address(self) -> str:
        """The page and its parameters, as text.

        >>> Slide("ReLU", "lesson_symmetry", {"symmetry_bits": "4"}).address
        'lesson_symmetry?symmetry_bits=4'
        """
        return f"{self.page}?{urlencode(self.link)}" if self.link else self.page

    @classmethod
    def read(cls, given: Any, known: Known, where: str = "the slide") -> Self:
        """Return a slide of its JSON.

        Raises:
            QuantError: for what is no slide, and for links to anything but our pages.
        """
        entry = _record(given, OF_SLIDES, where)
        page = as_choice(entry.get("page"), known.pages, f"page of {where}")
        return cls(
            title=_text(entry, "title", where, MAX_TITLE),
            page=page,
            link=_link(entry.get("link", {}), known, where),
            part=_name(entry, "part", PART, where),
            hidden=_keys(entry, "hidden", known, where),
            locked=_keys(entry, "locked", known, where),
            answers_hidden=as_instance(entry.get("answers_hidden", False), bool, f"answers_hidden of {where}", TRUTH),
            seconds=as_integer(entry.get("seconds", USUAL_SECONDS), f"seconds of {where}", 0, MAX_SECONDS),
            note=_text(entry, "note", where, MAX_NOTE, lines=True),
            question=_question(entry, where),
        )

    def record(self) -> dict[str, Any]:
        """Return its JSON, without what is as usual."""
        usual = Slide(self.title, self.page)
        told = {name: getattr(self, name) for name in OF_SLIDES}
        kept = {name: value for name, value in told.items() if name in OF_SLIDES[:2] or value != getattr(usual, name)}
        return {name: _plain(value) for name, value in kept.items()}


@dataclass(frozen=True)
class Lecture:
    """A title and its slides."""

    title: str = ""
    slides: tuple[Slide, ...] = ()

    @property
    def seconds(self) -> int:
        """What all slides may take."""
        return sum(slide.seconds for slide in self.slides)

    @property
    def minutes(self) -> int:
        """The same in minutes, rounded up.

        >>> Lecture("Two", (Slide("a", "home", seconds=61), Slide("b", "home", seconds=60))).minutes
        3
        """
        return -(-self.seconds // 60)

    @property
    def digest(self) -> str:
        """What names it: twelve digits of its text's SHA-256."""
        return hashlib.sha256(self.write().encode()).hexdigest()[:12]

    def write(self) -> str:
        """Return the text of its file."""
        slides = [slide.record() for slide in self.slides]
        return json.dumps({"schema": SCHEMA, "title": self.title, "slides": slides}, indent=1, ensure_ascii=False)

    @classmethod
    def read(cls, text: str | bytes, known: Known) -> Self:
        """Return the lecture of a file's text.

        Raises:
            QuantError: for what is no lecture of this version, is too large, or leads elsewhere than to our pages.
        """
        if len(text) > MAX_BYTES:
            raise QuantError(f"the file has {len(text):,} bytes, and a lecture {MAX_BYTES:,} at most; save one here")
        entry = _record(parse_json(text), ("schema", "title", "slides"), "the lecture")
        if (schema := entry.get("schema")) != SCHEMA:
            raise QuantError(f"schema {str(schema)[:20]} is not {SCHEMA}; open it with the version that wrote it")
        slides = entry.get("slides", [])
        if not isinstance(slides, list) or len(slides) > MAX_SLIDES:
            raise QuantError(f"a lecture has a list of {MAX_SLIDES} slides at most; save one here to see how it looks")
        return cls(
            _text(entry, "title", "the lecture", MAX_TITLE),
            tuple(Slide.read(slide, known, f"slide {number}") for number, slide in enumerate(slides, 1)),
        )

    def with_slide(self, slide: Slide, place: int | None = None) -> Self:
        """Return it with one more slide, at the end or before another.

        Raises:
            QuantError: where it is full.
        """
        if len(self.slides) >= MAX_SLIDES:
            raise QuantError(f"a lecture has {MAX_SLIDES} slides at most; delete one, or begin another lecture")
        at = len(self.slides) if place is None else place
        return replace(self, slides=(*self.slides[:at], slide, *self.slides[at:]))

    def without(self, place: int) -> Self:
        """Return it without a slide."""
        return replace(self, slides=(*self.slides[:place], *self.slides[place + 1 :]))

    def moved(self, place: int, by: int) -> Self:
        """Return it with a slide further on, or further back; nothing is beyond its ends.

        >>> [slide.title for slide in Lecture("", (Slide("a", "home"), Slide("b", "home"))).moved(0, 1).slides]
        ['b', 'a']
        """
        to = min(max(place + by, 0), len(self.slides) - 1)
        return self.without(place).with_slide(self.slides[place], to)

    def changed(self, place: int, slide: Slide) -> Self:
        """Return it with another slide in a place."""
        return self.without(place).with_slide(slide, place)


def slide_of(address: str, title: str, known: Known, part: str = "") -> Slide:
    """Return the slide of a page's address, scrolled to a part, with what no page knows left out.

    Raises:
        QuantError: for addresses of pages that cannot be slides, and links that are too long.
    """
    try:
        parts = urlsplit(address)
        pairs = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=200))
    except ValueError as error:
        raise QuantError(f"this address cannot be read: {error}; open the page anew") from error
    page = parts.path.rsplit("/", 1)[-1] or "home"
    link = {key: text for key, text in pairs.items() if key in known.keys}
    return Slide.read({"title": plain(title)[:MAX_TITLE], "page": page, "link": link, "part": part}, known, "the page")


def plain(text: str) -> str:
    """Return text without control characters and marks that turn the direction of writing, on one line.

    >>> plain("a" + chr(0x202E) + "b" + chr(10) + " c")
    'ab c'
    """
    return " ".join(readable(" ".join(text.split())).split())


def _record(given: Any, names: Sequence[str], where: str) -> dict[str, Any]:
    entry: dict[str, Any] = as_instance(given, dict, where, "give a record")
    if unknown := [name for name in entry if name not in names]:
        raise QuantError(f"{where} has {unknown[0][:40]!r}, unknown to this version; it knows {', '.join(names)}")
    return entry


def _text(entry: Mapping[str, Any], name: str, where: str, longest: int, lines: bool = False) -> str:
    text = entry.get(name, "")
    if not isinstance(text, str) or len(text) > longest:
        raise QuantError(f"{name} of {where} must be text of {longest} characters at most; shorten it")
    return "\n".join(map(plain, text.splitlines())) if lines else plain(text)


def _name(entry: Mapping[str, Any], name: str, pattern: re.Pattern[str], where: str) -> str:
    text = _text(entry, name, where, MAX_TITLE)
    if text and not pattern.fullmatch(text):
        raise QuantError(f"{name} of {where} must be a name of letters, digits and _, not {text[:40]!r}")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Question):
        return own_record(value)
    return list(value) if isinstance(value, tuple) else value


def _question(entry: Mapping[str, Any], where: str) -> str | Question:
    """Return the name of a question, or the one that the teacher has written."""
    if isinstance(given := entry.get("question", ""), dict):
        return own_question(given, f"the question of {where}")
    return _name(entry, "question", QUESTION, where)


def _keys(entry: Mapping[str, Any], name: str, known: Known, where: str) -> tuple[str, ...]:
    keys = as_list(entry.get(name, []), str, f"{name} of {where}", "give their keys")
    return tuple(dict.fromkeys(_known_key(key, known, where) for key in keys[:MAX_KEYS]))


def _known_key(key: str, known: Known, where: str) -> str:
    if not KEY.fullmatch(key) or key not in known.keys:
        raise QuantError(f"{where} sets {key[:40]!r}, which is no setting of this version; leave it out")
    return key


def _link(given: Any, known: Known, where: str) -> dict[str, str]:
    if not isinstance(given, dict) or len(given) > MAX_KEYS:
        raise QuantError(f"link of {where} must be a record of {MAX_KEYS} keys at most")
    for key, text in given.items():
        if not isinstance(text, str) or len(text) > MAX_VALUE:
            raise QuantError(f"{key[:40]} of {where} must be text of {MAX_VALUE:,} characters at most")
    return {_known_key(key, known, where): text for key, text in given.items()}
