"""WCAG 2.2 AA by axe-core on every page but the lessons, in both themes; lessons have it with their other tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from explorer.page_table import PAGES
from tests.browser.conftest import barriers_on, settle

pytestmark = pytest.mark.browser
NAMES = [entry.script.removesuffix(".py") for entries in PAGES.values() for entry in entries]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("lesson_")])
def test_axe_finds_nothing_serious(app: str, open_page: Callable[..., Page], name: str) -> None:
    page = open_page(f"{app}/{name}")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        settle(page)
        assert barriers_on(page) == [], scheme
