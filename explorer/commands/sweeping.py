"""The command that quantizes every tensor of a model under every spec, on processes of this machine or a cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from explorer.commands.common import (
    AsJson,
    Data,
    DryRun,
    Model,
    Seed,
    followed,
    number,
    refusals,
    said,
    show,
    write_json,
)

EXAMPLES = """[bold]Examples[/bold]

quant-explorer sweep fashion-cnn -o results.parquet\n
quant-explorer sweep model.safetensors --bits 3-4 --granularity channel,32 --clipping minmax,mse -o results.parquet\n
quant-explorer sweep s3://bucket/model.safetensors.index.json --dask tcp://scheduler:8786 -o results.parquet\n
quant-explorer sweep model.safetensors --dry-run --workers 16 -o results.parquet
"""
SHARES = (1, 2, 4, 8, 16, 32, 64)  # workers of which a dry run says how long they take
GIB = 1 << 30
PATIENCE = 10  # seconds until a scheduler that does not answer is given up


def sweep(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The Parquet file to write.")],
    bits: Annotated[str, typer.Option(help="Widths of integers, such as 2-8 or 3,4,8.")] = "2-8",
    granularity: Annotated[
        str, typer.Option(help="What shares a scale: layer, channel, or 16, 32, 64, 128, 256 weights of a channel.")
    ] = "layer,channel",
    clipping: Annotated[str, typer.Option(help="minmax, mse, percentile (99.9), kl, aciq.")] = "minmax",
    formats: Annotated[
        str,
        typer.Option(help="int, asymmetric, E4M3 and other floats, NF4, MXFP4, NVFP4, Q4_0 and other GGUF blocks."),
    ] = "int",
    tensors: Annotated[str, typer.Option(help="A pattern of names, such as '*proj*'.")] = "*",
    data: Data = None,
    attribute: Annotated[
        bool, typer.Option("--attribute", help="Also measure the model with each tensor alone quantized.")
    ] = False,
    dask: Annotated[
        str | None, typer.Option(help="The scheduler of a Dask cluster, such as tcp://10.0.0.1:8786.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes of this machine; by default one a core.", min=1)
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(help="GB for each worker, by which large tensors are cut into blocks; 1.5 unless given.", min=0.6),
    ] = None,
    read_rate: Annotated[
        float | None, typer.Option(help="For --dry-run: MB a second that one worker reads; else measured.", min=0.001)
    ] = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Quantize every tensor under every format, granularity and clipping, and write a table of what each loses.

    Stop it when you like: the same command goes on where it was.
    """
    with refusals():
        from explorer.given import swept
        from explorer.sweep_specs import specs_of
        from quant_engine import sweep as engine

        specs, left_out = specs_of(bits, granularity, clipping, formats)
        if left_out:
            typer.echo(said("sweep_left_out", what="; ".join(left_out)), err=True)
        most = engine.MAX_VALUES if memory is None else engine.values_in(int(memory * GIB))
        source = swept(model, data, seed)
        plan = engine.plan_sweep(source, specs, tensors=tensors, attribute=attribute, max_values=most)
        if dry_run:
            _show_estimate(plan, workers, read_rate, as_json)
            return
        started = time.monotonic()
        with _map(dask, workers) as over:
            steps = engine.sweep(plan, out=output, map=over)
            last = followed(steps, said("sweeping"), lambda step: str(step.tensor), as_json, "swept_so_far")
        _show(output, last, time.monotonic() - started, as_json)


@contextlib.contextmanager
def _map(dask: str | None, workers: int | None) -> Iterator[Any]:
    """Lend what the cells are worked on by: a cluster, processes, or this process."""
    from quant_engine.extras import imported
    from quant_engine.kernels.parallel import thread_count
    from quant_engine.sweep import process_map

    count = workers or thread_count()
    if dask is not None:
        from quant_engine import QuantError

        distributed = imported("distributed", "dask")
        try:
            client = distributed.Client(dask, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise QuantError(f"--dask {dask!r} does not answer ({error}); give the address of a scheduler") from error
        with client:
            yield partial(client.map, pure=False)
    elif count == 1:
        yield map
    else:
        with process_map(count) as over:
            yield over


def _show_estimate(plan: Any, workers: int | None, read_rate: float | None, as_json: bool) -> None:
    from quant_engine.sweep import estimate

    counts = sorted({*SHARES, *([workers] if workers else [])})
    found = estimate(plan, counts, None if read_rate is None else read_rate * 1e6)
    if as_json:
        write_json({"model": plan.name, "cells": plan.cells, **vars(found)})
        return
    facts = {"cells": f"{plan.cells:,}", "tensors": f"{len(plan.sizes):,}", "specs": len(plan.specs)}
    typer.echo(said("sweep_plan", model=plan.name, values=f"{found.values:,}", chunks=f"{found.chunks:,}", **facts))
    read, rate, memory = f"{found.read_bytes / 1e9:,.2f}", f"{found.read_rate / 1e6:,.0f}", found.worker_bytes / 1e9
    typer.echo(said("sweep_reads", read=read, rate=rate, memory=f"{memory:.2f}"))
    if plan.attribute:
        typer.echo(said("sweep_attributes", hours=f"{found.run_seconds / 3600:.3g}"))
    rows = [(f"{count}", f"{found.seconds[count] / 3600:.3g}") for count in counts]
    show(said("sweep_estimate"), ("workers", "hours"), rows)


def _show(output: Path, last: Any, seconds: float, as_json: bool) -> None:
    from explorer.sweep_results import results_of, summaries
    from quant_engine.sweep import read_sweep

    found = summaries(results_of(read_sweep(output)))
    if as_json:
        record = {"path": str(output), "cells": last.total, "failed": last.failed, "seconds": seconds}
        write_json({**record, "specs": [vars(one) for one in found]})
        return
    rows = [
        (one.name, f"{one.bits_per_value:.3f}", number(one.mse), f"{one.sqnr_db:.1f}", said("best") * one.on_front)
        for one in found
    ]
    show(said("sweep_title", path=output), ("all tensors", "bits", "MSE", "SQNR dB", ""), rows)
    typer.echo(said("swept", path=output, cells=f"{last.total:,}", seconds=number(seconds, 3)))
    if last.failed:
        typer.echo(said("sweep_failed", n=f"{last.failed:,}"))
