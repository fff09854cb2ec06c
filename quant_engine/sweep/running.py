"""Running a sweep: chunks go to a map, what they find goes to the journal, and all of it to a Parquet file."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from quant_engine.errors import QuantError
from quant_engine.quantizer import QuantizerSpec
from quant_engine.sweep.cells import FAILED, Row, failed_rows, work
from quant_engine.sweep.journal import Journal, journal_of, open_journal
from quant_engine.sweep.plan import Cell, Chunk, SweepPlan, plan_sweep
from quant_engine.sweep.subject import Opener
from quant_engine.sweep.table import read_sweep, write_sweep

TRIES = 2  # of a chunk whose worker dies of it
ROUNDS = 5  # in which nothing comes back from a map, until it is given up
PAUSE = 1.0  # seconds before what was lost is handed out again

Map = Callable[[Callable[[Chunk], list[Row]], list[Chunk]], Iterable[Any]]  # results in order, or futures


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes:
        done: cells on disk.
        total: cells of the plan.
        failed: cells on disk that are errors.
        tensor: which tensor was worked on last; empty at the beginning and at the end.
        eta_seconds: how long the rest takes at the pace so far; None as long as there is none.
        out: the file, once it is written.
    """

    done: int
    total: int
    failed: int
    tensor: str = ""
    eta_seconds: float | None = None
    out: Path | None = None


def sweep(
    source: str | os.PathLike[str] | Opener | SweepPlan,
    specs: Sequence[QuantizerSpec] = (),
    out: str | os.PathLike[str] = "results.parquet",
    map: Map = map,
    **choices: Any,
) -> Iterator[SweepProgress]:
    """Yield how far a sweep is, then that its Parquet file is written; the same call goes on where one was stopped.

    `map(work, chunks)` returns results in the order of the chunks, or futures: `builtins.map`, one of `process_map`, or
    the `map` of a Dask client. The results are the same, bit for bit, but for the seconds. Stop by closing the
    generator; finished cells are in `out` + ".journal" until all are. `choices` are those of `plan_sweep`.

    Raises:
        QuantError: as `plan_sweep`; for an output of another plan, and a map from which nothing comes back.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from quant_engine import IntFormat
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/weights.npz", a=np.ones((2, 3), np.float32), b=np.eye(4, dtype=np.float32))
        ...     specs = [QuantizerSpec(IntFormat(bits)) for bits in (4, 8)]
        ...     *_, last = sweep(f"{folder}/weights.npz", specs, f"{folder}/results.parquet")
        ...     last.done, last.failed, read_sweep(last.out).columns["tensor"]
        (4, 0, ['a', 'a', 'b', 'b'])
    """
    plan = source if isinstance(source, SweepPlan) else plan_sweep(source, specs, **choices)
    path = Path(out)
    known = _known(path, plan)
    if len(known) == plan.cells:
        journal_of(path).unlink(missing_ok=True)
        yield SweepProgress(plan.cells, plan.cells, sum(row["error_kind"] != "" for row in known.values()), out=path)
        return
    with open_journal(path, plan, known) as journal:
        yield SweepProgress(len(journal.rows), plan.cells, journal.errors)
        yield from _filled(plan, journal, map)
        write_sweep(path, plan.record, (journal.rows[place] for place in plan.places()))
        journal_of(path).unlink(missing_ok=True)
    yield SweepProgress(plan.cells, plan.cells, journal.errors, out=path)


def _known(path: Path, plan: SweepPlan) -> dict[Cell, Row]:
    """Return what a finished file holds of this plan; what failed for the machine's sake is tried again.

    Raises:
        QuantError: for a file of another plan.
    """
    if not path.exists():
        return {}
    found = read_sweep(path)
    if found.record != plan.record:
        raise QuantError(
            f"{path} holds another sweep: other specs, tensors or contents of the model; give another output, or "
            "delete it"
        )
    return {(row["tensor"], row["spec"]): row for row in found.rows() if row["error_kind"] != FAILED}


def _filled(plan: SweepPlan, journal: Journal, map: Map) -> Iterator[SweepProgress]:
    """Hand out what is not done until all is, and yield how far that is."""
    left = dict(enumerate(plan.chunks(journal.rows)))
    tried = dict.fromkeys(left, 0)
    costs = {place: (plan.sizes[chunk.tensor] + 1) * len(chunk.specs) for place, chunk in left.items()}
    begun, quiet, worked, total = time.monotonic(), 0, 0, sum(costs.values())
    while left:
        before = len(left)
        for place, found in _answers(map, left):
            if isinstance(found, BaseException):
                tried[place] += not isinstance(found, CancelledError)
                if tried[place] < TRIES:
                    continue
                found = failed_rows(left[place], found)
            chunk = left.pop(place)
            journal.add(found)
            worked += costs[place]
            eta = (time.monotonic() - begun) * (total - worked) / worked
            yield SweepProgress(len(journal.rows), plan.cells, journal.errors, chunk.tensor, eta)
        quiet = 0 if len(left) < before else quiet + 1
        if quiet == ROUNDS:
            raise QuantError(
                f"nothing comes back from the workers; {len(journal.rows):,} of {plan.cells:,} cells are on disk, and "
                "the same sweep goes on from there"
            )
        if left:
            time.sleep(PAUSE)


def _answers(map: Map, left: dict[int, Chunk]) -> Iterator[tuple[int, list[Row] | BaseException]]:
    """Yield what comes back for each chunk: results in their order, those of futures as they come."""
    places, chunks = list(left), list(left.values())
    ready: queue.SimpleQueue[int] = queue.SimpleQueue()
    futures: dict[int, Any] = {}
    try:
        answers = map(work, chunks)
    except Exception as error:
        raise QuantError(f"the workers take no more work ({error}); begin the same sweep again, it goes on") from error
    try:
        for place, given in zip(places, answers, strict=True):
            if hasattr(given, "add_done_callback"):
                futures[place] = given
                given.add_done_callback(partial(_tell, ready, place))
            else:
                yield place, given
        while futures:
            place = ready.get()
            yield place, _result(futures.pop(place))
    finally:
        for future in futures.values():
            future.cancel()


def _tell(ready: queue.SimpleQueue[int], place: int, future: Any) -> None:
    ready.put(place)


def _result(future: Any) -> list[Row] | BaseException:
    """Return what a future holds, or why it holds nothing: its worker died, or its scheduler."""
    try:
        found: list[Row] = future.result()
    except (Exception, CancelledError) as error:
        return error
    return found
