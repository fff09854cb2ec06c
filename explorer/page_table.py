"""The page table: a page is a script in `pages/` and its line here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PageEntry:
    """One page of the navigation."""

    script: str
    title: str
    icon: str
    default: bool = False


PAGES: dict[str, tuple[PageEntry, ...]] = {
    "Explore": (
        PageEntry("playground.py", "Playground", ":material/tune:", default=True),
        PageEntry("model_card.py", "Model card", ":material/table_chart:"),
    ),
}
