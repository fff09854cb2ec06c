"""What phones ask of a class: answers kept before they are confirmed, the truth told last, and nothing of others."""

from __future__ import annotations

import html
import http.client
import json
import pathlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette

from explorer import data_folder
from explorer.figures.theme import QUANTIZED, Canvas
from explorer.language import read_words
from explorer.panels.lecture_files import record_of
from explorer.teaching import kept, routes
from explorer.teaching.builtin import question_named
from explorer.teaching.lecture import Lecture, Slide
from explorer.teaching.limits import Limit
from tests.app.test_class_questions import CHOICE, RANGE

ADA, BOB, EVE = (letter * 32 for letter in "abe")
HOSTILE = "<script>alert(1)</script>"
Address = tuple[str, int]
Asks = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes.class_routes()), log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join()


@pytest.fixture(autouse=True)
def fresh(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path / "projects.sqlite"))
    monkeypatch.setattr(routes, "GUESSES", Limit(burst=5, per_second=0))
    monkeypatch.setattr(routes, "OF_TOKEN", Limit(burst=40, per_second=4))  # or all tests were one phone's


@pytest.fixture
def ask(address: Address) -> Asks:
    def asked(path: str, token: str = ADA, body: object = None, **headers: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(*address, timeout=30)
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, sent, {"X-Student": token, **headers})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text.startswith(b"{") else {}

    return asked


@pytest.fixture
def code(ask: Asks) -> str:
    opened = kept.classes().open("Formats", [CHOICE, RANGE], key="")
    for token, name in ((ADA, "Ada"), (BOB, "<script>alert(1)</script>")):
        assert ask(f"/class/{opened}/join", token, {"nickname": name})[0] == 200
    return opened


def answer(question: int, turn: int, value: object) -> dict[str, object]:
    return {"question": question, "round": turn, "value": value}


def test_a_class_votes_twice_and_hears_the_truth_last(ask: Asks, code: str) -> None:
    states = []
    ask(f"/class/{code}/join", EVE, {"nickname": "Eve"})
    for action, sent in (
        ("begin", answer(0, 1, 0)),
        ("close", answer(0, 1, 1)),
        ("spread", None),
        ("again", answer(0, 2, 1)),
        ("reveal", None),
    ):
        kept.act(code, action)
        if sent:
            assert ask(f"/class/{code}/answer", body=sent)[0] == (409 if action == "close" else 200)
            for token in (BOB, EVE):
                ask(f"/class/{code}/answer", token, sent)
        status, state = ask(f"/class/{code}/state?seen=-1&have=-1")
        assert status == 200
        states.append(state)
    assert [state["phase"] for state in states] == ["open", "closed", "spread", "again", "revealed"]
    assert [bool(state.get("spread")) for state in states] == [False, False, True, False, True]
    assert all(CHOICE.reveal not in json.dumps(state) and "told" not in state for state in states[:-1])
    assert all("script" not in json.dumps(state) for state in states)  # nobody's name
    assert states[-1]["told"]["truth"] == 1
    assert states[-1]["right"]
    assert states[-1]["yours"] == {"1": 0, "2": 1}
    assert states[-1]["spread"] == {"1": {"edges": [], "counts": [3, 0, 0]}, "2": {"edges": [], "counts": [0, 3, 0]}}


def test_phones_read_one_question_each_in_its_language(ask: Asks) -> None:
    question = question_named("four_formats")
    code = kept.classes().open("Formats", [question], key="")
    ask(f"/class/{code}/join", ADA, {"nickname": "Ada"})
    kept.act(code, "begin")
    kept.reveal(code)
    for language in ("en", "de"):
        state = ask(f"/class/{code}/state?seen=-1&have=-1&lang={language}")[1]
        own = read_words("classroom", language)["questions"]["four_formats"]
        assert state["question"]["options"][-1] == own["options"]["2^k"]
        assert own["reveal"].split("{errors}")[0].split("{best}")[1] in state["told"]["reveal"]
        assert "wordings" not in state["question"]


def test_two_votes_are_not_shown_since_each_would_know_the_other(ask: Asks, code: str) -> None:
    kept.act(code, "begin")
    for token in (ADA, BOB):
        assert ask(f"/class/{code}/answer", token, answer(0, 1, 2))[0] == 200
    kept.act(code, "close")
    kept.act(code, "spread")
    assert ask(f"/class/{code}/state?seen=-1&have=-1")[1]["spread"] == {}


def test_a_record_holds_what_phones_have_answered_and_the_truth(ask: Asks) -> None:
    question = question_named("four_formats")
    code = kept.classes().open("Formats", [CHOICE, question], key="")
    kept.act(code, 1)  # a slide asks it, out of order
    for n in range(4):
        ask(f"/class/{code}/join", f"{n:032x}", {"nickname": HOSTILE})
        assert ask(f"/class/{code}/answer", f"{n:032x}", answer(1, 1, 3 * (n % 2)))[0] == 200
    for action in ("close", "reveal", "next"):
        kept.act(code, action)
    lecture = Lecture("Held", (Slide("Four", "playground", question="four_formats"),))
    text = record_of(lecture, {}, kept.classes().course(code), Canvas("record"))
    [drawn] = re.findall(r"id='question1'.*?<script type='application/json'>(.*?)</script>", text, re.DOTALL)
    votes = json.loads(drawn)["data"][0]
    assert votes["x"] == [2, 0, 0, 2]
    assert votes["marker"]["color"][int(question.truth)] == QUANTIZED
    assert html.escape(question.reveal) in text
    assert "alert" not in text


def test_a_phone_that_waits_hears_of_the_next_question_at_once(ask: Asks, code: str) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, f"/class/{code}/state?seen=0&have=-1")
        until = time.monotonic() + 10
        while not routes.BROADCAST.waiting and time.monotonic() < until:
            time.sleep(0.01)
        kept.act(code, "begin")
        status, state = waiting.result()
    assert (status, state["phase"], state["question"]["text"]) == (200, "open", CHOICE.text)


def test_a_reload_finds_its_place_and_a_double_join_one_student(ask: Asks, code: str) -> None:
    kept.act(code, "begin")
    ask(f"/class/{code}/answer", body=answer(0, 1, 2))
    assert ask(f"/class/{code}/join", ADA, {"nickname": "Eve"}) == (200, {"nickname": "Ada"})
    assert ask(f"/class/{code}/me") == (200, {"nickname": "Ada"})
    assert ask(f"/class/{code}/state?seen=-1&have=-1")[1]["yours"] == {"1": 2}
    assert kept.classes().students(code) == 2


def test_answers_that_come_at_once_are_all_kept(ask: Asks, code: str) -> None:
    kept.act(code, "begin")
    tokens = [f"{n:032x}" for n in range(24)]
    with ThreadPoolExecutor(24) as pool:
        assert {*pool.map(lambda token: ask(f"/class/{code}/join", token, {"nickname": token})[0], tokens)} == {200}
        sent = pool.map(lambda token: ask(f"/class/{code}/answer", token, answer(0, 1, 1))[0], tokens)
        assert {*sent} == {200}
    assert kept.classes().votes(code, 0) == {1: [1.0] * 24}


@pytest.mark.parametrize(
    ("token", "body", "headers", "status"),
    [
        (ADA, answer(0, 1, 9), {}, 400),
        (ADA, answer(0, 1, "1"), {}, 400),
        (ADA, answer(1, 1, 1), {}, 409),
        (ADA, answer(0, 2, 1), {}, 409),
        (ADA, {"question": "0", "round": 1}, {}, 400),
        (ADA, {"question": True, "round": 1}, {}, 400),
        (ADA, [1], {}, 400),
        (ADA, b"{", {}, 400),
        (ADA, b"[" * 4000, {}, 400),
        (ADA, b" " * 5000, {}, 413),
        (EVE, answer(0, 1, 1), {}, 401),
        ("", answer(0, 1, 1), {}, 400),
        ("' OR 1=1 --", answer(0, 1, 1), {}, 400),
        (ADA, answer(0, 1, 1), {"Origin": "https://elsewhere.example"}, 403),
    ],
)
def test_what_is_no_answer_of_a_student_is_refused(
    ask: Asks, code: str, token: str, body: object, headers: dict[str, str], status: int
) -> None:
    kept.act(code, "begin")
    assert ask(f"/class/{code}/answer", token, body, **headers)[0] == status
    assert kept.classes().votes(code, 0) == {}


def test_who_guesses_codes_is_stopped_and_students_at_the_same_address_are_not(ask: Asks, code: str) -> None:
    guessed = [ask(f"/class/AAAA{n:02}/join", EVE, {"nickname": "Eve"})[0] for n in range(7)]
    assert guessed == [404] * 5 + [429] * 2
    assert ask(f"/class/{code}/join", EVE, {"nickname": "Eve"})[0] == 429  # the right one is not told apart
    assert ask(f"/class/{code}/state?seen=-1&have=-1")[0] == 200


def test_a_phone_that_asks_without_end_is_stopped(ask: Asks, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "OF_TOKEN", Limit(burst=3, per_second=0))
    assert [ask(f"/class/{code}/me")[0] for _ in range(5)] == [200] * 3 + [429] * 2
    assert ask(f"/class/{code}/me", BOB)[0] == 200


def test_a_class_that_has_ended_is_gone_for_its_phones(ask: Asks, code: str) -> None:
    kept.end(code)
    assert ask(f"/class/{code}/me")[0] == 404
    assert ask(f"/class/{code}/state?seen=0&have=0")[0] == 404
    assert ask(f"/class/{code}/answer", body=answer(0, 1, 1))[0] == 401


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_page_is_small_and_runs_its_own_script_alone(address: Address, language: str) -> None:
    connection = http.client.HTTPConnection(*address, timeout=30)
    connection.request("GET", "/join/ABC", headers={"Accept-Language": f"{language}-CH,fr;q=0.5"})
    answer = connection.getresponse()
    text, allowed = answer.read().decode(), answer.headers["Content-Security-Policy"]
    connection.close()
    assert len(text.encode()) < 40_000
    assert f'lang="{language}"' in text
    assert re.findall(r"(?:src|href)=\"(?!data:)", text) == []
    assert "unsafe" not in allowed
    assert "default-src 'none'" in allowed


def test_the_teachers_link_leaves_the_key_with_the_browser_and_not_in_the_address(address: Address) -> None:
    connection = http.client.HTTPConnection(*address, timeout=30)
    connection.request("GET", f"{routes.ENTER}?key=secret")
    answer = connection.getresponse()
    connection.close()
    assert (answer.status, answer.headers["Location"]) == (303, "/classroom")
    assert re.match(rf"{routes.COOKIE}=secret; HttpOnly; .*SameSite=strict", answer.headers["Set-Cookie"])
