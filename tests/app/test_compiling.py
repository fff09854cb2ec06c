"""While kernels are compiled, a page says so, and shows its picture as soon as those of the picture are there."""

import threading

import pytest
from streamlit.testing.v1 import AppTest

from explorer import compiling, warmup

PATIENCE = 60.0  # seconds


def page() -> None:
    import streamlit as st

    from explorer.compiling import await_first_picture

    await_first_picture()
    st.header("The picture")


@pytest.fixture
def gates(monkeypatch):
    """Return what lets the kernels of the first picture, and the others, be there."""
    first, others = threading.Event(), threading.Event()
    monkeypatch.setattr(warmup, "FIRST_PICTURE", (lambda: first.wait(PATIENCE),))
    monkeypatch.setattr(warmup, "OTHER_FORMATS", (lambda: others.wait(PATIENCE),))
    monkeypatch.setattr(compiling, "WARM_UP", warmup.WarmUp())
    yield first, others
    first.set()
    others.set()


def test_a_page_is_drawn_while_the_kernels_of_others_are_compiled(gates):
    first, _ = gates
    compiling.WARM_UP.on_start(None)
    first.set()
    app = AppTest.from_function(page).run(timeout=PATIENCE)
    assert [one.value for one in app.header] == ["The picture"]
    assert [one.value for one in app.info] == ["Compiling kernels for this machine (first start only): 1 of 3"]


def test_nothing_is_said_of_kernels_that_are_at_hand(gates):
    first, others = gates
    first.set()
    others.set()
    app = AppTest.from_function(page).run(timeout=PATIENCE)
    assert [one.value for one in app.header] == ["The picture"]
    assert not app.info


def test_a_page_waits_for_the_kernels_of_its_picture_and_says_so_meanwhile(gates, monkeypatch):
    first, others = gates
    others.set()
    compiling.WARM_UP.on_start(None)
    said = compiling._said
    monkeypatch.setattr(compiling, "_said", lambda: (first.set(), said())[1])  # they are there once it was said
    app = AppTest.from_function(page).run(timeout=PATIENCE)
    assert first.is_set()
    assert [one.value for one in app.header] == ["The picture"]
