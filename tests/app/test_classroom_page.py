"""The teacher's page: a class is opened on truths that numpy confirms, led from vote to vote, and ended."""

from __future__ import annotations

import pathlib
import sqlite3

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer import access, compute, data_folder, uploads
from explorer.sentences import inert
from explorer.sources import MODELS
from explorer.teaching import kept, shelf
from explorer.teaching.access_key import OWN, kept_key, teacher_key
from explorer.teaching.answers import Given
from explorer.teaching.builtin import AFTER_RELU, FOUR, LAYER, MODEL, OF_PUZZLE, question_named
from explorer.teaching.lecture import Lecture, Slide
from explorer.teaching.own_question import own_question
from explorer.teaching.qr import qr_svg, qr_text
from explorer.teaching.questions import Question, read_questions, write_questions
from explorer.teaching.routes import KEY
from quant_engine import QuantError
from tests.app.test_sinks import HOSTILE as NAME
from tests.app.waiting import await_answers

ROOT = pathlib.Path(__file__).parents[2]
HOSTILE = " ".join(NAME.split())[:112]  # of an option, on one line
QUICK = ("codes_used", "best_range", "four_formats", "asymmetric", "clip_little")


@pytest.fixture
def own_machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path / "projects.sqlite"))
    monkeypatch.setenv(access.NAMING, access.ANYTHING)
    monkeypatch.setenv(uploads.STREAMED, "1")


def page() -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    return at.switch_page(str(ROOT / "pages" / "classroom.py")).run()


def press(at: AppTest, key: str) -> AppTest:
    at.button(key=f"classroom_{key}").click().run()
    assert not at.exception
    return at


def opened(*names: str) -> tuple[AppTest, str]:
    at = page()
    at.multiselect(key="classroom_questions").set_value(list(names)).run()
    press(at, "open")
    await_answers(at)
    [course] = kept.classes().courses(OWN)
    return at, course.code


def weights(layer: str = LAYER) -> np.ndarray:
    return compute.matrix(MODELS.key(MODEL), layer).astype(np.float64)


def test_without_routes_the_page_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(uploads.STREAMED, raising=False)
    at = page()
    assert any("quant-explorer class" in one.value for one in at.info)
    assert not at.multiselect


def test_on_a_server_for_others_a_class_takes_the_key(
    monkeypatch: pytest.MonkeyPatch, own_machine: None, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv(access.NAMING, access.CLASS)
    assert teacher_key("") is None
    monkeypatch.setenv(KEY, kept_key())
    assert (teacher_key(kept_key()), teacher_key("é"), teacher_key("")) == (kept_key(), None, None)
    assert (tmp_path / "teacher.key").stat().st_mode & 0o077 == 0
    assert not page().multiselect


def test_a_class_is_led_from_vote_to_vote_and_ended(own_machine: None) -> None:
    at, code = opened("four_formats", "codes_used")
    answers = kept.classes()
    for n in range(3):
        answers.join(code, str(n), f"*student* {n}")
    press(at, "begin")
    answers.record([Given(code, str(n), 0, 1, 1 + n % 2) for n in range(3)])
    for action in ("close", "spread", "again"):
        press(at, action)
    answers.record([Given(code, str(n), 0, 2, 1) for n in range(3)])
    press(at, "reveal")
    shown = {metric.label: metric.value for metric in at.metric}
    assert shown == {"Joined": "3", "First vote": "3", "Second vote": "3"}
    assert "student" not in str(at.main)  # nobody's name
    press(at, "next")
    assert page().button(key=f"go_on_{code}")  # another window
    reloaded = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    reloaded.query_params["class"] = code
    reloaded.switch_page(str(ROOT / "pages" / "classroom.py")).run()
    assert not reloaded.warning
    assert reloaded.button(key="classroom_close")
    for action in ("close", "reveal", "next"):
        press(at, action)
    press(at, "end_now")
    assert answers.course(code) is None


def test_a_lecture_brings_its_questions(own_machine: None) -> None:
    asked = ("asymmetric", "", "codes_used", "asymmetric", "of_another_version")
    slides = tuple(Slide(f"slide {place}", "playground", question=name) for place, name in enumerate(asked))
    shelf.save_draft(Lecture("Ranges", slides))
    at = page()
    at.selectbox(key="classroom_lecture").set_value(shelf.DRAFT).run()
    assert not at.exception
    assert set(at.multiselect(key="classroom_questions").value) == {"asymmetric", "codes_used"}
    assert at.text_input(key="classroom_title").value == "Ranges"
    at.selectbox(key="classroom_lecture").set_value(None).run()
    shelf.save_draft(Lecture())  # by another window, which this one does not know of yet
    at.selectbox(key="classroom_lecture").set_value(shelf.DRAFT).run()
    assert not at.exception


def played(question: str | Question, **state: str) -> AppTest:
    """A lecture of one slide, at that slide."""
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.session_state["lecture"] = shelf.keep(Lecture("Held", (Slide("Four", "home", question=question),)))
    at.session_state["lecture_go"], at.session_state["lecture_entered"] = 1, None
    for name, value in state.items():
        at.session_state[name] = value
    at.run()
    assert not at.exception
    return at


def test_a_slide_asks_its_question_of_the_class_and_tells_the_answer_with_it(own_machine: None) -> None:
    names = ("codes_used", "four_formats")
    code = kept.classes().open("Formats", [question_named(name) for name in names], OWN)
    at = played(names[1], lang="de")  # the class was opened in English

    def press(action: str) -> None:
        at.button(key=f"slide_class_{action}").click().run()
        assert not at.exception

    press("ask")
    for name in ("Ada", "Bob"):
        kept.classes().join(code, name, name)
    kept.classes().record([Given(code, name, 1, 1, 0) for name in ("Ada", "Bob")])
    press("close")
    assert any("2 von 2" in text.value for text in at.markdown)
    assert at.button(key="slide_class_spread").disabled  # two votes would tell who gave them
    reveal = question_named(names[1]).worded("de").reveal
    assert not any(reveal in text.value for text in at.markdown)
    press("reveal")
    assert any(reveal in text.value for text in at.markdown)
    course = kept.classes().course(code)
    assert course is not None
    assert (course.room.position, course.room.phase) == (1, "revealed")
    assert "slide_class_chart" not in str(at.session_state["lecture_drawn"])  # the record draws the votes itself


QUESTION = own_question({"kind": "choice", "text": f"Which {HOSTILE}?", "options": [HOSTILE, "b"], "truth": 0})


def test_a_question_of_the_teachers_is_revealed_by_one_press_and_read_as_text(own_machine: None) -> None:
    code = kept.classes().open("Formats", [question_named("codes_used")], OWN)
    at = played(QUESTION)
    at.button(key="slide_class_ask").click().run()
    kept.reveal(code)  # on page Class, in another window: the vote is closed, too
    at.run()
    assert not at.exception
    assert at.session_state["answers"] == "shown"
    texts = [text.value for text in at.markdown if inert(HOSTILE) in text.value]
    assert len(texts) == 3  # question, options, truth
    assert not any(HOSTILE in text.value for text in at.markdown)
    at.session_state["answers"] = "hidden"  # by hand: it stays
    assert at.run().session_state["answers"] == "hidden"
    course = kept.classes().course(code)
    assert course is not None
    assert course.room.question == QUESTION


def press_reveal() -> None:
    """The slide bar's button."""
    from explorer.teaching.slide_class import reveal

    reveal("shown")


def test_the_bars_reveal_tells_the_phones_only_what_they_were_asked(own_machine: None) -> None:
    code = kept.classes().open("Formats", [question_named("codes_used")], OWN)
    lecture = Lecture("Held", (Slide("Own", "home", question=QUESTION),))
    for asked, phase in ((False, "lobby"), (True, "revealed")):
        if asked:
            kept.ask(code, QUESTION)
        at = AppTest.from_function(press_reveal)
        at.session_state["lecture_entered"] = (shelf.keep(lecture), 1)
        assert not at.run().exception
        assert at.session_state["answers"] == "shown"
        course = kept.classes().course(code)
        assert course is not None
        assert course.room.phase == phase


def test_a_slide_takes_the_class_of_its_session_and_no_old_one(own_machine: None, tmp_path: pathlib.Path) -> None:
    old, first, last = (kept.classes().open(title, [QUESTION], OWN) for title in ("old", "first", "last"))
    with sqlite3.connect(tmp_path / "classes.sqlite") as connection:
        connection.execute("UPDATE class SET created = '2024-05-02T09:00:00+00:00' WHERE code = ?", (old,))
    assert last[:3] in played(QUESTION).button(key="slide_class_ask").label
    at = played(QUESTION, teaching_class=first)
    assert first[:3] in at.button(key="slide_class_ask").label
    dated = [label for label in at.selectbox(key="slide_class_choice").options if "2024-05-02" in label]
    assert [old[:3] in label for label in dated] == [True]
    at.selectbox(key="slide_class_choice").set_value(old).run()
    assert old[:3] in at.button(key="slide_class_ask").label
    for code in (first, last):
        kept.end(code)
    assert "slide_class_ask" not in {button.key for button in played(QUESTION).button}


def test_two_windows_cannot_skip_a_question(own_machine: None) -> None:
    at, code = opened("four_formats", "codes_used")
    kept.act(code, "begin")  # the other window
    press(at, "begin")
    course = kept.classes().course(code)
    assert course is not None
    assert (course.room.position, course.room.phase) == (0, "open")


@pytest.mark.parametrize("name", QUICK)
def test_a_built_in_question_is_sound_and_its_truth_right(name: str) -> None:
    question = question_named(name)
    assert read_questions(write_questions([question])) == (question,)
    assert question.is_right(question.truth)


def test_built_in_truths_are_what_numpy_finds() -> None:
    values = weights()
    scale = np.float32(np.abs(values).max() / 127)
    assert question_named("codes_used").truth == len(np.unique(np.rint(values / scale)))

    def mse(beta: float, values: np.ndarray) -> float:
        return float(np.mean((np.clip(np.rint(values * 7 / beta), -7, 7) * beta / 7 - values) ** 2))

    best = question_named("best_range")
    betas = np.linspace(0.05, 1, 400) * np.abs(values).max()
    errors = [mse(beta, values) for beta in betas]
    assert mse(best.truth, values) <= 1.01 * min(errors)
    puzzle, others = question_named("clip_little"), weights(OF_PUZZLE)
    assert np.mean(np.abs(others) > puzzle.truth) <= puzzle.max_clipped
    assert mse(puzzle.truth, others) <= 1.1 * puzzle.max_error * mse(np.abs(others).max(), others)


def test_the_format_of_least_error_is_the_one_whose_values_lie_nearest() -> None:
    values = weights().reshape(-1)
    errors = []
    for form in FOUR.values():
        levels = np.sort(np.asarray(form.values(), np.float64))
        levels *= np.abs(values).max() / np.abs(levels).max()
        errors.append(np.mean(np.abs(values[:, None] - levels).min(1) ** 2))
    assert question_named("four_formats").truth == int(np.argmin(errors))


def test_an_asymmetric_range_on_a_relu_saves_what_numpy_says() -> None:
    network = compute.network(MODELS.key(MODEL))
    values = network.activations([AFTER_RELU], stop=64)[AFTER_RELU].astype(np.float64)
    signed, wide = (np.mean((np.rint(values / scale) * scale - values) ** 2) for scale in values.max() / [7, 15])
    assert question_named("asymmetric").truth == round(np.log2(signed / wide))


def test_there_is_no_question_of_another_name() -> None:
    with pytest.raises(QuantError, match="codes_used"):
        question_named("nothing")


def test_a_qr_code_has_three_finders_and_a_quiet_zone() -> None:
    text = "http://192.168.1.5:8501/join/ACDEFG"
    dark = {tuple(map(int, part.split("h")[0].split())) for part in qr_svg(text).split('d="')[2].split("M")[1:]}
    size = max(max(dark)) + 4 + 1
    finder = {(x, y) for x in range(7) for y in range(7) if max(abs(x - 3), abs(y - 3)) != 2}
    for left, top in ((4, 4), (size - 11, 4), (4, size - 11)):
        assert {(x - left, y - top) for x, y in dark if 0 <= x - left < 7 and 0 <= y - top < 7} == finder
    assert min(min(dark)) == 4
    assert len({len(line) for line in qr_text(text).splitlines()}) == 1
