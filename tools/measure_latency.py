"""Measure, in a real browser, how fast the app answers, beside a bare Streamlit page with one Plotly chart.

    python tools/measure_latency.py [--rounds 15] [--json FILE] [--values 100000000]

Four times, each the app's beside the bare page's in the same run: server start to live; address entered to the first
plot painted; control released to figure and numbers repainted; control released to the accuracy of the whole network.
The targets are ratios, since machines differ (and absolute only for the accuracy). With `--values` a file of one tensor
of so many float32 values is opened, too: its first figure, and control released to figure, with statistics to be found.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from quant_engine.files import begins_like, validate_place, write_file

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HEAD = b'{\n "times": {'  # of the JSON file
APP = ("explorer.cli", "--headless", "--port")
BARE = """
import numpy as np, plotly.graph_objects as go, streamlit as st
bits = st.slider("Bits", 2, 16, 4)
counts = np.histogram(np.random.default_rng(0).standard_normal(18432), 160)[0]
st.metric("MSE", f"{1 / 4**bits:.3g}")
st.plotly_chart(go.Figure(go.Bar(y=counts * bits)), key="chart")
"""
ACCURACY = "[class*=st-key-accuracy_]"
NUMBERS = "[...document.querySelectorAll('[data-testid=stMetric]')].map(e => e.innerText).join()"
DRAWN = """() => [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]
  .map(e => e.shadowRoot?.querySelector('canvas[data-shows]')?.dataset.shows ?? '').join()"""
STATE = """(() => {
  const drawn = DRAWN;
  const text = selector => [...document.querySelectorAll(selector)].map(e => e.textContent).join();
  return {
    numbers: () => text('[data-testid=stMetric]:not([class*=accuracy] *)'),
    figure: () => [...document.querySelectorAll('.js-plotly-plot .main-svg')].map(e => e.innerHTML).join() + drawn(),
    accuracy: () => [...document.querySelectorAll('[class*=st-key-accuracy_]')].map(e => e.className).join(),
  };
})()""".replace("DRAWN", DRAWN)
BEFORE = "watched => Object.fromEntries(watched.map(name => [name, STATE[name]()]))".replace("STATE", STATE)
# resolves with the milliseconds from now until what is watched differs from before and two frames have been painted;
# looks every 5 ms rather than in every frame, since a browser without a graphics card draws frames with the processor
WATCH = """([watched, before]) => new Promise(resolve => {
  const start = performance.now(), state = STATE;
  const look = () => {
    const now = Object.fromEntries(watched.map(name => [name, state[name]()]));
    const done = watched.every(name => now[name] && now[name] !== before[name]);
    done || performance.now() - start > 20000
      ? requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - start)))
      : setTimeout(look, 5);
  };
  look();
})""".replace("STATE", STATE)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def server(*command: str, cwd: pathlib.Path = ROOT) -> Iterator[tuple[str, float]]:
    """Run a command that takes a port; yield the address and the seconds it took to answer."""
    port = free_port()
    address, start = f"http://127.0.0.1:{port}", time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command, str(port)], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield address, time.perf_counter() - start
    finally:
        process.terminate()
        process.wait(20)


def first_plot(browser: Browser, address: str) -> tuple[Page, float]:
    """Open the page; return it and the seconds until its first plot has bars, or its canvas is drawn."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_selector(".js-plotly-plot .trace path, canvas[data-shows]", state="attached", timeout=30_000)
    return page, time.perf_counter() - start


def responses(page: Page, rounds: int, watched: list[str], settle: Callable[[], None]) -> list[float]:
    """Press an arrow key on the bits slider `rounds` times; return the milliseconds until all watched have changed."""
    times = []
    page.get_by_role("slider", name="Bits").focus()
    for i in range(rounds + 1):
        settle()
        before = page.evaluate(BEFORE, watched)
        page.keyboard.press("ArrowRight" if i % 12 < 6 else "ArrowLeft")
        times.append(page.evaluate(WATCH, [watched, before]))
    return times[1:]


def quiet(page: Page) -> Callable[[], None]:
    """Return a wait until nothing has changed for a moment."""

    def settle() -> None:
        last, still = None, 0
        while still < 3:
            page.wait_for_timeout(120)
            now = page.evaluate(NUMBERS)
            still = still + 1 if now == last and "running" not in now else 0
            last = now

    return settle


def p95(values: list[float]) -> float:
    """Return the 95th percentile."""
    return sorted(values)[min(len(values) - 1, round(0.95 * (len(values) - 1)))]


def large_tensor(browser: Browser, folder: pathlib.Path, values: int, rounds: int) -> dict[str, list[float]]:
    """Return the times of the playground on a file of one tensor, whose first figure waits for its statistics."""
    path, columns = folder / "large.npy", 1 << 12
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (values // columns, columns))
    draws = np.random.default_rng(0)
    for row in rows:
        row[:] = 0.02 * draws.standard_t(5, columns)
    rows.flush()
    with server("explorer.cli", "open", str(path), *APP[1:]) as (address, _live):
        page, first = first_plot(browser, f"{address}/playground")
        settle = quiet(page)
        settle()
        times = responses(page, min(rounds, 5), ["numbers", "figure"], settle)  # widths that were not looked at
        page.context.close()
    return {f"{values:,} values: first figure, s": [first], f"{values:,} values: repaint, ms": times}


def measure(rounds: int, values: int = 0) -> dict[str, dict[str, float]]:
    """Measure both pages, alternating, and return medians and 95th percentiles."""
    found: dict[str, list[float]] = {}
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as tool:
        bare_script = pathlib.Path(folder) / "bare.py"
        bare_script.write_text(BARE, encoding="utf-8")
        bare = ("streamlit", "run", str(bare_script), "--server.headless", "true", "--server.port")
        browser = tool.chromium.launch(executable_path=chromium, args=FLAGS)
        for last in (False, False, True):
            for name, command, cwd in (("bare", bare, pathlib.Path(folder)), ("app", APP, ROOT)):
                with server(*command, cwd=cwd) as (address, live):
                    found.setdefault(f"{name} server live, s", []).append(live)
                    page, first = first_plot(browser, address)
                    found.setdefault(f"{name} first plot, s", []).append(first)
                    if last:
                        if name == "app":
                            page.goto(f"{address}/playground")
                            page.wait_for_selector(ACCURACY, state="attached", timeout=30_000)
                        settle = quiet(page)
                        settle()
                        found[f"{name} repaint, ms"] = responses(page, rounds, ["numbers", "figure"], settle)
                    page.context.close()
        with server(*APP) as (address, _live):
            for model in ("fashion-cnn", "fashion-depthwise"):
                page, _first = first_plot(browser, f"{address}/playground?model={model}&play_clipping=percentile")
                page.wait_for_selector(ACCURACY, state="attached", timeout=30_000)
                settle = quiet(page)
                settle()
                found[f"{model} accuracy, ms"] = responses(page, rounds, ["accuracy"], settle)
                page.context.close()
        if values:
            found.update(large_tensor(browser, pathlib.Path(folder), values, rounds))
        browser.close()
    return {
        name: {"median": statistics.median(values), "p95": p95(values), "n": len(values)}
        for name, values in found.items()
    }


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=20)
    ask.add_argument("--json", type=pathlib.Path)
    ask.add_argument("--values", type=int, default=0)
    args = ask.parse_args()
    if args.json:
        validate_place(args.json, begins_like(HEAD))
    table = measure(args.rounds, args.values)
    print("| what | median | p95 | n |\n|---|---|---|---|")
    for name, row in table.items():
        print(f"| {name} | {row['median']:.3g} | {row['p95']:.3g} | {row['n']:.0f} |")
    ratios = {
        "first plot, app / bare (target 1.4)": table["app first plot, s"]["median"]
        / table["bare first plot, s"]["median"],
        "repaint p95, app / bare (target 1.6)": table["app repaint, ms"]["p95"] / table["bare repaint, ms"]["p95"],
    }
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f}")
    if args.json:
        content = json.dumps({"times": table, "ratios": ratios}, indent=1) + "\n"
        write_file(args.json, content.encode(), begins_like(HEAD))


if __name__ == "__main__":
    main()
