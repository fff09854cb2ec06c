"""Times in a real browser: a page is opened, a control is moved, and the clock stops when what is shown has changed."""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Browser, Playwright, WebSocket
from playwright.sync_api import TimeoutError as PlaywrightTimeout

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PICTURE = (
    ".js-plotly-plot .trace path, canvas[data-shows], [data-testid=stMain] [data-testid=stDataFrame],"
    " [data-testid=stMain] svg[role=img], [data-testid=stMain] img, [data-testid=stMain] table"
)
HEADING = "[data-testid=stMain] h1, [data-testid=stMain] h2, [data-testid=stMain] p"  # or the first words
PATIENCE = 60_000  # milliseconds
NO_ANSWER = 20_000  # milliseconds after which a control is one that changes nothing
STATE = """(() => {
  const all = selector => [...document.querySelectorAll(selector)];
  const drawn = () => all('[data-testid=stBidiComponentIsolated]').map(e => e.shadowRoot)
    .map(e => e?.querySelector('canvas[data-shows]')?.dataset.shows ?? e?.innerHTML ?? '').join();
  const figure = () => all('.js-plotly-plot .main-svg').map(e => e.innerHTML).join() + drawn();
  const words = () => all('[data-testid=stMain] [data-testid=stMarkdownContainer], [data-testid=stMain] table')
    .filter(e => !e.closest('button, [data-testid=stWidgetLabel], [data-testid=stSlider]')).map(e => e.textContent);
  return {
    numbers: () => all('[data-testid=stMetric]:not([class*=accuracy] *)').map(e => e.textContent).join(),
    figure,
    shown: () => all('[data-testid=stMetric]').map(e => e.textContent).join() + words().join() + figure(),
    accuracy: () => all('[class*=st-key-accuracy_]').map(e => e.className).join(),
  };
})()"""
BEFORE = f"watched => Object.fromEntries(watched.map(name => [name, {STATE}[name]()]))"
# resolves with the milliseconds from now until what is watched differs from before and two frames have been painted, or
# with null; looks every 5 ms rather than in every frame, since a browser without a graphics card draws frames with the
# processor
WATCH = """([watched, before, patience]) => new Promise(resolve => {
  const start = performance.now(), state = STATE;
  const look = () => {
    const done = watched.every(name => { const now = state[name](); return now && now !== before[name]; });
    const late = performance.now() - start > patience;
    done ? requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - start)))
      : late ? resolve(null) : setTimeout(look, 5);
  };
  look();
})""".replace("STATE", STATE)
GOES_ON = 15.0  # seconds after which a page that still changes is one that always does
PLACE = "e => ['now', 'min', 'max'].map(n => Number(e.getAttribute('aria-value' + n) ?? e[n === 'now' ? 'value' : n]))"
GROUP = "[data-testid=stMain] [data-testid=stButtonGroup] button:not([disabled])"


@dataclass(frozen=True)
class Answer:
    """What a control led to: milliseconds until it was painted, and bytes received until all was still."""

    ms: float
    received: int


@contextmanager
def server(*command: str, cwd: pathlib.Path = ROOT) -> Iterator[tuple[str, float]]:
    """Run a command that takes a port; yield the address and the seconds it took to answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    address, start = f"http://127.0.0.1:{port}", time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command, str(port)], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield address, time.perf_counter() - start
    finally:
        process.terminate()
        process.wait(20)


def launched(tool: Playwright) -> Browser:
    """Return the browser of $CHROMIUM, or the first that is found."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    return tool.chromium.launch(executable_path=found, args=FLAGS)


class Visit:
    """A page in a browser profile of its own."""

    def __init__(self, browser: Browser, address: str) -> None:
        """Open the page; `seconds` is how long until its first picture, or where it has none its heading, was there."""
        self._context = browser.new_context(viewport={"width": 1440, "height": 900})
        self.page = self._context.new_page()
        self._received = 0
        self.page.on("websocket", self._listen)
        start = time.perf_counter()
        self.page.goto(address, wait_until="commit")
        self.page.wait_for_selector(f"{PICTURE}, {HEADING}", state="attached", timeout=PATIENCE)
        self._heading = time.perf_counter() - start
        self._start = start

    def seconds(self, has_picture: bool = True) -> float:
        """Return how long it took until the first picture, or the heading, was there."""
        if not has_picture:
            return self._heading
        self.page.wait_for_selector(PICTURE, state="attached", timeout=PATIENCE)
        return time.perf_counter() - self._start

    def has_picture(self) -> bool:
        """Return whether, once all is still, there is a picture."""
        self.settle()
        return self.page.locator(PICTURE).count() > 0

    def settle(self) -> None:
        """Wait until nothing has changed for a moment, or until it is clear that the page goes on changing."""
        last, still, start = "", 0, time.perf_counter()
        while still < 3 and time.perf_counter() - start < GOES_ON:
            self.page.wait_for_timeout(120)
            now = f"{self._received} {self.page.evaluate(BEFORE, ['shown'])}"
            busy = self.page.locator("[data-testid=stStatusWidget]").count()
            still = still + 1 if now == last and not busy else 0
            last = now

    def answers(self, rounds: int, watched: Sequence[str], slider: str = "") -> list[Answer]:
        """Move the page's first control, or the slider that is named, and return the answers after the first one.

        Empty where there is no control, or none that changes what is watched.
        """
        found: list[Answer] = []
        for number in range(rounds + 1):
            self.settle()
            before, received = self.page.evaluate(BEFORE, watched), self._received
            if not self._move(number, slider):
                return []
            ms = self.page.evaluate(WATCH, [watched, before, NO_ANSWER])
            if ms is None:
                return []
            self.settle()
            found.append(Answer(ms, self._received - received))
        return found[1:]

    def close(self) -> None:
        """Leave."""
        self._context.close()

    def _move(self, number: int, slider: str) -> bool:
        """Move the control once; return whether there is one."""
        inside = self.page.get_by_test_id("stMain")
        sliders = inside.get_by_role("slider", name=slider or None, disabled=False)
        if sliders.count():
            control = sliders.first
            value, low, high = control.evaluate(PLACE)
            if number == 0 or not low < value < high:
                self._key = "ArrowLeft" if value >= high else "ArrowRight"
            control.focus()
            self.page.keyboard.press(self._key)
            self.page.keyboard.press("Enter")  # a handle of the figure is let go; it waits for more keys otherwise
            return True
        choices = self.page.locator(GROUP)
        if choices.count() < 2:
            return False
        try:
            choices.nth(1 - number % 2).click(timeout=2_000)
        except PlaywrightTimeout:
            return False
        return True

    def _listen(self, socket: WebSocket) -> None:
        def count(frame: bytes | str) -> None:
            self._received += len(frame)

        socket.on("framereceived", count)
