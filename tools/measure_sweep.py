"""Measure sweeps of the packs that are installed by one and two workers, and plan one of 70 billion weights.

`python -m tools.measure_sweep` prints Markdown: seconds and speed-up, what a dry run had said, and the hours of a plan
for a checkpoint of a 70-billion-parameter model's shapes, whose files hold no data. One tensor of its largest shape
but the embedding is made and swept, so that the plan's costs can be believed.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from explorer.sweep_specs import specs_of
from quant_engine.packs import PACKS, folder_of, is_installed
from quant_engine.sweep import Estimate, estimate, plan_sweep, process_map, read_sweep, sweep
from quant_engine.sweep.plan import SweepPlan

MODELS = ("minilm", "smollm2")
SPECS, _ = specs_of("2-8", "channel,128", "minmax,mse", "int")
FEW, _ = specs_of("4", "layer,channel,128", "minmax,mse", "int")
WORDS_OF_FEW = ["--bits", "4", "--granularity", "layer,channel,128", "--clipping", "minmax,mse"]
LAYERS, HIDDEN, INNER, KEYS, WORDS = 80, 8192, 28672, 1024, 128256
SHARDS = 30
WORKERS = (1, 2, 8, 16, 32, 64, 128)
WARM = 16  # of the smallest tensors, with which processes begin
RATE = 200e6  # bytes a second that one worker reads of an object store


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield names and shapes of a decoder of 80 layers with grouped queries: 70.6 billion weights."""
    yield "model.embed_tokens.weight", (WORDS, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name, rows in (("q", HIDDEN), ("k", KEYS), ("v", KEYS), ("o", HIDDEN)):
            yield f"{prefix}.self_attn.{name}_proj.weight", (rows, HIDDEN)
        yield f"{prefix}.mlp.gate_proj.weight", (INNER, HIDDEN)
        yield f"{prefix}.mlp.up_proj.weight", (INNER, HIDDEN)
        yield f"{prefix}.mlp.down_proj.weight", (HIDDEN, INNER)
        yield f"{prefix}.input_layernorm.weight", (HIDDEN,)
        yield f"{prefix}.post_attention_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (WORDS, HIDDEN)


def write_layout(folder: Path) -> Path:
    """Write an index and files with headers alone: as long as they say, and sparse, so that they take no room."""
    listed = list(shapes())
    per_shard = -(-len(listed) // SHARDS)
    places: dict[str, str] = {}
    for shard in range(SHARDS):
        name, header, end = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors", {}, 0
        for tensor, shape in listed[shard * per_shard : (shard + 1) * per_shard]:
            first, end = end, end + 2 * int(np.prod(shape))
            header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [first, end]}
            places[tensor] = name
        text = json.dumps(header).encode()
        with (folder / name).open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + end)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": places}))
    return path


def swept(plan: SweepPlan, out: Path, workers: int) -> float:
    """Return the seconds of a sweep by processes that have begun and compiled what they need."""
    small = sorted(plan.sizes.items(), key=lambda item: item[1])[:WARM]
    with process_map(workers) as over:
        list(sweep(replace(plan, sizes=dict(small)), out=out.with_suffix(".warm"), map=over))
        started = time.monotonic()
        list(sweep(plan, out=out, map=over))
        return time.monotonic() - started


def measure_packs(folder: Path) -> None:
    """Print what the installed packs take."""
    print("| model | values | cells | dry run, 1 worker | 1 worker | 2 workers | speed-up | same bits |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for name in (name for name in MODELS if is_installed(PACKS[name])):
        plan = plan_sweep(folder_of(PACKS[name]) / "model.safetensors", FEW)
        told = estimate(plan, [1]).seconds[1]
        seconds = [swept(plan, folder / f"{name}-{workers}", workers) for workers in (1, 2)]
        same = found(folder / f"{name}-1") == found(folder / f"{name}-2")
        took = " | ".join(f"{one:.1f} s" for one in (told, *seconds))
        sizes = f"{sum(plan.sizes.values()):,} | {plan.cells:,}"
        print(f"| {name} | {sizes} | {took} | {seconds[0] / seconds[1]:.2f} | {'yes' if same else 'NO'} |", flush=True)


def found(path: Path) -> list[list[object]]:
    """Return a table's columns without what a clock says."""
    return [values for name, values in read_sweep(path).columns.items() if "seconds" not in name]


def measure_tensor(folder: Path) -> None:
    """Print what one large tensor takes, beside what a dry run says of it, and the memory of its process."""
    rng, path = np.random.default_rng(0), folder / "gate.safetensors"
    save_file({"gate": rng.standard_normal((INNER, HIDDEN), np.float32).astype(np.float16)}, path)
    told = estimate(plan_sweep(path, FEW), [1])
    started = time.monotonic()
    words = ["sweep", str(path), *WORDS_OF_FEW, "--workers", "1", "--json", "-o", str(folder / "gate.parquet")]
    subprocess.run([sys.executable, "-m", "explorer.cli", *words], check=True, capture_output=True)
    took, peak = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    say(
        f"A tensor of {INNER:,} × {HIDDEN:,} under {len(FEW)} specs: {took:.0f} s with the start of a process, and ",
        f"{told.seconds[1]:.0f} s by the dry run; memory at most {peak / 1e9:.2f} GB, and ",
        f"{told.worker_bytes / 1e9:.2f} GB by the dry run.\n",
    )


def plan_large(folder: Path) -> None:
    """Print the plan of a sweep of 70 billion weights."""
    plan = plan_sweep(write_layout(folder), SPECS)
    told: Estimate = estimate(plan, WORKERS, RATE)
    say(
        f"\n{len(plan.sizes):,} tensors of {told.values:,} values under {len(SPECS)} specs (int2 to int8, a scale a ",
        f"channel or 128 weights, min–max or least MSE): {plan.cells:,} cells in {told.chunks:,} pieces. ",
        f"Read: {told.read_bytes / 1e9:,.0f} GB, at {RATE / 1e6:.0f} MB a second for each worker. ",
        f"Memory of a worker: {told.worker_bytes / 1e9:.2f} GB.\n",
    )
    say("| workers | hours |\n|---:|---:|")
    for count, seconds in told.seconds.items():
        say(f"| {count} | {seconds / 3600:.2f} |")


def say(*parts: str) -> None:
    """Print at once what the parts say together."""
    print("".join(parts), flush=True)


def main() -> None:
    """Print all."""
    print(f"{os.cpu_count()} cores; load when it began: {os.getloadavg()[0]:.1f}.\n")
    with tempfile.TemporaryDirectory() as folder:
        measure_tensor(Path(folder))
        measure_packs(Path(folder))
        plan_large(Path(folder))


if __name__ == "__main__":
    main()
