"""The result as text for the screen, as Markdown and as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from benchmarks.comparison import Row
from benchmarks.processor import vector_extension
from quant_engine.kernels.parallel import thread_count

HEADINGS = ("operation", "ours (median)", "(min)", "peer", "peer's", "ratio", "target", "met")


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as text, column by column."""
    theirs = "" if row.peers is None else f"{row.peers:,.4g} {row.unit}"
    met = "FAILED" if row.failed else {None: "", True: "yes", False: "NO"}[row.met]
    ours = (f"{row.ours:.4g} {row.unit}", f"{row.ours_least:.4g}")
    return (row.operation, *ours, row.peer, theirs, row.ratio, row.target, met)


def as_text(rows: Sequence[Row]) -> str:
    """Return an aligned table, then the notes and the machine."""
    table = [HEADINGS, *map(cells, rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join([*lines, *(f"  {note}" for note in notes(rows)), _machine_line()])


def as_markdown(rows: Sequence[Row]) -> str:
    """Return a Markdown table, the notes and the machine."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *map(cells, rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    listed = "\n".join(f"- {note}" for note in notes(rows))
    return f"{table}\n\n{listed}\n\n{_machine_line()}\n"


def as_json(rows: Sequence[Row]) -> str:
    """Return the rows and the machine as JSON."""
    return json.dumps({"machine": machine(), "rows": [row.__dict__ for row in rows]}, indent=1, ensure_ascii=False)


def notes(rows: Sequence[Row]) -> list[str]:
    """Return what there is to say on rows, each said once."""
    return [f"{row.operation}{', ' + row.peer if row.peer else ''}: {row.note}" for row in rows if row.note]


def machine() -> dict[str, str]:
    """Return what the times depend on."""
    found = {
        "threads": str(thread_count()),
        "processor": _processor(),
        "vector extension": vector_extension(),
        "python": platform.python_version(),
    }
    for package in ("numpy", "numba", "torch", "torchao"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _machine_line() -> str:
    return ", ".join(f"{key} {value}" for key, value in machine().items())


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
