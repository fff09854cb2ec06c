"""WCAG 2.2 AA by axe-core on every page but the lessons, in both themes; lessons have it with their other tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from explorer.page_table import PAGES
from tests.browser.conftest import barriers_on

pytestmark = pytest.mark.browser
NAMES = [entry.script.removesuffix(".py") for entries in PAGES.values() for entry in entries]


@pytest.mark.choice(3)  # prime to the two themes
@pytest.mark.parametrize("form", ["desktop", "dark"])
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("lesson_")])
def test_axe_finds_nothing_serious(app: str, open_page: Callable[..., Page], name: str, form: str) -> None:
    assert barriers_on(open_page(f"{app}/{name}", form)) == []
