"""The result as text for the screen, as Markdown and as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

from benchmarks.comparison import Row, figures
from benchmarks.growth import Curve
from benchmarks.processor import own_extension, vector_extension
from quant_engine.kernels.parallel import thread_count

HEADINGS = ("operation", "ours (median)", "(min)", "one thread", "peer", "peer's", "ratio", "target", "met")


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as text, column by column."""
    theirs = "" if row.peers is None else f"{figures(row.peers, 4)} {row.unit}"
    met = "FAILED" if row.failed else {None: "", True: "yes", False: "NO"}[row.met]
    alone = "" if row.alone is None else figures(row.alone, 4)
    ours = ("", "") if row.ours is None else (f"{figures(row.ours, 4)} {row.unit}", figures(row.ours_least or 0.0, 4))
    return (row.operation, *ours, alone, row.peer, theirs, row.ratio, row.target, met)


def as_text(rows: Sequence[Row], curves: Sequence[Curve] = ()) -> str:
    """Return aligned tables, the notes and the machine."""
    tables = [_aligned([HEADINGS, *map(cells, rows)]), *(f"  {note}" for note in notes(rows))]
    if curves:
        tables.append(_aligned([growth_headings(curves), *map(growth_cells, curves)]))
    return "\n".join([*tables, _machine_line()])


def as_markdown(rows: Sequence[Row], curves: Sequence[Curve] = ()) -> str:
    """Return Markdown tables, the notes and the machine."""
    listed = "\n".join(f"- {note}" for note in notes(rows))
    parts = [markdown_table([HEADINGS, *map(cells, rows)]), listed]
    if curves:
        parts.append(markdown_table([growth_headings(curves), *map(growth_cells, curves)]))
    return "\n\n".join([*parts, _machine_line()]) + "\n"


def as_json(rows: Sequence[Row], curves: Sequence[Curve] = ()) -> str:
    """Return the rows, the growth and the machine as JSON."""
    found = {"machine": machine(), "rows": [asdict(row) for row in rows], "growth": [asdict(one) for one in curves]}
    return json.dumps(found, indent=1, ensure_ascii=False)


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Return lines as a table, the first of them its headings."""
    heading, *rest = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in (heading, ("---",) * len(heading), *rest))


def growth_headings(curves: Sequence[Curve]) -> tuple[str, ...]:
    """Return the headings of a table of growth."""
    return ("operation, ms", *(f"{size:,}" for size in curves[0].sizes), "slope from a million on")


def growth_cells(curve: Curve) -> tuple[str, ...]:
    """Return an operation's times, and their slope over the sizes in logarithms."""
    return (curve.operation, *map(figures, curve.ms), "" if curve.slope is None else f"{curve.slope:.2f}")


def _aligned(table: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


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
    if own_extension() != vector_extension():
        found["stands in for a processor without"] = own_extension()
    for package in ("numpy", "numba", "torch", "torchao", "onnxruntime", "faiss-cpu", "bitsandbytes", "kmeans1d"):
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
