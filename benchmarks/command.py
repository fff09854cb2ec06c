"""The command: which cases, at what sizes, and where the table goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import attribution, codebooks, codes, indexes, inference, inspector, memory, passes, scoring, searches
from benchmarks.comparison import Comparison, Row, compare
from benchmarks.data import QUICK, Sizes
from benchmarks.report import as_json, as_markdown, as_text
from quant_engine.files import begins_like, validate_place, write_file
from quant_engine.kernels.parallel import thread_count

Case = Callable[[Sizes], Comparison]
CASES: dict[str, Case] = {
    "quantize, dequantize, all metrics": passes.quantize_and_measure,
    "metrics only": passes.measure,
    "encode": passes.encode,
    "per channel, all metrics": passes.channels,
    "groups of 128, all metrics": passes.groups,
    "histogram build": indexes.histogram_build,
    "sorted index build": indexes.sorted_build,
    "histogram surface": indexes.histogram_surface,
    "sorted index surface": indexes.sorted_surface,
    "surface with the build": indexes.surface_from_raw,
    "best range with the build": indexes.best_range,
    "clip search, rows": searches.rows,
    "clip search, groups of 128": searches.groups,
    "entropy calibration, 2,048 bins": searches.entropy,
    "optimal codebook, 256 levels": codebooks.optimal,
    "optimal codebook, 256 levels, exact": codebooks.certified,
    "NF4 encode with its scales": codes.nf4,
    "vector encode, 8 values, 256 codewords": codes.vector_encode,
    "vector train, 8 values, 256 codewords": codes.vector_train,
    "product train, 8 values a part": codes.product_train,
    "scored again, one layer changed, plain network": scoring.plain,
    "scored again, one layer changed, depthwise network": scoring.depthwise,
    "attribution, depthwise network": attribution.depthwise,
    "attribution, text recogniser": attribution.text_recogniser,
    "integer-only inference, plain network": inference.plain,
    "integer-only inference, depthwise network": inference.depthwise,
}


def main(arguments: Sequence[str] | None = None, cases: Mapping[str, Case] = CASES) -> int:
    """Run the chosen cases; return 1 if a check fails, or a target is missed at the sizes it holds for."""
    chosen = _parser().parse_args(arguments)
    sizes = _sizes(chosen)
    torch.set_num_threads(thread_count())
    written = (chosen.json, as_json), (chosen.markdown, as_markdown)
    for path, text in written:
        if path:
            validate_place(path, begins_like(text([]).encode()))
    rows: list[Row] = []
    for name, setup in cases.items():
        if chosen.only in name:
            print(f"{name} …", file=sys.stderr, flush=True)
            rows.extend(compare(name, setup(sizes), sizes.repeats, sizes.budget))
    if cases is CASES and chosen.only in inspector.OPERATION:
        print(f"{inspector.OPERATION} …", file=sys.stderr, flush=True)
        rows.extend(inspector.rows(sizes))
    if chosen.memory:
        rows.extend(memory.rows(sizes))
    full = (sizes.rows, sizes.columns, sizes.clips) == (Sizes.rows, Sizes.columns, Sizes.clips)
    if not full:  # a small tensor fits the cache, where the limits are others
        rows = [replace(row, met=None) for row in rows]
        print("Small sizes: the targets are not judged.", file=sys.stderr)
    print(as_text(rows))
    for path, text in written:
        if path:
            write_file(path, text(rows).encode(), begins_like(text([]).encode()))
    return int(any(row.failed or row.met is False for row in rows))


def _sizes(chosen: argparse.Namespace) -> Sizes:
    sizes = QUICK if chosen.quick else Sizes()
    given = {name: getattr(chosen, name) for name in ("rows", "columns", "clips", "repeats")}
    return replace(sizes, **{name: value for name, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description="The engine's speed beside its peers.")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds, to see that all of it runs")
    parser.add_argument(
        "--only", default="", metavar="NAME", help=f"cases whose name has this in it: {'; '.join(CASES)}"
    )
    parser.add_argument("--memory", action="store_true", help="also measure peak memory, in processes of their own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    for name in ("rows", "columns", "clips", "repeats"):
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"default {getattr(Sizes, name)}")
    return parser
