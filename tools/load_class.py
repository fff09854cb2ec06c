"""A class of simulated students on a real server of this machine: how fast it confirms, and what a kill loses.

    python -m tools.load_class [--students 100] [--sessions 30]

Starts `quant-explorer class` on a folder of its own. One session is the teacher's, the others move a slider of the
playground every two seconds, all over the app's websockets; students join, follow and answer as phones do. In the
second vote the server is killed when half of the answers are confirmed, and started again. Prints, as JSON: seconds to
a confirmation and until all are counted, how far the teacher's page is behind, memory, processor time, and answers that
were confirmed and are lost, of which there must be none.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATIENCE = 120.0  # seconds
THINK = 3.0  # seconds in which students answer
MOVE = 2.0  # seconds between two moves of a session
Address = tuple[str, int]


@dataclass
class Student:
    """One phone: its token, and the value and seconds of each confirmed answer by round."""

    address: Address
    code: str
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    confirmed: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    async def join(self, nickname: str) -> None:
        """Join as a phone does."""
        status, _ = await self._ask("POST", "join", {"nickname": nickname})
        assert status == 200, status

    async def answer(self, turn: int, think: float, value: float) -> None:
        """Follow the class until a vote is open, think, and send until the answer is confirmed."""
        state = await self._state(-1)
        while state["round"] != turn:
            state = await self._state(state["revision"])
        await asyncio.sleep(think)
        began = time.perf_counter()
        while turn not in self.confirmed:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError, IndexError):
                sent = {"question": state["position"], "round": turn, "value": value}
                status, _ = await self._ask("POST", "answer", sent)
                assert status == 200, status
                self.confirmed[turn], self.seconds[turn] = value, time.perf_counter() - began
                return
            await asyncio.sleep(0.3 + 0.4 * random.random())

    async def _state(self, seen: int) -> dict[str, Any]:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError, IndexError):
                status, state = await self._ask("GET", f"state?seen={seen}&have=0")
                assert status == 200, status
                return state
            await asyncio.sleep(0.3)

    async def _ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        text = "" if body is None else json.dumps(body)
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            head = (
                f"{method} /class/{self.code}/{path} HTTP/1.1\r\nHost: {self.address[0]}\r\nX-Student: {self.token}\r\n"
            )
            writer.write(f"{head}Connection: close\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            status, _, rest = (await reader.read()).partition(b"\r\n")
            return int(status.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2] or b"{}")
        finally:
            writer.close()


def wait_for(address: Address, path: str) -> None:
    """Wait until a server answers."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=2).close()
            return
        time.sleep(0.05)
    raise TimeoutError(f"no server at {address}")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def vote(students: Sequence[Student], turn: int, think: float, at_half: Callable[[], None] | None = None) -> None:
    """Have all students answer; when half of the answers are confirmed something happens, in a thread."""
    tasks = [
        asyncio.create_task(student.answer(turn, think * random.random(), 1 + place % 200))
        for place, student in enumerate(students)
    ]
    if at_half is not None:
        while sum(turn in student.confirmed for student in students) < len(students) / 2:
            await asyncio.sleep(0.005)
        await asyncio.to_thread(at_half)
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)


def lost(votes: dict[int, list[float]], students: Sequence[Student], turn: int) -> int:
    """Return how many confirmed answers of a round are not in the file."""
    kept = [*votes.get(turn, ())]
    missing = 0
    for student in students:
        if turn in student.confirmed:
            if student.confirmed[turn] in kept:
                kept.remove(student.confirmed[turn])
            else:
                missing += 1
    return missing


class Teacher:
    """The teacher's page, which runs every second; it says when it has seen how many answers."""

    def __init__(self, url: str, code: str, cookie: str) -> None:
        """Open the page and go on with the class."""
        from tools.session import Session

        self._session = Session(url, "classroom", headers={"Cookie": cookie}).__enter__()
        self._session.open()
        self._session.press(f"go_on_{code}")

    def act(self, *actions: str) -> None:
        """Press buttons."""
        for action in actions:
            self._session.press(f"classroom_{action}")

    def follow(self, label: str, count: int) -> float:
        """Return when the page shows that so many have answered."""
        while self._session.metrics.get(label) != str(count):
            began = time.monotonic()
            self._session.let_run()
            if self._session.metrics.get(label) != str(count):
                time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))
        return time.perf_counter()


def move_about(url: str, until: threading.Event, moves: list[float], faults: list[str]) -> None:
    """Be a session that moves a slider of the playground every so often."""
    from tools.session import Session

    try:
        with Session(url, "playground") as session:
            session.open()
            while not until.wait(MOVE * random.uniform(0.7, 1.3)):
                began = time.perf_counter()
                session.slide("Bits")
                moves.append(time.perf_counter() - began)
            faults += session.exceptions
    except Exception as error:  # a lost session is a result
        faults.append(repr(error)[:200])


def processor_seconds(pid: int) -> float:
    """Return what a process has used of the processor."""
    parts = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> int:
    """Return the memory that a process has."""
    found = re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all does not exceed."""
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))], 3)


def measure(count: int, sessions: int) -> dict[str, Any]:
    """Hold a class, and return what it took."""
    from explorer.teaching.access_key import kept_key
    from explorer.teaching.builtin import question_named
    from explorer.teaching.kept import classes
    from explorer.teaching.routes import COOKIE

    port = free_port()
    address, url = ("127.0.0.1", port), f"http://127.0.0.1:{port}"
    code = classes().open("Load", [question_named("codes_used")], kept_key())
    command = [sys.executable, "-m", "explorer.cli", "class", "--headless", "--host=127.0.0.1", f"--port={port}"]
    servers: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        servers.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_for(address, "/_stcore/health")

    def kill() -> None:
        os.kill(servers[-1].pid, signal.SIGKILL)
        servers[-1].wait()
        missing.append(lost(classes().votes(code, 0), students, 2))
        start()

    students = [Student(address, code) for _ in range(count)]
    missing: list[int] = []
    moves: list[float] = []
    faults: list[str] = []
    over = threading.Event()
    try:
        start()
        teacher = Teacher(url, code, f"{COOKIE}={kept_key()}")
        others = [threading.Thread(target=move_about, args=(url, over, moves, faults)) for _ in range(sessions - 1)]
        for each in others:
            each.start()
        asyncio.run(_all_join(students))
        while len(moves) < 2 * len(others) and not faults:
            time.sleep(0.2)
        pid, before, spent = servers[-1].pid, len(moves), processor_seconds(servers[-1].pid)
        began = time.perf_counter()
        asked, counted, seen = asyncio.run(_first_vote(teacher, students))
        cores = (processor_seconds(pid) - spent) / (time.perf_counter() - began)
        memory, during = memory_mib(pid), moves[before:]
        over.set()
        for each in others:
            each.join()
        teacher.act("close", "spread", "again")
        asyncio.run(vote(students, 2, THINK, kill))
        missing.append(lost(classes().votes(code, 0), students, 2))
    finally:
        over.set()
        for server in servers:
            server.kill()
            server.wait()
    first = [student.seconds[1] for student in students]
    return {
        "students": count,
        "sessions": sessions,
        "all_counted_s": round(counted - asked, 2),
        "confirmed_s": {"median": percentile(first, 0.5), "p95": percentile(first, 0.95), "max": percentile(first, 1)},
        "teacher_behind_s": round(seen - counted, 2),
        "slider_s": {"median": percentile(during, 0.5), "p95": percentile(during, 0.95)} if during else None,
        "memory_mib": memory,
        "cores": round(cores, 2),
        "faults": faults[:5],
        "lost_at_kill": missing[0],
        "lost_at_end": missing[1],
        "after_kill_counted": len(classes().votes(code, 0)[2]),
    }


async def _all_join(students: Sequence[Student]) -> None:
    await asyncio.gather(*(student.join(f"student {place}") for place, student in enumerate(students)))


async def _first_vote(teacher: Teacher, students: Sequence[Student]) -> tuple[float, float, float]:
    """Return when the question was asked, when the last answer was confirmed, and when the teacher saw all."""
    voting = asyncio.create_task(vote(students, 1, THINK))
    await asyncio.sleep(1.0)  # until all wait
    asked = time.perf_counter()
    await asyncio.to_thread(teacher.act, "begin")
    following = asyncio.create_task(asyncio.to_thread(teacher.follow, "Answered", len(students)))
    await voting
    counted = time.perf_counter()
    return asked, counted, await following


def main() -> None:
    """Do what the command line says."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--students", type=int, default=100)
    ask.add_argument("--sessions", type=int, default=30)
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QUANT_EXPLORER_PROJECTS"] = f"{folder}/projects.sqlite"
        print(json.dumps(measure(given.students, given.sessions), indent=1))


if __name__ == "__main__":
    main()
