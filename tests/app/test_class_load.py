"""A class whose server is killed in the middle of a vote goes on, and no confirmed answer is lost."""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from explorer import data_folder
from explorer.teaching import kept
from tests.app.test_class_questions import NUMBER
from tools.load_class import ROOT, Student, free_port, lost, measure, vote, wait_for

SERVER = """
import sys, uvicorn
from starlette.applications import Starlette
from explorer.teaching.routes import class_routes
uvicorn.run(Starlette(routes=class_routes()), port=int(sys.argv[1]), log_level="error")
"""
COUNT = 40


@pytest.fixture(autouse=True)
def own_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path / "projects.sqlite"))


def test_a_server_killed_in_mid_question_has_every_confirmed_answer_when_it_is_back() -> None:
    port, answers = free_port(), kept.classes()
    code = answers.open("Load", [NUMBER], key="")
    address, servers, missing = ("127.0.0.1", port), [], []
    students = [Student(address, code) for _ in range(COUNT)]

    def start() -> None:
        servers.append(subprocess.Popen([sys.executable, "-c", SERVER, str(port)], cwd=ROOT))
        wait_for(address, "/join")

    def kill() -> None:
        os.kill(servers[-1].pid, signal.SIGKILL)
        servers[-1].wait()
        missing.append(lost(answers.votes(code, 0), students, 1))
        start()

    async def hold() -> None:
        await asyncio.gather(*(student.join("student") for student in students))
        answers.act(code, "begin")
        await vote(students, 1, 0.5, kill)

    try:
        start()
        asyncio.run(hold())
        missing.append(lost(answers.votes(code, 0), students, 1))
    finally:
        for server in servers:
            server.kill()
            server.wait()
    assert missing == [0, 0]
    assert len(answers.votes(code, 0)[1]) == COUNT


@pytest.mark.full
def test_a_hundred_students_beside_thirty_sessions_lose_nothing_and_all_are_counted() -> None:
    found = measure(100, 30)
    assert (found["lost_at_kill"], found["lost_at_end"], found["after_kill_counted"]) == (0, 0, 100), found
    assert not found["faults"], found
