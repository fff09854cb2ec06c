"""WCAG 2.2 AA by axe-core on every page, in both themes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from explorer.page_table import PAGES
from tests.browser.conftest import settle

pytestmark = pytest.mark.browser
NAMES = [entry.script.removesuffix(".py") for entries in PAGES.values() for entry in entries]
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
NOT_OURS = [
    ["[data-testid=stSidebarNav]"],
    ["header"],
    [".katex-display"],
    ["pre"],
]  # Streamlit's frame, formulas, code
SLIDER = 'role="slider"'  # handles stand where their values are, however close; keys move them, too


@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing_serious(app: str, open_page: Callable[..., Page], name: str) -> None:
    page = open_page(f"{app}/{name}")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        settle(page)
        found = Axe().run(page, context={"exclude": NOT_OURS}, options={"runOnly": STANDARD}).response["violations"]
        told = [
            (each["id"], node["html"][:200])
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
            if each["id"] != "target-size" or SLIDER not in node["html"]
        ]
        assert not told, (scheme, told)
