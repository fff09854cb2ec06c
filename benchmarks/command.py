"""The command: which cases, at what sizes, and where the table goes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import (
    attribution,
    codebooks,
    codes,
    growth,
    indexes,
    inference,
    inspector,
    memory,
    passes,
    scoring,
    searches,
)
from benchmarks.comparison import Comparison, Row, compare, failure
from benchmarks.data import QUICK, Sizes
from benchmarks.processor import LOWERED_TO, avx2_alone, has_avx2, is_lowered, note_of, own_extension, registers
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
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.vector and not is_lowered():
        if not has_avx2():
            parser.error(f"--vector {chosen.vector}: this processor has {own_extension()}")
        return _with_avx2_alone(sys.argv[1:] if arguments is None else arguments)
    sizes = _sizes(chosen)
    torch.set_num_threads(thread_count())
    written = (chosen.json, as_json), (chosen.markdown, as_markdown)
    for path, text in written:
        if path:
            validate_place(path, begins_like(text([], []).encode()))
    rows = [_noted(row) for row in _rows(chosen, cases)]
    if (sizes.rows, sizes.columns, sizes.clips) != (Sizes.rows, Sizes.columns, Sizes.clips):
        rows = [replace(row, met=None) for row in rows]  # a small tensor fits the cache, where the limits are others
        print("Small sizes: the targets are not judged.", file=sys.stderr)
    curves = growth.curves(sizes) if chosen.growth else []
    print(as_text(rows, curves))
    for path, text in written:
        if path:
            write_file(path, text(rows, curves).encode(), begins_like(text([], []).encode()))
    return int(any(row.failed or row.met is False for row in rows) or _wide_registers_although_lowered())


def _noted(row: Row) -> Row:
    """Return a row with what there is to say on its peer: one that cannot be lowered with us is no judge."""
    note = note_of(row.peer)
    return replace(row, note="; ".join(filter(None, (row.note, note))), met=None if note else row.met)


def _rows(chosen: argparse.Namespace, cases: Mapping[str, Case]) -> Iterator[Row]:
    """Run the chosen cases; what raises is a row that says so, and the others are run all the same."""
    sizes = _sizes(chosen)
    for name, setup in cases.items():
        if chosen.only in name:
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                yield from compare(name, setup(sizes), sizes.repeats, sizes.budget)
            except Exception as error:  # whatever it is, of ours or of a peer's, the row shows it, and the exit status
                traceback.print_exc()
                yield failure(name, f"{type(error).__name__}: {error}")
    if cases is CASES and chosen.only in inspector.OPERATION:
        print(f"{inspector.OPERATION} …", file=sys.stderr, flush=True)
        yield from inspector.rows(sizes)
    if chosen.memory:
        yield from memory.rows(sizes)


def _with_avx2_alone(arguments: Sequence[str]) -> int:
    """Run the same command in a process that does without what goes beyond AVX2.

    It compiles every kernel, since numba shows no code of those that it has loaded.
    """
    command = [sys.executable, "-m", "benchmarks", *arguments]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, **avx2_alone(), "NUMBA_CACHE_DIR": cache}
        return subprocess.run(command, env=environment, check=False).returncode


def _wide_registers_although_lowered() -> bool:
    """Say, where vectors are lowered, which registers the kernels use; return whether any is wider than AVX2's."""
    if not is_lowered():
        return False
    found = registers()
    print("Kernels by their widest registers:", ", ".join(f"{count} {name}" for name, count in found.items()))
    return found["zmm"] > 0


def _sizes(chosen: argparse.Namespace) -> Sizes:
    sizes = replace(QUICK if chosen.quick else Sizes(), packs=not (chosen.quick or chosen.vector))
    given = {name: getattr(chosen, name) for name in ("rows", "columns", "clips", "repeats")}
    return replace(sizes, **{name: value for name, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description="The engine's speed beside its peers.")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds, to see that all of it runs")
    parser.add_argument(
        "--only", default="", metavar="NAME", help=f"cases whose name has this in it: {'; '.join(CASES)}"
    )
    parser.add_argument(
        "--vector", choices=LOWERED_TO, help="do without what goes beyond it, peers and all; leaves out packs"
    )
    parser.add_argument("--growth", action="store_true", help="also measure growth with the number of values")
    parser.add_argument("--memory", action="store_true", help="also measure peak memory, in processes of their own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    for name in ("rows", "columns", "clips", "repeats"):
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"default {getattr(Sizes, name)}")
    return parser
