"""The tensors of a model in a table, a row after the other as they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from explorer import compute
from explorer.caches import ResultKey
from explorer.notation import shape
from explorer.sources import ModelKey
from quant_engine import QuantError, QuantizerSpec, fit
from quant_engine.models import TensorModel
from quant_engine.studies import TensorStatistics


@dataclass(frozen=True)
class TensorRow:
    """A tensor with what is known of it: without statistics it is not looked at yet, or there is a `refusal`."""

    name: str
    shape: tuple[int, ...]
    stored: str
    parameters: int
    is_real: bool = True
    statistics: TensorStatistics | None = None
    sqnr_db: float | None = None
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
        return TensorRow(*told, compute.statistics_of(model, row.name), fit(x, spec).measure(x).sqnr_db)
    except QuantError as error:
        return TensorRow(*told, refusal=str(error))


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
        said["sqnr"]: [row.sqnr_db for row in filled],
        said["kurtosis"]: number("kurtosis"),
        said["max_sigmas"]: number("max_sigmas"),
        said["sigma"]: number("sigma"),
        said["min"]: number("min"),
        said["max"]: number("max"),
        said["zeros"]: number("zeros", 100.0),
    }
