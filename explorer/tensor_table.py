"""The tensors of a model in a table, a row after the other as they are looked at."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from explorer import compute
from explorer.caches import ResultKey
from explorer.notation import shape
from explorer.results import Outcome, outcome_of
from explorer.sources import ModelKey
from explorer.stored import type_name
from quant_engine import (
    ErrorReport,
    MinMax,
    MinMSE,
    PerChannel,
    PerTensor,
    QuantError,
    Quantizer,
    QuantizerSpec,
    fit,
)
from quant_engine.clipping import Blocks
from quant_engine.models import Layer, OnnxModel, TensorModel
from quant_engine.network import Score
from quant_engine.quantizer import fit_blocks, measure_each
from quant_engine.studies import (
    Damage,
    TensorStatistics,
    described,
    even_histogram,
    outlying,
    rank_correlation,
)

BINS = 24  # of the small histogram in a row
NOTHING_LOST = ErrorReport(1, 0.0, 0.0, 0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class TensorRow:
    """A tensor with what is known of it: without statistics it is not looked at yet, or there is a `refusal`.

    Attributes:
        sqnr_db: signal to quantization noise under the spec.
        gain_db: how much more of it least MSE gives than min–max, with one scale for the tensor.
        channel_gain_db: how much more one scale a channel gives than one for the tensor.
        best_clip: the end of the range of least MSE, as a share of the largest magnitude.
        outliers: number of channels whose largest magnitude is more than 3 times the median channel's.
        bits_per_value: what is stored for each value under the spec.
        codes_used: share of the codes that occur under the spec.
        output_sqnr_db: SQNR of the layer's outputs on real inputs, of a model that runs.
        expected_loss: by how much the weight's error raises the loss by Fisher information, ½ Σ F·(ŵ − w)².
        histogram: counts of the values from the least to the greatest.
    """

    name: str
    shape: tuple[int, ...]
    stored: str
    parameters: int
    op: str = ""
    is_real: bool = True
    statistics: TensorStatistics | None = None
    sqnr_db: float | None = None
    gain_db: float | None = None
    channel_gain_db: float | None = None
    best_clip: float | None = None
    outliers: int | None = None
    bits_per_value: float | None = None
    codes_used: float | None = None
    output_sqnr_db: float | None = None
    expected_loss: float | None = None
    histogram: tuple[int, ...] = ()
    refusal: str = ""


def listed(model: ModelKey) -> list[TensorRow]:
    """Return a model's tensors as its file lists them, unread."""
    network = compute.network(model)
    if isinstance(network.model, TensorModel):
        infos = network.model.file.tensors.values()
        return [TensorRow(info.name, info.shape, type_name(info), info.parameters, "", info.is_real) for info in infos]
    file = network.model.file if isinstance(network.model, OnnxModel) else None
    held = {} if file is None else file.tensors
    layers = network.layers().values()
    types = (type_name(held[layer.tensor]) if layer.tensor in held else "float32" for layer in layers)
    return [
        TensorRow(layer.name, layer.shape, stored, layer.parameters, operator(layer))
        for layer, stored in zip(layers, types, strict=True)
    ]


def operator(layer: Layer) -> str:
    """Return what a layer does, in a word: its operation, and whether each channel is convolved alone."""
    return "depthwise" if layer.op == "conv2d" and 1 < layer.groups == layer.shape[0] else layer.op


def looked_at(model: ModelKey, spec: QuantizerSpec) -> Iterator[TensorRow]:
    """Yield the rows of tensors of real numbers with their statistics, and their SQNR under a spec."""
    rows = [row for row in listed(model) if row.is_real]
    subject = compute.network(model).model
    ahead = subject.file.prefetch if isinstance(subject, TensorModel) else lambda name: None
    with ThreadPoolExecutor(1, "quant-explorer-reading") as reading:  # one tensor ahead of what is looked at
        begun = [reading.submit(ahead, row.name) for row in rows[:1]]
        for row, following in itertools.zip_longest(rows, rows[1:]):
            wait([begun.pop()])  # what cannot be read is refused where it is looked at
            if following is not None:
                begun.append(reading.submit(ahead, following.name))
            yield compute.kept(ResultKey("tensor row", model, row.name, spec), partial(_filled, model, row, spec))


def _filled(model: ModelKey, row: TensorRow, spec: QuantizerSpec) -> TensorRow:
    info = compute.network(model).layers()[row.name]
    try:
        x = compute.network(model).weight(row.name).reshape(info.matrix_shape)  # not kept: it is looked at once
        looked = LookedAt.of(x)
        statistics = compute.kept(ResultKey("statistics_of", model, row.name), lambda: looked.statistics)
        found, gains = looked.outcome(spec)
        return replace(
            row,
            statistics=statistics,
            sqnr_db=found.report.sqnr_db,
            gain_db=gains.range_db,
            channel_gain_db=gains.channel_db,
            best_clip=gains.best_clip,
            outliers=len(outlying(looked.channels.extremes)),
            bits_per_value=found.storage.bits_per_value,
            codes_used=found.codes_used / found.codes_total,
            histogram=tuple(even_histogram(x, BINS, statistics.min, statistics.max).tolist()),
        )
    except QuantError as error:
        return replace(row, refusal=str(error))


@dataclass(frozen=True)
class Gains:
    """What other choices gain in SQNR over min–max with one scale for the tensor: another range, a scale a channel."""

    range_db: float
    channel_db: float
    best_clip: float


@dataclass(frozen=True, eq=False)
class LookedAt:
    """A matrix of which moments and extremes are known, as one block and as a block for each channel."""

    x: NDArray[np.float32]
    statistics: TensorStatistics
    whole: Blocks
    channels: Blocks

    @classmethod
    def of(cls, x: NDArray[np.float32]) -> Self:
        """Look at a matrix once."""
        statistics, ends = described(x)
        flat, extremes = np.ascontiguousarray(x).reshape(-1), ends.astype(np.float64)
        both = np.array([[statistics.min, statistics.max]])
        whole = Blocks(flat, PerTensor().blocks(x.shape), both)
        return cls(x, statistics, whole, Blocks(flat, PerChannel(0).blocks(x.shape), extremes))

    def outcome(self, spec: QuantizerSpec) -> tuple[Outcome, Gains]:
        """Return what a spec does, and what the range of least MSE and one scale a channel gain with its format."""
        plain = replace(spec, granularity=PerTensor(), clipping=MinMax())
        channel = replace(plain, granularity=PerChannel(0))
        specs = list(dict.fromkeys((spec, plain, channel)))
        fitted = [self._fitted(one) for one in specs]
        reports = dict(zip(specs, measure_each(self.x, fitted), strict=True))
        shortest = replace(plain, clipping=MinMSE())
        shorter = self._fitted(shortest)
        better = reports[spec].sqnr_db if shortest == spec else self._sqnr_db(shorter)
        before, finer = reports[plain].sqnr_db, reports[channel].sqnr_db
        scale, less = (float(one.scale.max()) for one in (fitted[specs.index(plain)], shorter))
        clip = min(less / scale, 1.0) if scale else 1.0
        gains = Gains(_more(better, before), _more(finer, before), clip)
        return outcome_of(self.x, fitted[0], reports[spec]), gains

    def _fitted(self, spec: QuantizerSpec) -> Quantizer:
        shapes: dict[object, Blocks] = {PerTensor(): self.whole, PerChannel(0): self.channels}
        known = shapes.get(spec.granularity)
        return fit(self.x, spec) if known is None or spec.format.learned else fit_blocks(known, spec)

    def _sqnr_db(self, quantizer: Quantizer) -> float:
        """Return an SQNR, of a large tensor by the histogram that its range was found with: within 1e-6, relative."""
        levels, shown = quantizer.levels(), self.whole.distribution
        if shown.size <= compute.EXACT_UP_TO or levels.size > compute.HISTOGRAM_LEVELS:
            return quantizer.measure(self.x).sqnr_db
        return replace(NOTHING_LOST, power_sum=shown.power, squared_error=shown.error(levels)).sqnr_db


def _more(after: float, before: float) -> float:
    return 0.0 if before == after else after - before  # of tensors without an error both are infinite


def as_columns(rows: Sequence[TensorRow], damages: Mapping[str, Damage], said: Mapping[str, str]) -> dict[str, Any]:
    """Return the table's columns by their names in `said`; what is not known is None."""

    def number(attribute: str, factor: float = 1.0) -> list[float | None]:
        return [None if row.statistics is None else factor * getattr(row.statistics, attribute) for row in rows]

    def known(attribute: str, factor: float = 1.0) -> list[float | None]:
        values = [getattr(row, attribute) for row in rows]
        return [None if value is None else factor * value for value in values]

    def measured(value: Callable[[Damage], float]) -> list[float | None]:
        return [value(damages[row.name]) if row.name in damages else None for row in rows]

    outputs = known("output_sqnr_db")
    by_operator = bool(rows) and bool(rows[0].op)  # a file knows no operators
    kinds = {said["op"]: [row.op for row in rows]} if by_operator else {said["stored"]: [row.stored for row in rows]}
    found_damage = {
        said["damage"]: measured(lambda damage: damage.measure.value),
        said["spread"]: measured(lambda damage: reach(damage.measure)),
        said["change"]: measured(lambda damage: per_cent(damage) * damage.change.value),
        said["change_spread"]: measured(lambda damage: per_cent(damage) * reach(damage.change)),
    }
    return {
        said["name"]: [row.name for row in rows],
        **kinds,
        said["shape"]: [shape(row.shape) for row in rows],
        said["histogram"]: [list(row.histogram) or None for row in rows],
        **(found_damage if damages else {}),
        said["gain"]: known("gain_db"),
        said["channel_gain"]: known("channel_gain_db"),
        said["sqnr"]: known("sqnr_db"),
        **({said["output_sqnr"]: outputs} if any(value is not None for value in outputs) else {}),
        said["kurtosis"]: number("kurtosis"),
        said["max_sigmas"]: number("max_sigmas"),
        said["codes_used"]: known("codes_used", 100.0),
        said["outliers"]: known("outliers"),
        said["best_clip"]: known("best_clip", 100.0),
        said["bits"]: known("bits_per_value"),
        said["parameters"]: [row.parameters for row in rows],
        said["sigma"]: number("sigma"),
        said["min"]: number("min"),
        said["max"]: number("max"),
        said["zeros"]: number("zeros", 100.0),
    }


def per_cent(damage: Damage) -> float:
    """Return 100 where a task's score is a share, whose changes are told in points, else 1."""
    plain = damage.score.value - damage.change.value
    return 100.0 if not damage.score.unit and 0 <= plain <= 1 else 1.0


def reach(score: Score) -> float:
    """Return how far the 95 % interval of a score reaches from it, at most."""
    return max(score.value - score.interval[0], score.interval[1] - score.value)


PROXIES: dict[str, Callable[[TensorRow, TensorStatistics], float | None]] = {  # more is expected to be worse
    "kurtosis": lambda row, statistics: statistics.kurtosis,
    "max_sigmas": lambda row, statistics: statistics.max_sigmas,
    "sqnr": lambda row, statistics: -(row.sqnr_db or 0.0),
    "output_sqnr": lambda row, statistics: None if row.output_sqnr_db is None else -row.output_sqnr_db,
    "fisher": lambda row, statistics: row.expected_loss,
    "squared_error": lambda row, statistics: squared_error(row, statistics),
    "gain": lambda row, statistics: row.gain_db or 0.0,
    "channel_gain": lambda row, statistics: row.channel_gain_db or 0.0,
}


def squared_error(row: TensorRow, statistics: TensorStatistics) -> float:
    """Return Σ(x̂ − x)² of a tensor, from its SQNR and the sum of its squares."""
    return row.parameters * statistics.power * 10 ** (-(row.sqnr_db or 0.0) / 10)


def agreements(rows: Iterable[TensorRow], damages: Mapping[str, Damage]) -> dict[str, float]:
    """Return Spearman's correlation of each proxy with the measured damage, over the layers of which both are known."""
    found = {}
    known = [row for row in rows if row.name in damages]
    for proxy, value in PROXIES.items():
        guessed = {row.name: value(row, row.statistics) for row in known if row.statistics is not None}
        given = {name: one for name, one in guessed.items() if one is not None}
        found[proxy] = rank_correlation(given, {name: damages[name].measure.value for name in given})
    return found
