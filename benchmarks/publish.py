"""Measure everything and write it where people read it: `python -m benchmarks.publish` (15 minutes on an idle machine).

Runs `python -m benchmarks` on the processor as it is and, where that has more, with AVX2 alone; then writes
docs/benchmarks.json, docs/benchmarks.svg, and what lies between two markers in docs/benchmarks.md and in README.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison import Row, figures
from benchmarks.growth import Curve
from benchmarks.plot import svg
from benchmarks.processor import has_avx2, own_extension
from benchmarks.report import HEADINGS, cells, growth_cells, growth_headings, markdown_table, notes

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- measured: python -m benchmarks.publish -->", "<!-- end of what was measured -->"
BRIEF = (  # operation, peer: the README's rows
    ("quantize, dequantize, all metrics", "torch eager"),
    ("quantize, dequantize, all metrics", "torch.compile"),
    ("surface with the build", "torch eager, one configuration after the other"),
    ("best range with the build", "torch eager, 100 clips"),
    ("clip search, rows", "torch, all blocks at a time"),
    ("entropy calibration, 2,048 bins", "onnxruntime"),
    ("optimal codebook, 256 levels", "kmeans1d"),
    ("NF4 encode with its scales", "bitsandbytes"),
    ("vector encode, 8 values, 256 codewords", "faiss"),
    ("product train, 8 values a part", "faiss"),
)
DRAWN = (
    "quantize, dequantize, all metrics",
    "histogram build",
    "sorted index build",
    "histogram surface",
    "NF4 encode, groups of 50",
)

Run = dict[str, Any]  # what a run wrote as JSON


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return 1 if a row of any run failed or missed its target."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--quick", action="store_true", help="small sizes, to see that it works; needs --root")
    ask.add_argument("--root", type=Path, default=ROOT, help="where README.md and docs/benchmarks.md are")
    chosen = ask.parse_args(arguments)
    if chosen.quick and chosen.root == ROOT:
        ask.error("--quick measures nothing that should be published: copy README.md and docs/ elsewhere, give --root")
    for page in ("README.md", "docs/benchmarks.md"):
        between_markers((chosen.root / page).read_text("utf-8"), "")
    extra = ["--quick"] if chosen.quick else []
    ways = [["--memory", "--growth"]]
    if has_avx2() and own_extension().startswith("AVX-512"):
        ways.append(["--vector", "avx2"])
    status, runs = 0, []
    for way in ways:
        failed, run = measured([*way, *extra])
        status, runs = max(status, failed), [*runs, run]
    write(chosen.root, runs)
    return status


def measured(options: Sequence[str]) -> tuple[int, Run]:
    """Run the benchmarks in a process of their own; return their status and what they wrote."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.json"
        command = [sys.executable, "-m", "benchmarks", "--json", str(path), *options]
        print("$", *command, file=sys.stderr, flush=True)
        status = subprocess.run(command, check=False).returncode
        run: Run = json.loads(path.read_text("utf-8"))
        return status, run


def write(root: Path, runs: Sequence[Run]) -> None:
    """Write the four files from the runs."""
    (root / "docs" / "benchmarks.json").write_text(json.dumps({"runs": runs}, indent=1, ensure_ascii=False), "utf-8")
    (root / "docs" / "benchmarks.svg").write_text(picture(runs), "utf-8")
    for page, text in (("README.md", brief(runs)), ("docs/benchmarks.md", whole(runs))):
        path = root / page
        path.write_text(between_markers(path.read_text("utf-8"), text), "utf-8")


def between_markers(page: str, text: str) -> str:
    """Return a page with other text between its markers.

    Raises:
        ValueError: without both markers, each once.
    """
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end) or START in after or END in after:
        raise ValueError(f"a page needs the lines {START} and {END}, each once")
    return f"{before}{start}\n{text}\n{end}{after}"


def brief(runs: Sequence[Run]) -> str:
    """Return the README's section: ten rows, each beside a peer, and the picture."""
    extensions = [run["machine"]["vector extension"] for run in runs]
    lines = [("operation", "ours", "peer", "peer's", *(f"× as fast, {name}" for name in extensions))]
    for operation, peer in BRIEF:
        found = [_row(run, operation, peer) for run in runs]
        if found[0] is None:
            continue
        cell = cells(found[0])
        at = dict(zip(HEADINGS, cell, strict=True))
        ratios = (row.ratio.removesuffix(" × as fast") if row else "" for row in found)
        lines.append((operation, at["ours (median)"], peer, at["peer's"], *ratios))
    first = runs[0]["machine"]
    where = f"{first['threads']} threads of an {first['processor']}, 4096 × 4096 weights, times with {extensions[0]}"
    link = "all rows, growth and what is missed: [docs/benchmarks.md](docs/benchmarks.md)"
    figure = f"![{alternative(runs)}](docs/benchmarks.svg)"
    return f"## How fast\n\n{markdown_table(lines)}\n\n{where}; {link}.\n\n{figure}\n"


def whole(runs: Sequence[Run]) -> str:
    """Return every row of every run, and growth."""
    parts = []
    for run in runs:
        rows = [Row(**row) for row in run["rows"]]
        machine = ", ".join(f"{key} {value}" for key, value in run["machine"].items())
        parts += [f"## With {run['machine']['vector extension']}", f"On {machine}."]
        parts += [markdown_table([HEADINGS, *map(cells, rows)]), "\n".join(f"- {note}" for note in notes(rows))]
        curves = [Curve(**one) for one in run["growth"]]
        if curves:
            parts += ["### Growth", markdown_table([growth_headings(curves), *map(growth_cells, curves)])]
    return "\n\n".join(["", f"![{alternative(runs)}](benchmarks.svg)", *parts, ""])


def picture(runs: Sequence[Run]) -> str:
    """Return the picture of the README's rows and of growth in the first run."""
    bars = []
    for operation, peer in BRIEF:
        by_extension = {}
        for run in runs:
            row = _row(run, operation, peer)
            if row and row.ratio:
                by_extension[run["machine"]["vector extension"]] = times_as_fast(row)
        name = (
            operation.partition(",")[0]
            if operation.startswith(("entropy", "optimal", "vector", "product"))
            else operation
        )
        bars.append((f"{name}: {peer.partition(',')[0]}", by_extension))
    lines = [(one["operation"], one["sizes"], one["ms"]) for one in runs[0]["growth"] if one["operation"] in DRAWN]
    return svg(bars, lines, alternative(runs))


def alternative(runs: Sequence[Run]) -> str:
    """Return what the picture shows, in words."""
    found = [times_as_fast(row) for operation, peer in BRIEF if (row := _row(runs[0], operation, peer)) and row.ratio]
    said = (
        f"from {figures(min(found))} to {figures(max(found))} times as fast as their peers" if found else "not compared"
    )
    return f"Operations of the engine are {said}; times grow with the number of values, those of surfaces do not"


def times_as_fast(row: Row) -> float:
    """Return a row's ratio."""
    return float(row.ratio.partition(" ")[0].replace(",", ""))


def _row(run: Run, operation: str, peer: str) -> Row | None:
    return next((Row(**row) for row in run["rows"] if (row["operation"], row["peer"]) == (operation, peer)), None)


if __name__ == "__main__":
    sys.exit(main())
