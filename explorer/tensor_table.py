"""The tensors of a model in a table, a row after the other as they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explorer import compute
from explorer.caches import ResultKey
from explorer.notation import shape
from explorer.results import outcome_of
from explorer.sources import ModelKey
from quant_engine import MinMax, MinMSE, PerTensor, QuantError, QuantizerSpec, fit
from quant_engine.models import TensorModel
from quant_engine.studies import TensorStatistics

BINS = 24  # of the small histogram in a row


@dataclass(frozen=True)
class TensorRow:
    """A tensor with what is known of it: without statistics it is not looked at yet, or there is a `refusal`.

    Attributes:
        sqnr_db: signal to quantization noise under the spec.
        gain_db: how much more of it least MSE gives than min–max, with one scale for the tensor.
        codes_used: share of the codes that occur under the spec.
        histogram: counts of the values from the least to the greatest.
    """

    name: str
    shape: tuple[int, ...]
    stored: str
    parameters: int
    is_real: bool = True
    statistics: TensorStatistics | None = None
    sqnr_db: float | None = None
    gain_db: float | None = None
    codes_used: float | None = None
    histogram: tuple[int, ...] = ()
    refusal: str = ""


def listed(model: ModelKey) -> list[TensorRow]:
    """Return a model's tensors as its file lists them, unread."""
    network = compute.network(model)
    if isinstance(network.model, TensorModel):
        infos = network.model.file.tensors.values()
        return [TensorRow(info.name, info.shape, info.stored, info.parameters, info.is_real) for info in infos]
    layers = network.layers().values()
    return [TensorRow(layer.name, layer.shape, "float32", layer.parameters) for layer in layers]


def looked_at(model: ModelKey, spec: QuantizerSpec) -> Iterator[TensorRow]:
    """Yield the rows of tensors of real numbers with their statistics, and their SQNR under a spec."""
    for row in listed(model):
        if row.is_real:
            yield compute.kept(ResultKey("tensor row", model, row.name, spec), partial(_filled, model, row, spec))


def _filled(model: ModelKey, row: TensorRow, spec: QuantizerSpec) -> TensorRow:
    told = (row.name, row.shape, row.stored, row.parameters, row.is_real)
    info = compute.network(model).layers()[row.name]
    try:
        x = compute.network(model).weight(row.name).reshape(info.matrix_shape)  # not kept: it is looked at once
        found, statistics = outcome_of(x, fit(x, spec)), compute.statistics_of(model, row.name)
        used = found.codes_used / found.codes_total
        bars = tuple(np.histogram(x, BINS)[0].tolist())
        return TensorRow(*told, statistics, found.report.sqnr_db, gain_db(x, spec), used, bars)
    except QuantError as error:
        return TensorRow(*told, refusal=str(error))


def gain_db(x: NDArray[np.float32], spec: QuantizerSpec) -> float:
    """Return what least MSE gains over min–max in SQNR, with the spec's format and one scale for the tensor."""
    plain = replace(spec, granularity=PerTensor(), clipping=MinMax())
    least = replace(plain, clipping=MinMSE())
    before, after = (fit(x, one).measure(x).sqnr_db for one in (plain, least))
    return 0.0 if before == after else after - before  # of tensors without an error both are infinite


def as_columns(rows: Sequence[TensorRow], found: Mapping[str, TensorRow], said: Mapping[str, str]) -> dict[str, Any]:
    """Return the table's columns by their names in `said`; what is not known is None."""
    filled = [found.get(row.name, row) for row in rows]

    def number(attribute: str, factor: float = 1.0) -> list[float | None]:
        return [None if row.statistics is None else factor * getattr(row.statistics, attribute) for row in filled]

    return {
        said["name"]: [row.name for row in filled],
        said["shape"]: [shape(row.shape) for row in filled],
        said["stored"]: [row.stored for row in filled],
        said["parameters"]: [row.parameters for row in filled],
        said["histogram"]: [list(row.histogram) or None for row in filled],
        said["sqnr"]: [row.sqnr_db for row in filled],
        said["gain"]: [row.gain_db for row in filled],
        said["codes_used"]: [None if row.codes_used is None else 100.0 * row.codes_used for row in filled],
        said["kurtosis"]: number("kurtosis"),
        said["max_sigmas"]: number("max_sigmas"),
        said["sigma"]: number("sigma"),
        said["min"]: number("min"),
        said["max"]: number("max"),
        said["zeros"]: number("zeros", 100.0),
    }
