"""What is found in a chunk of cells: pure functions of a source, a tensor's name and specs, run by any process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

from quant_engine.clipping import FixedRange, MinMSE
from quant_engine.clipping.min_mse import LARGE_BLOCK
from quant_engine.distribution import Distribution
from quant_engine.errors import QuantError
from quant_engine.granularity import PerTensor
from quant_engine.inputs import Float32Array
from quant_engine.kernels.parallel import one_thread
from quant_engine.models import ties
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import ErrorReport, QuantizerSpec, fit
from quant_engine.studies.damage import Kept, PlanParts
from quant_engine.sweep.blocks import Found, in_blocks
from quant_engine.sweep.plan import Chunk
from quant_engine.sweep.subject import KEPT_OPEN, Subject, opened

Row = dict[str, Any]
REFUSED, FAILED = "refused", "failed"  # by the engine, for good; by the machine, to be tried again
MAX_MESSAGE = 500  # characters
CELL_COLUMNS: dict[str, type] = {
    "tensor": str,
    "spec": str,
    "shape": str,
    "parameters": int,
    "format": str,
    "bits": int,
    "granularity": str,
    "clipping": str,
    "symmetric": bool,
    "bits_per_value": float,
    "mse": float,
    "sqnr_db": float,
    "max_abs": float,
    "cosine": float,
    "clipped_share": float,
    "score": float,
    "score_change": float,
    "damage": float,
    "blocks": int,
    "seconds": float,
    "read_seconds": float,
    "error_kind": str,
    "error": str,
}

_torch_lock = threading.Lock()


def work(chunk: Chunk) -> list[Row]:
    """Return a chunk's rows, one a spec: what cannot be computed is a row with the reason.

    All is done by the calling thread alone, so that the sums are the same on every machine with such processors.
    """
    specs = [QuantizerSpec.from_json(text) for text in chunk.specs]
    try:
        with one_thread():
            subject = opened(chunk.source, chunk.version)
            return list(_rows(subject, chunk, specs))
    except Exception as error:
        return failed_rows(chunk, error)


def failed_rows(chunk: Chunk, error: BaseException) -> list[Row]:
    """Return the rows of a chunk of which nothing could be found."""
    return [_said(chunk.tensor, QuantizerSpec.from_json(text)) | _failure(error) for text in chunk.specs]


def _rows(subject: Subject, chunk: Chunk, specs: list[QuantizerSpec]) -> Iterator[Row]:
    layer = subject.layers[chunk.tensor]
    shape = layer.matrix_shape

    def read(start: int, stop: int) -> Float32Array:
        return subject.rows(chunk.tensor, start, stop)

    if shape[0] * shape[1] > chunk.max_values and len(layer.shape) > 1:
        found = in_blocks(read, shape, specs, chunk.max_values)
    else:
        started = time.perf_counter()
        x = read(0, shape[0])
        found = list(whole(x, specs, time.perf_counter() - started))
    for spec, one in zip(specs, found, strict=True):
        row = _said(chunk.tensor, spec) | {"shape": "×".join(map(str, layer.shape)), "parameters": layer.parameters}
        try:
            row |= _measured(one, spec, shape)
            if chunk.attribute and subject.network is not None:
                row |= attributed(subject.network, chunk.tensor, spec)
        except Exception as error:
            row |= _failure(error)
        yield row


def whole(x: Float32Array, specs: Iterable[QuantizerSpec], read_seconds: float = 0.0) -> Iterator[Found]:
    """Yield what each spec loses of a matrix, as `fit(x, spec).measure(x)` says, to the bit.

    The ranges of least error of a large tensor come from one index of its values, not from one for each spec.
    """
    shared = cache(lambda: Distribution(x))
    for spec in specs:
        started = time.perf_counter()
        report: ErrorReport | Exception
        try:
            report = fit(x, _with_range(spec, x, shared)).measure(x)
        except Exception as error:
            report = error
        yield Found(report, 1, time.perf_counter() - started, read_seconds)


def _with_range(spec: QuantizerSpec, x: Float32Array, shared: Callable[[], Distribution]) -> QuantizerSpec:
    """Return the spec with the range that it would find, where that comes from an index of all values."""
    one_block = isinstance(spec.granularity, PerTensor) and x.size >= LARGE_BLOCK
    if not (one_block and isinstance(spec.clipping, MinMSE)):
        return spec
    low, high = shared().best_range(spec.format, spec.symmetric)
    return replace(spec, clipping=FixedRange(low, high)) if low < high else spec


def _said(tensor: str, spec: QuantizerSpec) -> Row:
    """Return a row that says what is asked for, and nothing of what is found."""
    row: Row = dict.fromkeys(CELL_COLUMNS) | {"tensor": tensor, "spec": spec.key, "error_kind": "", "error": ""}
    parts = {"format": spec.format, "granularity": spec.granularity, "clipping": spec.clipping}
    named = {name: f"{part}" for name, part in parts.items()}
    return row | named | {"bits": spec.format.bits, "symmetric": spec.symmetric}


def _measured(found: Found, spec: QuantizerSpec, shape: tuple[int, int]) -> Row:
    if isinstance(found.report, Exception):
        raise found.report
    report = found.report
    measured = ("mse", "sqnr_db", "max_abs", "cosine", "clipped_share")
    return {
        "bits_per_value": spec.storage(shape).bits_per_value,
        **{name: getattr(report, name) for name in measured},
        "blocks": found.blocks,
        "seconds": found.seconds,
        "read_seconds": found.read_seconds,
    }


def attributed(network: Network, tensor: str, spec: QuantizerSpec) -> Row:
    """Return what the model's score does with one tensor quantized, all others in floating point."""
    names = ties(network.layers())[tensor]
    plan = QuantizationPlan(dict.fromkeys(names, LayerPlan(spec)))
    with _torch_alone():
        kept = _plain_scores(network)
        damage = PlanParts(network, plan, None, kept).damage([tensor])
        for place in [place for place in kept if place[1] == tensor]:
            del kept[place]  # it is asked for once
    return {"score": damage.score.value, "score_change": damage.change.value, "damage": damage.measure.value}


@lru_cache(KEPT_OPEN)
def _plain_scores(network: Network) -> Kept:
    """Return where a network's scores in floating point are kept, for each cell to be compared with."""
    return {}


@contextmanager
def _torch_alone() -> Iterator[None]:
    """Have torch work in one thread, for one cell at a time: its sums are then the same on every machine, too."""
    import torch

    with _torch_lock:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _failure(error: BaseException) -> Row:
    kind = REFUSED if isinstance(error, QuantError) else FAILED
    text = f"{error}" if kind == REFUSED else f"{type(error).__name__}: {error}"
    return {"error_kind": kind, "error": text[:MAX_MESSAGE]}
