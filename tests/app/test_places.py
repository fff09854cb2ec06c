"""Controls that are bound to the address keep their place in the page, or the browser would no longer bind them.

A control that is made anew beside the old one, before that is cleared, loses the binding with the old one. Streamlit
tells containers apart by their keys, and those without one by how many stand before them.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block, Expander

from explorer.lessons import LESSONS
from explorer.lessons.framework.model import BEATS

ROOT = pathlib.Path(__file__).parents[2]
PARTS = [(slug, part.name) for slug, lesson in LESSONS.items() if lesson.chapter for part in lesson.chapter.parts]
STATES = [
    *((page.stem, "", "") for page in sorted((ROOT / "pages").glob("*.py"))),
    *((f"lesson_{slug}", f"{slug}_beat", beat) for slug in LESSONS for beat in BEATS[1:]),
    *((f"lesson_{slug}", f"{slug}_part", part) for slug, part in PARTS),
]


def bound(block: Any, around: tuple[tuple[int, Any], ...] = ()) -> Iterator[tuple[str, tuple[tuple[int, Any], ...]]]:
    """Yield the parameter of each control in a block that is bound to the address, and the containers around it."""
    for place, child in block.children.items():
        if isinstance(child, Block):
            yield from bound(child, (*around, (place, child)))
        elif parameter := getattr(child.proto, "query_param_key", ""):
            yield parameter, around


def is_fixed(place: int, block: Any) -> bool:
    """Say whether what is drawn before a container cannot move it: it has a key, or is the first."""
    return place == 0 or isinstance(block, Expander) or bool(getattr(block.proto, "id", ""))


@pytest.mark.parametrize(("page", "key", "word"), STATES)
def test_what_comes_and_goes_before_a_control_does_not_move_it(page: str, key: str, word: str) -> None:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.switch_page(str(ROOT / "pages" / f"{page}.py"))
    if key:
        at.session_state[key] = word
    at.run()
    assert not at.exception
    controls = dict(bound(at.main))
    assert controls or not page.startswith("lesson_")
    assert {name for name, around in controls.items() if not all(is_fixed(*one) for one in around)} == set()
