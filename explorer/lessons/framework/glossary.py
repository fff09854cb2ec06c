"""The glossary: what each term means, where it can be seen, and links to it from the first use in a text."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from explorer.fields import Choice
from explorer.language import language, read_words

TERM_KEY = "glossary_term"
LEFT_ALONE = r"`[^`]*`|\$[^$]*\$|!?\[[^\]]*\]\([^)]*\)|\{[^}]*\}|https?://\S+|#+ .*"  # code, formulas, links, headings


@dataclass(frozen=True)
class Term:
    """An entry: how text calls it, the page and settings that show it, and its picture's kind and numbers."""

    slug: str
    topic: str
    title: str
    names: tuple[str, ...]
    text: str
    formula: str = ""
    see: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    sketch: Mapping[str, Any] = field(default_factory=dict)

    @property
    def other_names(self) -> list[str]:
        """What it is also called."""
        return [name for name in self.names if name.casefold() != self.title.casefold()]

    @property
    def address(self) -> str:
        """Where the entry is, seen from any page."""
        return f"glossary?{TERM_KEY}={self.slug}"


def terms() -> Mapping[str, Term]:
    """Return all entries by slug, in their order."""
    return _terms(language())


@functools.cache
def _terms(code: str) -> Mapping[str, Term]:
    rows = read_words("glossary", code)["terms"]
    return MappingProxyType({slug: Term(slug, **{**row, "names": tuple(row["names"])}) for slug, row in rows.items()})


def topics() -> Mapping[str, str]:
    """Return the topics' titles by their names."""
    return MappingProxyType(read_words("glossary")["topics"])


def search(asked: str) -> list[Term]:
    """Return the entries with a text in their title or names, then those with it in their explanation."""
    wanted = asked.strip().casefold()
    named = [each for each in terms().values() if any(wanted in name.casefold() for name in (each.title, *each.names))]
    return named + [each for each in terms().values() if each not in named and wanted in each.text.casefold()]


def term_field() -> Choice[Term]:
    """Return the field of the state that holds which entry is open."""
    return Choice(TERM_KEY, terms(), default=next(iter(terms())), instead="instead_first")


def linked(text: str) -> str:
    """Return Markdown in which the first use of every term leads to its entry."""
    seen: set[str] = set()
    names = {name: each.slug for each in terms().values() for name in each.names}
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))

    def link(match: re.Match[str]) -> str:
        slug = names.get(match["name"] or "")
        if slug is None or slug in seen:
            return match[0]
        seen.add(slug)
        return f"[{match[0]}]({terms()[slug].address})"

    return re.sub(rf"{LEFT_ALONE}|(?<![\w-])(?P<name>{longest_first})(?![\w-])", link, text)
