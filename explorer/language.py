"""Every word that a person reads, in the reader's language: a translation is a folder of `prose/`.

What a translation has no words for is said in English.
"""

from __future__ import annotations

import functools
import pathlib
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import streamlit as st
from babel import Locale
from streamlit.runtime.scriptrunner import get_script_run_ctx

from explorer.sentences import Sentence

FOLDER = pathlib.Path(__file__).resolve().parent / "prose"
ENGLISH = "en"
KEY = "lang"  # in links
RUNS = "quant_explorer_language"  # where a run keeps its language
_SPOKEN: ContextVar[str] = ContextVar("spoken", default="")


@functools.cache
def languages() -> Mapping[str, str]:
    """Return the languages there are by their codes, each under its own name."""
    codes = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())
    return MappingProxyType({code: read_file(code, "frame")["language"] for code in codes})


def browser_language() -> str:
    """Return the language of the reader's browser if we have it, else English."""
    wanted = (st.context.locale or "").split("-")[0]
    return wanted if wanted in languages() else ENGLISH


def language() -> str:
    """Return the language of this session; outside of one it is English."""
    if asked := _SPOKEN.get():
        return asked
    spoken: str = getattr(get_script_run_ctx(suppress_warning=True), RUNS, "") or ask_language()
    return spoken


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Have all that is said within be said in another language than the session's."""
    before = _SPOKEN.set(code)
    try:
        yield
    finally:
        _SPOKEN.reset(before)


def ask_language() -> str:
    """Find out which language is asked for, for all that this run says: it says much, and asking takes a while."""
    run = get_script_run_ctx(suppress_warning=True)
    if run is None:
        return ENGLISH
    asked = st.session_state.get(KEY, st.query_params.get(KEY))
    spoken = asked if asked in languages() else browser_language()
    setattr(run, RUNS, spoken)
    return spoken


def read_words(name: str, code: str | None = None) -> Mapping[str, Any]:
    """Return the words of a file in a language, that of this session unless another is asked for."""
    return _words(name, code or language())


def plain_words(name: str) -> Mapping[str, Any]:
    """Return the words of a file for what knows no markdown: the terminal, figures, HTML of our own."""
    return _plain_words(name, language())


@functools.cache
def _plain_words(name: str, code: str) -> Mapping[str, Any]:
    return MappingProxyType(translated(read_file(ENGLISH, name), read_file(code, name)))


@functools.cache
def _words(name: str, code: str) -> Mapping[str, Any]:
    return MappingProxyType(_sentences(_plain_words(name, code)))


def _sentences(words: Any) -> Any:
    """Return words as sentences, which show what is filled into them as plain text."""
    if isinstance(words, Mapping):
        return {key: _sentences(text) for key, text in words.items()}
    if isinstance(words, list):
        return [_sentences(text) for text in words]
    return Sentence(words) if isinstance(words, str) else words


def one(unit: str) -> str:
    """Return what a value of a kind is called."""
    return str(read_words("tensors")["unit"].get(unit, unit))


def several(unit: str) -> str:
    """Return what more than one value of a kind are called."""
    return str(read_words("tensors")["units"].get(unit, f"{unit}s"))


def plural(words: Mapping[str, str], n: int) -> str:
    """Return the form of some words that goes with a number, by the language's rules; all have `other`.

    >>> plural({"one": "scale", "other": "scales"}, 1), plural({"one": "scale", "other": "scales"}, 0)
    ('scale', 'scales')
    """
    return words.get(Locale.parse(language()).plural_form(n), words["other"])


@functools.cache
def number_marks(code: str) -> str:
    """Return what a language sets before decimals and between thousands, two characters.

    >>> number_marks("en"), number_marks("de")
    ('.,', ',.')
    """
    symbols = Locale.parse(code).number_symbols["latn"]
    return f"{symbols['decimal']}{symbols['group']}"


def localized(number: str) -> str:
    """Return a number that is written as in English with the marks of the language."""
    return number.translate(str.maketrans(".,", number_marks(language())))


def read_file(code: str, name: str) -> dict[str, Any]:
    """Return what a language's file says; a file that it does not have says nothing."""
    path = FOLDER / code / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() or code == ENGLISH else {}


def translated(english: Any, other: Any) -> Any:
    """Return words with those of another language in their places, as far as it has them.

    >>> translated({"a": "one", "b": ["two", {"c": "three"}]}, {"b": ["zwei", {}]})
    {'a': 'one', 'b': ['zwei', {'c': 'three'}]}
    """
    if isinstance(english, dict) and isinstance(other, dict):
        return {key: translated(text, other[key]) if key in other else text for key, text in english.items()}
    if isinstance(english, list) and isinstance(other, list):
        return [translated(*pair) for pair in zip(english, other, strict=True)]
    return other
