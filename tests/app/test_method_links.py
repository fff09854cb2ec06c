"""Links that name a method by its older word open as they did."""

import pathlib

from streamlit.testing.v1 import AppTest

ROOT = pathlib.Path(__file__).parents[2]


def test_a_link_with_an_older_word_for_a_method_shows_that_method() -> None:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["tensor"] = "fc2"
    at.run()
    at.query_params["compensation_method"] = "AdaRound"
    at.switch_page(str(ROOT / "pages" / "lesson_compensation.py")).run()
    assert not at.exception
    assert at.selectbox(key="compensation_method").value == "adaround"
    assert not any("compensation" in text.value or "Codes after" in text.value for text in at.warning)
