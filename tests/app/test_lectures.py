"""Lectures: files that nothing hostile passes, and slides that are their pages' states, with no leak between them."""

from __future__ import annotations

import json
import pathlib
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from explorer.figures.theme import Canvas
from explorer.teaching import shelf
from explorer.teaching.drawn import Played
from explorer.teaching.lecture import MAX_BYTES, MAX_SLIDES, Known, Lecture, Slide, slide_of
from explorer.teaching.own_question import own_question
from explorer.teaching.questions import Question
from explorer.teaching.record import Asked, handout_html, record_html
from quant_engine import QuantError

FULL = pytest.mark.full
ROOT = pathlib.Path(__file__).parents[2]
ENTRY = str(ROOT / "explorer" / "app.py")
KNOWN = Known(("home", "playground", "lesson_symmetry"), {"play_bits", "play_clipping", "tensor"})
OWN: tuple[dict[str, Any], ...] = (
    {"kind": "choice", "text": "Which <b>?", "options": ["a", "b", "c"], "truth": 2, "reveal": "c."},
    {"kind": "number", "text": "How many?", "low": -1, "high": 7, "truth": 3, "unit": "%"},
)
SLIDES = st.builds(
    Slide,
    title=st.text("abc Ωβ<>&\"'", max_size=20).map(lambda text: " ".join(text.split())),
    page=st.sampled_from(KNOWN.pages),
    link=st.dictionaries(st.sampled_from(sorted(KNOWN.keys)), st.text(max_size=9)),
    hidden=st.lists(st.sampled_from(sorted(KNOWN.keys)), unique=True).map(tuple),
    locked=st.lists(st.sampled_from(sorted(KNOWN.keys)), unique=True).map(tuple),
    answers_hidden=st.booleans(),
    seconds=st.integers(0, 4 * 3600),
    note=st.sampled_from(("", "Say it.\nThen wait.")),
    question=st.sampled_from(("", "four_formats", *map(own_question, OWN))),
)
MOVIE: list[dict[str, Any]] = [
    {"title": "ReLU", "page": "lesson_symmetry", "link": {"symmetry_bits": "3", "symmetry_beat": "See"}},
    {
        "title": "fc1",
        "page": "playground",
        "link": {"tensor": "fc1", "play_bits": "3"},
        "answers_hidden": True,
        "hidden": ["play_clipping"],
        "locked": ["play_bits"],
    },
    {"title": "OCR", "page": "playground", "link": {"model": "ocr"}},
]


@settings(max_examples=20)
@given(st.lists(SLIDES, max_size=4), st.text("abc Ω", max_size=9).map(str.strip))
def test_a_lecture_comes_back_from_its_file(slides: list[Slide], title: str) -> None:
    lecture = Lecture(" ".join(title.split()), tuple(slides))
    assert Lecture.read(lecture.write(), KNOWN) == lecture
    assert Lecture.read(lecture.write().encode(), KNOWN).digest == lecture.digest


def changed(**parts: Any) -> str:
    return json.dumps({"schema": 1, "title": "", "slides": [{"title": "a", "page": "home", **parts}]})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"schema": 1, "schema": 1}', "twice"),
        ('{"schema": 2}', "schema"),
        ("[]", "lecture"),
        (" " * (MAX_BYTES + 1), "bytes"),
        (json.dumps({"schema": 1, "slides": [{"page": "home"}] * (MAX_SLIDES + 1)}), "slides"),
        (changed(page="https://elsewhere.example"), "page"),
        (changed(page="../status"), "page"),
        (changed(link={"lang": "de"}), "lang"),
        (changed(link={"play_bits": 3}), "play_bits"),
        (changed(link={"play_bits": "x" * 20_001}), "play_bits"),
        (changed(hidden="play_bits"), "hidden"),
        (changed(locked=["__proto__"]), "__proto__"),
        (changed(seconds=1e9), "seconds"),
        (changed(seconds=True), "seconds"),
        (changed(answers_hidden="yes"), "answers_hidden"),
        (changed(note="x" * 4001), "note"),
        (changed(script="alert(1)"), "script"),
        (changed(question="<b>"), "question"),
        (changed(question={"kind": "choice", "text": "?", "options": ["one"]}), "options"),
        (changed(question={"kind": "choice", "text": "?", "options": ["a", "b"], "name": "x"}), "slide 1.*name"),
        (changed(question=["four_formats"]), "question"),
    ],
)
def test_what_is_no_lecture_is_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(QuantError, match=told):
        Lecture.read(text, KNOWN)


def test_a_slide_is_made_of_an_address_with_what_our_pages_know() -> None:
    slide = slide_of("/base/playground?play_bits=3&lang=de&utm=x", "A\u202e b", KNOWN)
    assert (slide.title, slide.page, slide.link) == ("A b", "playground", {"play_bits": "3"})
    assert slide_of("/", "", KNOWN).page == "home"
    with pytest.raises(QuantError, match="page"):
        slide_of("//evil.example/etc/passwd?play_bits=3", "", KNOWN)


def test_slides_move_and_are_taken_out() -> None:
    lecture = Lecture("", tuple(Slide(title, "home") for title in "abc"))
    assert "".join(slide.title for slide in lecture.moved(0, 1).slides) == "bac"
    assert "".join(slide.title for slide in lecture.moved(2, 5).slides) == "abc"
    assert "".join(slide.title for slide in lecture.without(1).slides) == "ac"
    assert "".join(slide.title for slide in lecture.changed(1, Slide("x", "home")).slides) == "axc"


# --- on the screen ----------------------------------------------------------------------------------------------------


@pytest.fixture
def movie(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A lecture that this server keeps, by its name; what a server for others would not."""
    monkeypatch.setenv("QUANT_EXPLORER_NAMING", "anything")
    monkeypatch.setenv("QUANT_EXPLORER_PROJECTS", str(tmp_path / "projects.sqlite"))
    folder = tmp_path / "lectures"
    folder.mkdir()
    (folder / "movie.json").write_text(json.dumps({"schema": 1, "title": "Movie", "slides": MOVIE}))
    return "movie"


Player = Callable[[int], AppTest]


@pytest.fixture
def play(movie: str) -> Player:
    at = AppTest.from_file(ENTRY, default_timeout=120)

    def play(number: int) -> AppTest:
        at.session_state["lecture"], at.session_state["lecture_go"], at.session_state["lecture_entered"] = (
            movie,
            number,
            None,
        )
        at.run()
        assert not at.exception
        return at

    return play


def keys_drawn(at: AppTest) -> set[str]:
    return {each.key for kind in (at.slider, at.selectbox, at.number_input) for each in kind}


def test_a_slide_is_its_page_with_its_state_and_nothing_leaks_to_the_next(play: Player) -> None:
    at = play(1)
    assert at.slider(key="symmetry_bits").value == 3
    at.slider(key="symmetry_bits").set_value(8).run()
    at.session_state["symmetry_prediction"] = "four"
    assert not at.exception
    assert play(2).selectbox(key="tensor").value == "fc1"
    again = play(1)
    assert again.slider(key="symmetry_bits").value == 3
    assert again.session_state["symmetry_prediction"] is None


def test_controls_are_hidden_and_locked_and_answers_wait_until_they_are_revealed(play: Player) -> None:
    at = play(2)
    assert "play_clipping" not in keys_drawn(at)
    assert at.slider(key="play_bits").disabled
    assert not at.metric
    noted, alt = at.session_state["lecture_waiting"][2]["play_instrument"]  # a canvas, which no record could hold
    [codewords] = [trace for trace in json.loads(noted)["data"] if trace["name"] == "codewords"]
    assert f"{2**3} codewords" in alt
    assert len(codewords["customdata"]) > 1
    assert "used" not in alt  # an answer
    layout = json.loads(noted)["layout"]
    ends = sorted(line["x0"] for line in layout["shapes"])
    told = layout["xaxis"]["title"]["text"]
    assert told.startswith("weight r (3 bits, min–max, α = ")
    said = [float(end.replace("−", "-")) for end in re.findall("[αβ] = ([−.0-9]+)", told)]
    assert said == pytest.approx(ends, rel=0.01)
    at.session_state["answers"] = "shown"
    at.run()
    assert at.metric
    assert set(at.session_state["lecture_waiting"][2]) == {"play_instrument"}


def test_a_slide_about_a_pack_that_is_not_there_says_how_to_add_it(play: Player) -> None:
    at = play(3)
    assert any("quant-explorer models add ocr" in text.value for text in at.markdown)
    assert not at.selectbox


def test_what_was_done_before_a_lecture_is_there_after_it(play: Player) -> None:
    at = play(1)
    at.session_state["lecture_progress"] = json.dumps({"bits": {"done": ["Predict"]}})
    at.session_state["lecture_end"] = at.session_state["lecture_from"] = True  # the page Lectures began it
    at.run()
    assert not at.exception
    assert at.button(key="teach_take_ten_minutes")
    assert at.session_state["bits_done"] == {"Predict"}
    assert (at.session_state["lecture"], at.session_state["present"]) == ("", "0")


@pytest.mark.parametrize(("name", "minutes"), [("ten_minutes", 10), pytest.param("sixty_minutes", 60, marks=FULL)])
def test_every_slide_of_an_example_is_shown_as_it_was_made(name: str, minutes: int) -> None:
    at, lecture = AppTest.from_file(ENTRY, default_timeout=120), shelf.find(name)
    assert lecture.minutes == minutes
    for number, slide in enumerate(lecture.slides, 1):
        at.session_state["lecture"], at.session_state["lecture_go"] = name, number
        at.session_state["lecture_entered"] = None
        at.run()
        assert not at.exception, slide.title
        assert not [each.value for each in (*at.error, *at.warning)], slide.title
        assert at.session_state["lecture_arrived"], slide.title
        drawn = {each.key: each.value for kind in (at.slider, at.selectbox) for each in kind}
        wanted = {key: text for key, text in slide.link.items() if key in drawn}
        assert {key: str(drawn[key]) for key in wanted} == wanted, slide.title


def test_a_lecture_that_a_link_opens_speaks_the_language_of_the_link(movie: str) -> None:
    at = AppTest.from_file(ENTRY, default_timeout=120)
    at.query_params["lecture"], at.query_params["lang"] = movie, "de"
    at.run()
    assert at.session_state["lecture_entered"] == (movie, 1)
    assert at.session_state["lang"] == "de"


def test_a_lecture_that_is_not_here_is_said_to_be_missing() -> None:
    at = AppTest.from_file(ENTRY, default_timeout=120)
    at.query_params["lecture"] = "0123456789ab"
    at.run()
    assert not at.exception
    assert any("0123456789ab" in warning.value for warning in at.warning)


def test_the_lecture_is_reordered_duplicated_and_every_change_undone(movie: str) -> None:
    at = AppTest.from_file(ENTRY, default_timeout=120).switch_page(str(ROOT / "pages" / "teach.py")).run()

    def titles() -> list[str]:
        return [each.value for each in at.text if each.key is None and each.value[:1].isdigit()]

    assert titles() == []
    at.button(key="teach_take_ten_minutes").click().run()
    before = titles()
    at.button(key="teach_down_0").click().run()
    assert [title[3:] for title in titles()[:2]] == [before[1][3:], before[0][3:]]
    at.button(key="teach_duplicate_0").click().run()
    assert len(titles()) == len(before) + 1
    at.button(key="teach_delete_0").click().run()
    for _ in range(3):
        at.button(key="teach_undo_button").click().run()
    assert titles() == before
    assert not at.exception


def test_the_form_of_a_slide_stays_open_while_the_page_under_it_runs(movie: str) -> None:
    at = AppTest.from_file(ENTRY, default_timeout=120).switch_page(str(ROOT / "pages" / "lesson_symmetry.py"))
    at.session_state["lecture_add"] = {"address": "/lesson_symmetry?symmetry_bits=3", "part": ""}
    at.run()
    assert at.toggle(key="lecture_new_answers").value  # the step asks something
    at.text_input(key="lecture_new_title").set_value("Mine").run()
    at.run()
    assert "live_held" in at.session_state
    at.selectbox(key="lecture_new_question").set_value("written").run()
    at.text_area(key="lecture_new_text").set_value("Lunch?")
    at.text_area(key="lecture_new_options").set_value("now\n\nlater").run()
    at.button(key="lecture_new_do").click().run()
    assert not at.exception
    assert "live_held" not in at.session_state
    [slide] = shelf.draft().slides
    assert (slide.title, slide.link["symmetry_bits"]) == ("Mine", "3")
    assert isinstance(slide.question, Question)
    assert (slide.question.options, slide.question.truth) == (("now", "later"), None)
    assert not [one for one in at.text_input if one.key == "lecture_new_title"]


def test_a_lecture_that_is_shortened_while_it_is_played_goes_on_and_an_empty_one_is_left(
    movie: str, tmp_path: pathlib.Path
) -> None:
    def write(slides: int) -> None:
        draft = {"schema": 1, "title": "Draft", "slides": MOVIE[:slides]}
        (tmp_path / "lectures" / "draft.json").write_text(json.dumps(draft))

    write(3)
    at = AppTest.from_file(ENTRY, default_timeout=120)
    at.session_state["lecture"], at.session_state["lecture_go"] = "draft", 3
    entered = []
    for slides in (3, 1):
        write(slides)
        at.run()
        assert not at.exception
        entered.append(at.session_state["lecture_entered"])
    assert entered == [("draft", 3), ("draft", 1)]
    write(0)
    at.run()
    assert not at.exception
    assert "lecture_entered" not in at.session_state


# --- what stays of it -------------------------------------------------------------------------------------------------

HOSTILE = "</script><script>alert(1)</script>"
QUESTION = Question("choice", f"Which {HOSTILE}?", 1, f"Revealed-42 {HOSTILE}.", options=("INT4", f"FP4 {HOSTILE}"))
HELD = Lecture(
    f"Held {HOSTILE}",
    (Slide("One", "lesson_symmetry"), Slide(HOSTILE, "playground", answers_hidden=True, question="four_formats")),
)
NAMES = {1: HOSTILE, 2: "waiting-42"}
FIGURES = {number: {"a": (json.dumps({"data": [{"name": name}]}), HOSTILE)} for number, name in NAMES.items()}


class Parts(HTMLParser):
    """Elements by name, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1


def test_a_record_holds_figures_votes_and_truth_and_runs_no_text_of_others() -> None:
    asked = {"four_formats": Asked(QUESTION, {1: [0.0, 1.0, 1.0]})}
    text = record_html(HELD, FIGURES, asked, [Asked(QUESTION, {})], Canvas("record"))
    tags = Parts(text).tags
    figures = 2 + 2  # of the slides, and of the question, which is asked twice
    assert tags["section"] == 3
    assert tags["script"] == 2 + figures + 1  # plotly.js and what draws, each figure's data, the keys
    assert "alert(1)" in text
    assert HOSTILE not in text
    assert "waiting-42" in text
    assert "Revealed-42" in text


def test_a_handout_leaves_room_and_has_the_figures_from_before_the_answers() -> None:
    before = {2: {"a": (json.dumps({"data": [{"name": "before-42"}]}), "before")}}
    figures = Played("held", FIGURES, before).before_answers(HELD)
    assert figures == {1: FIGURES[1], 2: before[2]}
    text = handout_html(HELD, figures, {"four_formats": QUESTION}, Canvas("handout"))
    assert text.count("class='line'") == 3
    assert "Revealed-42" not in text
    assert "waiting-42" not in text
    assert "before-42" in text
    assert HOSTILE not in text
