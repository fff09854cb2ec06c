"""Whether calibration data cover what is scored: the ranges of every layer's input against another split's values."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quant_engine.batches import sample_count, split_batch
from quant_engine.errors import QuantError
from quant_engine.formats import IntFormat
from quant_engine.inputs import Float32Array, Inputs
from quant_engine.network import Network
from quant_engine.observers import MinMaxObserver
from quant_engine.quantizer import ErrorReport, Quantizer, QuantizerSpec, fit
from quant_engine.studies.calibration_sets import (
    IN_DOMAIN,
    NOISE,
    ONE_CLASS,
    TOKENS,
    has_real_inputs,
    one_class,
    random_inputs,
)
from quant_engine.tasks import Classification

BITS = 8
MAX_OUTSIDE = 0.01  # share of the values
MAX_LOSS_DB = 3.0  # twice the error's power: half a bit
FINE, NARROW, WIDE = "fine", "narrow", "wide"  # verdicts

Range = tuple[float, float]
Ranges = dict[str, Range]


@dataclass(frozen=True)
class LayerCoverage:
    """How a calibrated range suits the values that a layer receives of the evaluated split.

    Attributes:
        outside_share: share of the values outside of the calibrated range.
        width_ratio: width of the calibrated range over that of the values' own.
        loss_db: SQNR at 8 bits with the values' own range, minus that with the calibrated one.
        clipping_part: share of the squared error that clipped values make, with the calibrated range.
    """

    outside_share: float
    width_ratio: float
    loss_db: float
    clipping_part: float

    @property
    def verdict(self) -> str:
        """Whether the range is `FINE`, too `NARROW` or too `WIDE`.

        Too narrow: more than 1 % of the values lie outside, or more than 3 dB are lost and clipped values make at least
        half of the error. Too wide: more than 3 dB are lost to steps that are too coarse. Why: min–max on the right
        data leaves out next to nothing; and 3 dB are twice the error's power, as half a bit less would do.
        """
        loses = self.loss_db > MAX_LOSS_DB
        if self.outside_share > MAX_OUTSIDE or (loses and self.clipping_part >= 0.5):
            return NARROW
        return WIDE if loses else FINE


@dataclass(frozen=True, eq=False)
class SetCoverage:
    """How one set's ranges cover the evaluated split: its kind, number of samples, and each layer's coverage."""

    kind: str
    samples: int
    layers: Mapping[str, LayerCoverage]

    def judged(self, verdict: str) -> list[str]:
        """Return the layers of a verdict, those first that lose most."""
        found = [name for name, layer in self.layers.items() if layer.verdict == verdict]
        return sorted(found, key=lambda name: -self.layers[name].loss_db)


def checked_kinds(network: Network) -> list[str]:
    """Return the kinds of sets that are compared: in-domain, one class if there are labels, and noise or tokens.

    Raises:
        QuantError: for a network without a task, or without both a calibration split and one to evaluate.
    """
    splits = network.given_task.splits
    if "calibration" not in splits or not splits & {"search", "test"}:
        raise QuantError(
            f"{network.name} has the splits {', '.join(sorted(splits))}; "
            "give its task samples for calibration, and for search or test"
        )
    real = has_real_inputs(network.given_task.batches("calibration")[0].inputs)
    labelled = [ONE_CLASS] if isinstance(network.given_task, Classification) else []
    return [IN_DOMAIN, *labelled, NOISE if real else TOKENS]


def evaluated_split(network: Network) -> str:
    """Return the split that stands for what is scored: "search" if there is one, to leave the test set unseen."""
    return "search" if "search" in network.given_task.splits else "test"


def check_steps(network: Network) -> int:
    """Return how many items `calibration_check` yields."""
    task, kinds = network.given_task, len(checked_kinds(network))
    return 2 * len(task.batches(evaluated_split(network))) + kinds * (len(task.batches("calibration")) + 1)


def calibration_check(network: Network) -> Generator[SetCoverage | None, None, None]:
    """Yield None after each batch that was run, to show progress or to stop, and at the end each set's coverage.

    A set's range of a layer's input is min–max over the set, with zero in it. In-domain is the whole calibration split,
    one class the part of it of its most frequent class, noise Gaussian of its mean and deviation. The evaluated values
    are quantized to 8 bits, asymmetric, one scale a tensor. Embeddings receive tokens, and are left out.

    Raises:
        QuantError: as `checked_kinds`.

    Example:
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> checked_kinds(network), next(calibration_check(network)) is None
        (['all', 'one', 'noise'], True)
    """
    task, kinds = network.given_task, checked_kinds(network)
    given, evaluated = task.batches("calibration"), [batch.inputs for batch in task.batches(evaluated_split(network))]
    real = [batch.inputs for batch in given]
    sets = {
        kind: real if kind == IN_DOMAIN else one_class(given) if kind == ONE_CLASS else random_inputs(real)
        for kind in kinds
    }
    own = yield from _ranges(network, evaluated)
    ranges = {}
    for kind, batches in sets.items():
        ranges[kind] = yield from _ranges(network, batches)
    sums = yield from _sums(network, evaluated, [own, *ranges.values()])
    for place, (kind, batches) in enumerate(sets.items(), 1):
        layers = {
            name: _coverage(parts[place], parts[0], ranges[kind][name], own[name]) for name, parts in sums.items()
        }
        yield SetCoverage(kind, sum(map(sample_count, batches)), layers)


@dataclass
class _Sums:
    """What adds up over batches, under one range."""

    range: Range
    quantizer: Quantizer
    count: int = 0
    outside: int = 0
    squared: float = 0.0
    clipped_squared: float = 0.0

    def add(self, values: Float32Array) -> None:
        report: ErrorReport = self.quantizer.measure(values.reshape(-1))
        self.count += report.count
        self.outside += int(np.count_nonzero((values < self.range[0]) | (values > self.range[1])))
        self.squared += report.squared_error
        self.clipped_squared += report.clipped_squared_error


def _layers(network: Network) -> list[str]:
    return [name for name, info in network.layers().items() if info.op != "embedding"]


def _ranges(network: Network, batches: Sequence[Inputs]) -> Generator[None, None, Ranges]:
    """Return the range of each layer's input over batches, widened to zero."""
    observers = {name: MinMaxObserver() for name in _layers(network)}
    for batch in batches:
        for part in split_batch(batch):
            for name, values in network.capture(part, observers).items():
                observers[name].update(values)
        yield
    seen = {name: observer.range() for name, observer in observers.items()}
    return {name: (min(lo, 0.0), max(hi, 0.0)) for name, (lo, hi) in seen.items()}


def _sums(
    network: Network, batches: Sequence[Inputs], candidates: Sequence[Ranges]
) -> Generator[None, None, dict[str, list[_Sums]]]:
    """Return for each layer what quantizing its inputs comes to in each of the candidates' ranges."""
    spec = QuantizerSpec(IntFormat(BITS, signed=False), symmetric=False)
    sums = {
        name: [_Sums(one[name], fit(np.array(one[name], np.float32), spec)) for one in candidates]
        for name in _layers(network)
    }
    for batch in batches:
        for part in split_batch(batch):
            for name, values in network.capture(part, sums).items():
                for one in sums[name]:
                    one.add(values)
        yield
    return sums


def _coverage(found: _Sums, reference: _Sums, calibrated: Range, own: Range) -> LayerCoverage:
    width, own_width = calibrated[1] - calibrated[0], own[1] - own[0]
    return LayerCoverage(
        found.outside / max(found.count, 1),
        _ratio(width, own_width),
        10 * math.log10(_ratio(found.squared, reference.squared) or math.ulp(0.0)),
        found.clipped_squared / found.squared if found.squared else 0.0,
    )


def _ratio(part: float, whole: float) -> float:
    """Return a ratio, 1 of two zeros."""
    return part / whole if whole else math.inf if part else 1.0
