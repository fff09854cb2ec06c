"""Every field of every page: a link brings back what is set, and a row is all that a new field takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from explorer import pins, sweep_fields, text_fields
from explorer.fields import RENAMED, Choice, Field, Number, State, Text, faults, link_of, named, read_link, row
from explorer.frame import CONVENTION, model_field, tensor_field
from explorer.lessons import LESSONS
from explorer.lessons.centroids import learning
from explorer.lessons.mixed import plans
from explorer.presenting import PRESENT
from explorer.state import PlaygroundState
from explorer.teaching import fields as teaching_fields

TABLES: dict[str, tuple[Field[Any], ...]] = {
    "playground": (*PlaygroundState.fields().values(), pins.PINS),
    "frame": (model_field(), tensor_field("fashion-depthwise"), CONVENTION, PRESENT, pins.HOME),
    "text": text_fields.FIELDS,
    "sweep": sweep_fields.FIELDS,
    "teaching": (*teaching_fields.FIELDS, teaching_fields.COURSE),
    **{slug: lesson.all_fields for slug, lesson in LESSONS.items()},
}


def numbers(field: Number[Any]) -> st.SearchStrategy[Any]:
    if field.whole:
        return st.integers(int(field.min), int(field.max))
    found = st.floats(field.min, field.max)
    return st.none() | found if field.default is None else found


def meanings(field: Field[Any]) -> st.SearchStrategy[Any]:
    """What a field can stand for."""
    if isinstance(field, Choice):
        return st.sampled_from(list(field.options.values()))
    if isinstance(field, Number):
        return numbers(field)
    return CODED[field.key]


states = st.builds(PlaygroundState, **{name: meanings(field) for name, field in PlaygroundState.fields().items()})
short_numbers = st.floats(-1e6, 1e6).map(lambda value: float(f"{value:.6g}"))
ranges = st.tuples(short_numbers, short_numbers).map(sorted).filter(lambda pair: pair[0] < pair[1]).map(tuple)
CODED: dict[str, st.SearchStrategy[Any]] = {
    "play_pins": st.lists(states.map(pins.pin_of), max_size=pins.MAX_PINS).map(tuple),
    "home": st.lists(states.map(pins.pin_of), max_size=1).map(tuple),
    "granularity_edits": st.tuples(
        st.text("0123456789abcdef", min_size=4, max_size=16),
        st.dictionaries(st.integers(0, 10**6), ranges, min_size=1, max_size=6),
    ),
    "centroids_hand": st.lists(short_numbers, max_size=learning.MAX_CENTROIDS).map(sorted).map(tuple),
    "mixed_plan": st.lists(st.sampled_from(plans.WIDTHS), max_size=12).map(tuple),
    "formats_number": st.floats().map(repr),
    "sweep_search": st.text(max_size=sweep_fields.MAX_SEARCH),
    "sweep_formats": st.lists(st.from_regex(r"[A-Za-z0-9_]{1,9}", fullmatch=True), unique=True, max_size=9).map(tuple),
    "sweep_bits": st.none() | st.tuples(*2 * [st.integers(0, 1600)]).map(lambda two: (min(two) / 100, max(two) / 100)),
    "hide": st.lists(st.sampled_from(("play_bits", "tensor"))).map(tuple),
    "lock": st.lists(st.sampled_from(("play_bits", "tensor"))).map(tuple),
    "lecture": st.from_regex(r"[A-Za-z0-9_-]{0,60}", fullmatch=True),
    "class": st.from_regex(r"[A-Za-z0-9_-]{0,60}", fullmatch=True),
}


@pytest.mark.parametrize("table", TABLES)
@given(data=st.data())
def test_a_link_to_what_is_set_sets_it(table: str, data: st.DataObject) -> None:
    fields = TABLES[table]
    values = {field.key: data.draw(meanings(field)) for field in fields}
    held = {field.key: field.held(values[field.key]) for field in fields}
    link = link_of(fields, held)
    opened = {field.key: field.default for field in fields} | read_link(fields, link)
    assert opened == held
    assert {field.key: field.meaning(opened[field.key]) for field in fields} == values
    assert link_of(fields, opened) == link


@given(states)
def test_a_link_to_a_state_of_the_playground_is_that_state(state: PlaygroundState) -> None:
    assert PlaygroundState.read(state.link()) == state
    assert PlaygroundState.of(state.held()) == state


@pytest.mark.parametrize("table", TABLES)
def test_a_link_to_what_a_page_opens_with_says_nothing(table: str) -> None:
    assert link_of(TABLES[table], {field.key: field.default for field in TABLES[table]}) == {}


def test_no_two_fields_have_one_key() -> None:
    keys = [field.key for fields in TABLES.values() for field in fields]
    assert len(set(keys)) == len(keys)


def test_words_of_older_links_are_read_as_the_present_ones() -> None:
    choices = [field for fields in TABLES.values() for field in fields if isinstance(field, Choice)]
    for older, present in RENAMED.items():
        having = [field for field in choices if present in field.options]
        assert having, present
        assert all(read_link([field], {field.key: older}) == {field.key: present} for field in having)


@pytest.mark.parametrize("link", [{"play_colour": "red"}, {"play_bits": "17"}, {"play_clipping": "magic"}])
def test_what_is_not_valid_in_a_link_is_said_and_not_read(link: dict[str, str]) -> None:
    assert len(faults(PlaygroundState.fields().values(), link)) == 1
    with pytest.raises(ValueError, match="“"):
        PlaygroundState.read(link)


# --- a table of the test's own ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Soup(State):
    salt: int = row(Number("soup_salt", 0, 9, default=2))
    hot: bool = row(Choice("soup_hot", {"hot": True, "cold": False}, default="hot"))


@dataclass(frozen=True)
class PepperedSoup(Soup):
    """One row more."""

    pepper: float | None = row(Number("soup_pepper", 0.0, 5.0, default=None, box=True))
    with_: str = row(Choice("soup_with", named(("bread", "rice")), default="bread", menu=True))


def test_a_row_gives_the_attribute_its_link_its_check_and_its_default() -> None:
    soup = PepperedSoup(salt=7, hot=False, pepper=0.25)
    assert soup.link() == {"soup_salt": "7", "soup_hot": "cold", "soup_pepper": "0.25"}
    assert PepperedSoup.read(soup.link()) == soup
    assert replace(soup, salt=2, hot=True, pepper=None) == PepperedSoup()
    assert faults(PepperedSoup.fields().values(), {"soup_pepper": "9", "soup_with": "wine"}) == [
        "soup_pepper: “9” is not a number from 0 to 5; the default is used.",
        "soup_with: “wine” is not one of bread, rice; the default is used.",
    ]


def page() -> None:
    import streamlit

    from explorer import controls
    from tests.app.test_fields import PepperedSoup

    for field in PepperedSoup.fields().values():
        controls.show(field)
    soup = controls.now(PepperedSoup)
    streamlit.text(f"{soup.salt}, {soup.hot}, {soup.pepper}, {soup.with_}")
    streamlit.button("Reset", on_click=controls.restore, args=(PepperedSoup(),))
    streamlit.button("Cold", on_click=lambda: controls.change(PepperedSoup, hot=False, pepper=1.5))


def test_a_row_gives_the_control_the_state_and_the_reset() -> None:
    at = AppTest.from_function(page)
    for key, text in PepperedSoup(7, True, 0.25, "rice").link().items():
        at.query_params[key] = text
    at.run()
    assert not at.exception
    assert at.text[0].value == "7, True, 0.25, rice"
    assert (at.slider[0].value, at.number_input[0].value, at.selectbox[0].value) == (7, 0.25, "rice")
    at.button[1].click().run()
    assert at.text[0].value == "7, False, 1.5, rice"
    at.button[0].click().run()
    assert at.text[0].value == "2, True, None, bread"


def test_coded_text_that_cannot_be_read_is_not_accepted() -> None:
    field = Text("soup_recipe", int, str, default="1")
    assert field.accepts("12")
    assert not field.accepts("twelve")
    assert field.meaning(field.held(12)) == 12


def test_of_many_options_a_refusal_names_a_few() -> None:
    layers = Choice("tensor", named(f"layer.{number}.weight" for number in range(10_000)), default="layer.0.weight")
    [said] = faults([layers], {"tensor": "lm_head"})
    assert "10,000" in said
    assert "layer.19.weight" in said
    assert "layer.20.weight" not in said
