"""Let many sessions use a server at high speed for hours, at random, and see that nothing breaks, grows or leaks.

    python -m tools.soak [--sessions 30] [--minutes 120] [--seed 0]

Starts `quant-explorer` in a folder of its own. Each session speaks the app's websocket as a browser does: it opens
pages by random links, moves controls to valid values, lets parts run that ask for it, opens a file of its own, whose
name no other session may ever be sent, and goes and comes back as another. Prints a line a minute and a summary as
JSON; fails if an exception was shown, a line was logged, a session was lost or saw another's file, or memory grows
after warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from streamlit.proto.WidgetStates_pb2 import WidgetState

from explorer.language import read_words
from explorer.page_table import PAGES
from tools.measure_memory import random_link
from tools.session import KINDS, UNMOVED, Session

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = [page.script.removesuffix(".py") for pages in PAGES.values() for page in pages]
MARK = re.compile(rb"soak-(\d+)\.npz")
LEFT_ALONE = re.compile(r"pack_|download|lecture")  # controls that fetch from elsewhere, or change what all see
QUIET = re.compile(r"\s*|.*(You can now view|URL:|Local URL).*")
WARM = 1 / 3  # of the time, after which memory is looked at
GROWTH = 100.0  # MiB an hour that noise may look like
LAST = 30.0  # seconds for what is under way at the end
TRIES = 600  # of looking whether a file is open, half a second apart: as long as a run may take
PATIENCE = 120.0  # seconds until the server answers


@dataclass
class Found:
    """What has happened so far, to all sessions."""

    done: Counter[str] = field(default_factory=Counter)
    exceptions: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    seen: set[tuple[int, int]] = field(default_factory=set)  # a session, and whose file it was sent
    seconds: list[float] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)  # minutes, MiB


class Visitor(Session):
    """A session that does what nobody would do in this order."""

    def __init__(self, url: str, number: int, rng: random.Random, found: Found, folder: pathlib.Path) -> None:
        """Come to a page."""
        super().__init__(url, rng.choice(NAMES), random_link(rng))
        self._number, self._rng, self._found = number, rng, found
        self._file = folder / f"soak-{number}.npz"

    def looked_at(self, received: bytes) -> None:
        """Note whose files a message names."""
        for whose in MARK.findall(received):
            if int(whose) != self._number:
                self._found.seen.add((self._number, int(whose)))

    def act(self) -> None:
        """Do one thing."""
        roll, began = self._rng.random(), time.monotonic()
        what = "page" if roll < 0.15 else "part" if roll < 0.35 else "control"
        if what == "page":
            self.go(self._rng.choice(NAMES), random_link(self._rng) if roll < 0.1 else "")
        elif what == "part":
            self.let_run()
        elif ahead := self._movable():
            kind = self.controls[name := self._rng.choice(ahead)][0]
            self.set(name, lambda proto, state: _drawn(kind, proto, state, self._rng))
        self._found.done[what] += 1
        self._found.seconds.append(time.monotonic() - began)
        for said in self.exceptions:
            self._found.exceptions[said[:300]] += 1
        self.exceptions.clear()

    def _movable(self) -> list[str]:
        """Return the controls that concern this session alone."""
        shown = ((name, kind) for name, (kind, _) in self.controls.items())
        return [name for name, kind in shown if kind not in UNMOVED and not LEFT_ALONE.search(name)]

    def open_own_file(self) -> None:
        """Open the file of this session by its path, and look at it."""
        self.go("open")
        said = read_words("open")
        self.fill(str(said["name"]), str(self._file))
        pressed = {proto.label: name for name, (kind, proto) in self.controls.items() if kind == "button"}
        self.set(pressed[said["open"]], KINDS["button"].move)
        for _ in range(TRIES):
            self.let_run()
            if any(self._file.name in getattr(proto, "options", ()) for _, proto in self.controls.values()):
                self._found.done["file"] += 1
                return
            time.sleep(0.5)
        self._found.lost["its own file was not opened"] += 1


def _drawn(kind: str, proto: Any, state: WidgetState, rng: random.Random) -> None:
    """Have a control say something else that is valid."""
    if kind in ("selectbox", "radio") and proto.options:
        state.string_value = rng.choice(list(proto.options))
    elif kind == "slider" and len(state.double_array_value.data) == 1 and proto.step:
        steps = int((proto.max - proto.min) / proto.step)
        state.double_array_value.data[0] = proto.min + proto.step * rng.randint(0, steps)
    elif kind == "button_group" and proto.options:
        state.string_array_value.data[:] = [rng.choice([option.content for option in proto.options])]
    else:
        KINDS[kind].move(proto, state)


def live(url: str, number: int, until: float, found: Found, seed: int, folder: pathlib.Path) -> None:
    """Be one session after the other, with one file, until the time is over."""
    rng = random.Random(f"{seed} {number}")
    while time.monotonic() < until:
        try:
            with Visitor(url, number, rng, found, folder) as visitor:
                visitor.open()
                if rng.random() < 0.5:
                    visitor.open_own_file()
                for _ in range(rng.randint(20, 200)):
                    if time.monotonic() > until:
                        break
                    visitor.act()
        except Exception as error:  # a session that is lost is a result
            if time.monotonic() < until:
                found.lost[f"{type(error).__name__}: {str(error)[:200]}"] += 1
            time.sleep(1)


def begin(folder: pathlib.Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server, and return it with its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"QUANT_EXPLORER_PROJECTS": str(folder / "projects.sqlite"), "QUANT_EXPLORER_CACHE": str(folder)}
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "explorer.cli", "--headless", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    until = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
            return server, f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.2)
    server.kill()
    sys.exit(f"the server does not answer: {(folder / 'server.log').read_text()}")


def logged(folder: pathlib.Path) -> list[str]:
    """Return the lines of a server's log that say more than where it is."""
    lines = (folder / "server.log").read_text(errors="replace").splitlines()
    return [line for line in lines if not QUIET.fullmatch(line)]


def memory_of(pid: int) -> float:
    """Return what a process has in MiB (Linux; elsewhere 0)."""
    status = pathlib.Path(f"/proc/{pid}/status")
    return int(status.read_text().split("VmRSS:")[1].split()[0]) / 1024 if status.exists() else 0.0


def watch(server: subprocess.Popen[bytes], found: Found, began: float, minutes: float) -> None:
    """Note the memory every few seconds, and say a line a minute, until the time is over or the server is gone."""
    told, shown = 0.0, set[str]()
    while server.poll() is None and (now := (time.monotonic() - began) / 60) < minutes:
        found.memory.append((now, memory_of(server.pid)))
        if now >= told + 1:
            told = now
            said = f"{now:.0f} min: {sum(found.done.values())} done, {found.memory[-1][1]:.0f} MiB"
            print(f"{said}, {sum(found.exceptions.values())} exceptions, {sum(found.lost.values())} lost", flush=True)
            for fault in [*(found.exceptions | found.lost)]:
                if fault not in shown:
                    shown.add(fault)
                    print(f"  new: {fault}", flush=True)
        time.sleep(min(5.0, minutes * 60 / 20))


def summary(found: Found, minutes: float, sessions: int, log: list[str]) -> dict[str, Any]:
    """Return the numbers."""
    warm = np.array([one for one in found.memory if one[0] > WARM * minutes]).reshape(-1, 2)
    slope = float(np.polyfit(*warm.T, 1)[0]) * 60 if len(warm) > 2 else 0.0
    seconds = np.array(found.seconds or [0.0])
    return {
        "sessions": sessions,
        "minutes": round(minutes, 1),
        "done": dict(found.done),
        "seconds": {"median": round(float(np.median(seconds)), 3), "p95": round(float(np.quantile(seconds, 0.95)), 3)},
        "exceptions": dict(found.exceptions),
        "lost": dict(found.lost),
        "others_files_seen": sorted(found.seen),
        "log": log[:50],
        "memory_mib": {
            "after_warm_up": round(float(warm[0, 1])) if len(warm) else None,
            "median": round(float(np.median(warm[:, 1]))) if len(warm) else None,
            "greatest": round(max((one[1] for one in found.memory), default=0.0)),
            "growth_an_hour": round(slope, 1),
        },
    }


def soak(sessions: int, minutes: float, seed: int) -> dict[str, Any]:
    """Run it all, and return the numbers."""
    with tempfile.TemporaryDirectory(prefix="soak-") as made:
        folder, found, began = pathlib.Path(made), Found(), time.monotonic()
        for number in range(sessions):
            values = np.random.default_rng(number).standard_normal((3, 64, 64), np.float32)
            np.savez(folder / f"soak-{number}.npz", **{f"layer{at}": one for at, one in enumerate(values)})
        server, url = begin(folder)
        args = [(url, number, began + 60 * minutes, found, seed, folder) for number in range(sessions)]
        visitors = [threading.Thread(target=live, args=one, daemon=True) for one in args]
        for visitor in visitors:
            visitor.start()
        try:
            watch(server, found, began, minutes)
            ends = time.monotonic() + LAST
            for visitor in visitors:
                visitor.join(max(0.0, ends - time.monotonic()))
        finally:
            server.terminate()
            server.wait(30)
        return summary(found, minutes, sessions, logged(folder))


def main() -> None:
    """Soak, print, and fail if anything was found."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--sessions", type=int, default=30)
    ask.add_argument("--minutes", type=float, default=120.0)
    ask.add_argument("--seed", type=int, default=0)
    args = ask.parse_args()
    found = soak(args.sessions, args.minutes, args.seed)
    print(json.dumps(found, indent=1, ensure_ascii=False))
    grows = args.minutes >= 30 and found["memory_mib"]["growth_an_hour"] > GROWTH
    sys.exit(any(found[name] for name in ("exceptions", "lost", "others_files_seen", "log")) or grows)


if __name__ == "__main__":
    main()
