"""Measure, in a real browser, how fast the app answers, beside a bare Streamlit page with one Plotly chart.

    python -m tools.measure_latency [--rounds 12] [--visits 4] [--only NAME] [--values 100000000] [--markdown FILE]

In one run, each beside the bare page: server start to live; address entered to the first picture, control released to
figure and numbers repainted, and bytes received for it, on every page; control released to the accuracy of the whole
network, for every layer of both networks. The targets are ratios, since machines differ (and absolute only for the
accuracy). With `--values` a file of one tensor of so many float32 values is opened, too: its first figure, and control
released to figure, with statistics to be found. Takes a quarter of an hour and writes docs/latency.md.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import nan
from statistics import median

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from benchmarks.report import machine, markdown_table
from explorer.page_table import PAGES
from quant_engine.files import begins_like, validate_place, write_file
from quant_engine.models import ARCHITECTURES
from tools.browser_timing import ROOT, Answer, Visit, launched, server

APP = ("explorer.cli", "--headless", "--port")
BARE = """
import numpy as np, plotly.graph_objects as go, streamlit as st
bits = st.slider("Bits", 2, 16, 4)
counts = np.histogram(np.random.default_rng(0).standard_normal(18432), 160)[0]
st.metric("MSE", f"{1 / 4**bits:.3g}")
st.plotly_chart(go.Figure(go.Bar(y=counts * bits)), key="chart")
"""
BARE_PAGE = "a bare page"
HEAD = "# Latency"
INTRODUCTION = (
    "Written by `python -m tools.measure_latency`: the app in a real browser, beside a bare Streamlit page with one"
    " slider, one number and one Plotly chart."
)
STARTS = 3
BARE_ROUNDS = 4  # for each page of the app
MOST_LIVE, MOST_FIRST, MOST_REPAINT = 1.5, 1.4, 1.6  # times the bare page's
MOST_ACCURACY = 800.0  # milliseconds


@dataclass
class Times:
    """What was measured of one page or layer: seconds to its first picture, answers of its first control."""

    first: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    has_picture: bool = True

    @property
    def ms(self) -> list[float]:
        """Milliseconds of the answers."""
        return [answer.ms for answer in self.answers]

    @property
    def kilobytes(self) -> str:
        """The median of what was received for an answer."""
        return f"{median(answer.received for answer in self.answers) / 1e3:.1f}"


def p95(values: Sequence[float]) -> float:
    """Return the 95th percentile; not a number of none."""
    if not values:
        return nan
    return sorted(values)[min(len(values) - 1, round(0.95 * (len(values) - 1)))]


def starts(bare: Sequence[str], folder: pathlib.Path) -> dict[str, list[float]]:
    """Return the seconds from command to live, of servers started in turn."""
    found: dict[str, list[float]] = {BARE_PAGE: [], "the app": []}
    for _ in range(STARTS):
        for name, command, cwd in ((BARE_PAGE, bare, folder), ("the app", APP, ROOT)):
            with server(*command, cwd=cwd) as (_address, live):
                found[name].append(live)
    return found


def pages(browser: Browser, app: str, bare: str, names: Sequence[str], rounds: int, visits: int) -> dict[str, Times]:
    """Measure pages by name, the bare one in between."""
    found = {BARE_PAGE: Times()}
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        address = f"{app}/{'' if name == 'home' else name}"
        beside, times = Visit(browser, bare), Times()
        found[BARE_PAGE].first.append(beside.seconds())
        found[BARE_PAGE].answers += beside.answers(BARE_ROUNDS, ["numbers", "figure"])
        beside.close()
        visit = Visit(browser, address)
        times.has_picture = visit.has_picture()
        for _ in range(visits):
            visit.close()
            visit = Visit(browser, address)
            times.first.append(visit.seconds(times.has_picture))
        times.answers = visit.answers(rounds, ["numbers", "figure"] if name == "playground" else ["shown"])
        visit.close()
        found[name] = times
    return found


def accuracies(browser: Browser, app: str, rounds: int) -> Iterator[tuple[str, str, list[Answer]]]:
    """Yield networks, layers, and the answers of the number of bits until the network's accuracy is there."""
    for model, architecture in ARCHITECTURES.items():
        for layer in [step.name for step, _, _ in architecture.layer_inputs()]:
            print(f"{model}, {layer} …", file=sys.stderr, flush=True)
            visit = Visit(browser, f"{app}/playground?model={model}&tensor={layer}&play_clipping=percentile")
            visit.page.wait_for_selector("[class*=st-key-accuracy_]", state="attached")
            yield model, layer, visit.answers(rounds, ["accuracy"], "Bits")
            visit.close()


def large_tensor(browser: Browser, folder: pathlib.Path, values: int, rounds: int) -> Times:
    """Measure the playground on a file of one tensor, whose first figure waits for its statistics."""
    path, columns = folder / "large.npy", 1 << 12
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (values // columns, columns))
    draws = np.random.default_rng(0)
    for row in rows:
        row[:] = 0.02 * draws.standard_t(5, columns)
    rows.flush()
    with server("explorer.cli", "open", str(path), *APP[1:]) as (address, _live):
        visit = Visit(browser, f"{address}/playground")
        times = Times([visit.seconds()], visit.answers(min(rounds, 5), ["numbers", "figure"], "Bits"))
        visit.close()
    return times


def report(rounds: int, visits: int, values: int, only: str) -> str:
    """Measure, and return what is written."""
    names = [page.script.removesuffix(".py") for group in PAGES.values() for page in group if not page.hidden]
    parts = [HEAD, INTRODUCTION, f"On {', '.join(f'{key} {text}' for key, text in machine().items())}."]
    with ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "bare.py").write_text(BARE, encoding="utf-8")
        bare = ("streamlit", "run", str(folder / "bare.py"), "--server.headless", "true", "--server.port")
        parts += ["## Command to live server", _live_table(starts(bare, folder))]
        browser = launched(stack.enter_context(sync_playwright()))
        beside, _ = stack.enter_context(server(*bare, cwd=folder))
        app, _ = stack.enter_context(server(*APP))
        found = pages(browser, app, beside, [name for name in names if only in name], rounds, visits)
        if values:
            found[f"playground, {values:,} values"] = large_tensor(browser, folder, values, rounds)
        parts += ["## Pages", _page_table(found), PAGE_NOTE]
        if only in "accuracy":
            parts += [
                "## Control to accuracy of the whole network",
                _accuracy_table([*accuracies(browser, app, rounds)]),
            ]
        browser.close()
    return "\n\n".join(parts) + "\n"


PAGE_NOTE = (
    f"Targets: first picture ≤ {MOST_FIRST} × the bare page's median, repaint ≤ {MOST_REPAINT} × its 95th percentile;"
    " **bold** is what misses. The first picture is a figure, a drawing, an image"
    " or a table; a page without any is measured to its heading or first words. *Repaint* is from the first slider,"
    " or the first buttons, released until numbers, words or figure have changed and are painted; kB are what the"
    " server sent for it, until all was still. A page without such a control has none."
)


def _live_table(found: dict[str, list[float]]) -> str:
    bare = median(found[BARE_PAGE])
    lines = [
        (
            name,
            f"{median(seconds):.2f}",
            f"{p95(seconds):.2f}",
            _marked(median(seconds) / bare, MOST_LIVE),
            f"{len(seconds)}",
        )
        for name, seconds in found.items()
    ]
    return markdown_table([("server", "median, s", "p95, s", "×", "n"), *lines])


def _page_table(found: dict[str, Times]) -> str:
    bare = found[BARE_PAGE]
    bare_first, bare_repaint = median(bare.first), p95(bare.ms)
    lines = [("page", "first picture, median, s", "p95, s", "×", "repaint, median, ms", "p95, ms", "×", "kB", "n")]
    for name, times in found.items():
        middle = median(times.first)
        seconds = f"{middle:.2f}", f"{p95(times.first):.2f}", _marked(middle / bare_first, MOST_FIRST)
        repaint = ("",) * 4
        if times.answers:
            most = p95(times.ms)
            repaint = (
                f"{median(times.ms):.0f}",
                f"{most:.0f}",
                _marked(most / bare_repaint, MOST_REPAINT),
                times.kilobytes,
            )
        shown = name if times.has_picture else f"{name} (words)"
        lines.append((shown, *seconds, *repaint, f"{len(times.first)}, {len(times.answers)}"))
    return markdown_table(lines)


def _accuracy_table(found: Sequence[tuple[str, str, list[Answer]]]) -> str:
    lines = [("network", "layer", "median, ms", "p95, ms", "kB", "n")]
    for model in dict.fromkeys(model for model, _, _ in found):
        layers = [(layer, answers) for name, layer, answers in found if name == model]
        together = [answer for _, answers in layers for answer in answers]
        for layer, answers in [*layers, ("**all**", together)]:
            times = Times(answers=answers)
            said = ("no answer", "", "")
            if answers:
                most = p95(times.ms)
                marked = f"{most:.0f}" if most <= MOST_ACCURACY else f"**{most:.0f}**"
                said = f"{median(times.ms):.0f}", marked, times.kilobytes
            lines.append((model, layer, *said, f"{len(answers)}"))
    return markdown_table(lines) + f"\n\nTarget: p95 ≤ {MOST_ACCURACY:.0f} ms; **bold** is what misses."


def _marked(ratio: float, most: float) -> str:
    return f"{ratio:.2f}" if ratio <= most else f"**{ratio:.2f}**"


def main() -> None:
    """Measure, print and write."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=12, help="moves of each control")
    ask.add_argument("--visits", type=int, default=4, help="of each page")
    ask.add_argument("--only", default="", metavar="NAME", help="pages whose name has this in it, or accuracy")
    ask.add_argument("--values", type=int, default=0, help="of a large tensor; 0: none is opened")
    ask.add_argument("--markdown", type=pathlib.Path, default=ROOT / "docs" / "latency.md")
    args = ask.parse_args()
    ours: Callable[[pathlib.Path], bool] = begins_like(HEAD.encode())
    validate_place(args.markdown, ours)
    text = report(args.rounds, args.visits, args.values, args.only)
    print(text)
    write_file(args.markdown, text.encode(), ours)


if __name__ == "__main__":
    main()
