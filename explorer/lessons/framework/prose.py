"""The words of a lesson, read from its file of `explorer/prose/`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from explorer.language import language, read_words
from quant_engine.methods import METHODS


@dataclass(frozen=True)
class Preset:
    """A button of the second beat: settings by field name, without the lesson's prefix."""

    label: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Prose:
    """All text of one lesson; {names} in braces are filled with live numbers."""

    title: str
    minutes: int
    lead: str
    predict: str
    predictions: Mapping[str, str]
    act: str
    puzzles: tuple[str, ...]
    presets: tuple[Preset, ...]
    reveal: str
    formula: str
    question: str
    feedback: Mapping[str, str]
    remember: tuple[str, ...]
    sources: tuple[str, ...]
    laboratory: Mapping[str, str]  # what stands in the laboratory, by name
    editor: Mapping[str, str]  # what a component of its own says, by name


def read_prose(slug: str) -> Prose:
    """Return a lesson's words in the language of this session."""
    return _prose(slug, language())


@functools.cache
def _prose(slug: str, code: str) -> Prose:
    content = read_words(slug, code)
    return Prose(
        title=content["title"],
        minutes=content.get("minutes", 7),
        lead=content["lead"],
        predict=content["predict"]["prompt"],
        predictions=MappingProxyType(content["predict"]["options"]),
        act=content["act"]["task"],
        puzzles=tuple(content["act"].get("puzzles", ())),
        presets=tuple(
            Preset(entry["label"], MappingProxyType(entry["set"])) for entry in content["act"].get("presets", ())
        ),
        reveal=content["reveal"]["text"],
        formula=content["formula"]["text"],
        question=content["question"]["prompt"],
        feedback=MappingProxyType(content["question"]["feedback"]),
        remember=tuple(content.get("remember", ())),
        sources=tuple(content.get("sources", ())),
        laboratory=MappingProxyType(content.get("laboratory", {})),
        editor=MappingProxyType(content.get("editor", {})),
    )


@dataclass(frozen=True)
class MethodWords:
    """What a method of compensation is called, what it does, and what it needs."""

    title: str
    does: str
    needs: str


def method_words(method: str) -> MethodWords:
    """Return what is said of a method; one that nothing is said of yet has its title alone."""
    said = read_words("methods").get(method, {})
    return MethodWords(**{"title": METHODS[method].title, "does": "", "needs": "", **said})


def words() -> Mapping[str, str]:
    """Return the words that all lessons share."""
    return read_words("shared")
