"""Lessons of several parts: each step opens at its own, a choice is in the link, and old links are read."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

from explorer.frame import TENSOR_KEY
from explorer.lessons import LESSONS
from explorer.lessons.framework.model import BEATS
from tests.app.waiting import await_answers

ROOT = pathlib.Path(__file__).parents[2]
CHAPTERS = {slug: lesson.chapter for slug, lesson in LESSONS.items() if lesson.chapter}


def open_lesson(slug: str, **link: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    for name, value in link.items():
        at.query_params[f"{slug}_{name}"] = value
    return run(at.switch_page(str(ROOT / "pages" / f"lesson_{slug}.py")))


def run(at: AppTest) -> AppTest:
    at.run()
    assert not at.exception
    return at


def parts(at: AppTest, slug: str) -> tuple[str, str]:
    """The part on display, and what the address says of it."""
    return at.session_state[f"{slug}_part"], at.query_params.get(f"{slug}_part", "")


@pytest.mark.parametrize("slug", CHAPTERS)
def test_each_step_opens_at_its_part_whatever_was_chosen_in_the_step_before(slug: str) -> None:
    at, chapter = open_lesson(slug), CHAPTERS[slug]
    for beat in BEATS[:-1]:
        assert at.session_state[f"{slug}_beat"] == beat
        assert parts(at, slug) == (chapter.opens[beat].name, "")
        other = next(part.name for part in reversed(chapter.parts) if part != chapter.opens[beat])
        at.button_group(key=f"{slug}_part").set_value(other)
        assert parts(run(at), slug) == (other, other)
        assert parts(run(at), slug) == (other, other)
        at.button(key=f"{slug}_continue").click()
        run(at)


@pytest.mark.parametrize("slug", CHAPTERS)
def test_a_link_opens_at_its_part(slug: str) -> None:
    for part in CHAPTERS[slug].parts:
        assert parts(open_lesson(slug, beat="See", part=part.name), slug)[0] == part.name


def test_a_link_from_before_there_were_parts_opens_at_the_part_that_it_sets() -> None:
    assert parts(open_lesson("formats", int_step="6"), "formats") == ("Integers", "Integers")
    assert parts(open_lesson("formats", int_step="6", part="Cost"), "formats")[0] == "Cost"


def test_what_is_set_in_a_part_is_kept_while_another_is_shown() -> None:
    at = open_lesson("formats", part="Radix point", point="6")
    for part in ("Bits", "Radix point"):
        at.button_group(key="formats_part").set_value(part)
        run(at)
    assert at.slider(key="formats_point").value == 6


CHANGES = {  # another choice for each control that parts share
    TENSOR_KEY: "conv1",
    "formats_tensor": "layer inputs",
    "formats_bits": "4 bits",
    "formats_range": "least MSE",
    "mixed_shared": "layer",
    "mixed_uniform": 3,
    "compensation_bits": 4,
    "compensation_activations": "4 bits",
    "compensation_shared": "layer",
}
PRESSED = {("mixed", "Together"): "mixed_alone_begin", ("mixed", "Optimiser"): "mixed_exact_run"}
UNSEEN = {("compensation", "Codes"): {"compensation_bits", "compensation_activations", "compensation_shared"}}
# until a method has ended


@pytest.mark.parametrize(("slug", "part"), [(slug, part.name) for slug in CHAPTERS for part in CHAPTERS[slug].parts])
def test_every_control_of_a_part_changes_its_figure(slug: str, part: str) -> None:
    at = open_lesson(slug, beat="Try", part=part, **{"cost": "Fisher"} if part == "Optimiser" else {})
    at.session_state[f"{slug}_show_anyway"] = True
    await_answers(run(at))
    if button := PRESSED.get((slug, part)):
        at.button(key=button).click()
        await_answers(run(at))
    drawn = {control.key for kind in (at.selectbox, at.slider, at.button_group) for control in kind}
    shown = figure(at, slug)
    for key in drawn & CHANGES.keys() - UNSEEN.get((slug, part), set()):
        before = at.session_state[key]
        at.session_state[key] = CHANGES[key]
        assert figure(await_answers(run(at)), slug) != shown, key
        at.session_state[key] = before
        run(at)


def figure(at: AppTest, slug: str) -> list[bytes]:
    """What a part draws below its controls, as it is sent to the browser."""
    return list(sent(next(block for block in blocks(at.main) if block.proto.id.endswith(f"{slug}_drawn"))))


def blocks(block: Any) -> Iterator[Any]:
    for child in block.children.values():
        if isinstance(child, Block):
            yield child
            yield from blocks(child)


def sent(block: Any) -> Iterator[bytes]:
    for child in block.children.values():
        if isinstance(child, Block):
            yield from sent(child)
        else:
            yield child.proto.SerializeToString()
