"""The model card: accuracies measured once and committed beside the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from quant_engine.clipping import MinMSE
from quant_engine.errors import QuantError
from quant_engine.formats import FP16, IntFormat
from quant_engine.granularity import PerChannel
from quant_engine.models import Layer
from quant_engine.models.architectures import ARCHITECTURES
from quant_engine.network.files import BUILTIN
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec
from quant_engine.tasks import Accuracy

LARGE = 4096  # weights; the codebooks of learned methods would outweigh the codes of smaller layers
SMALL_LAYERS = QuantizerSpec(IntFormat(4), PerChannel(0), clipping=MinMSE())


@dataclass(frozen=True)
class MethodResult:
    """What a method of about four bits costs the layers it quantizes, everything stored counted, and what it scores."""

    spec: QuantizerSpec
    bits_per_value: float
    accuracy: Accuracy


def plan_of_method(layers: Mapping[str, Layer], spec: QuantizerSpec) -> QuantizationPlan:
    """Return the plan by which the card measures a method of about four bits."""
    return QuantizationPlan(
        {name: LayerPlan(spec if info.parameters >= LARGE else SMALL_LAYERS) for name, info in layers.items()}
    )


def bits_of_method(layers: Mapping[str, Layer], spec: QuantizerSpec) -> float:
    """Return the bits per value of the layers that a method quantizes."""
    large = [info.matrix_shape for info in layers.values() if info.parameters >= LARGE]
    stored = [spec.storage(shape) for shape in large]
    return sum(part.bits for part in stored) / sum(part.values for part in stored)


def bits_of_layers(layers: Mapping[str, Layer], spec: QuantizerSpec) -> float:
    """Return the bits per value of all weights under one spec, everything stored counted, shared weights once."""
    stored = [spec.storage(info.matrix_shape) for info in layers.values() if not info.tied_to]
    return sum(part.bits for part in stored) / sum(part.values for part in stored)


@dataclass(frozen=True)
class MixedResult:
    """A plan of mixed precision beside the uniform plan whose bytes are its budget, both scored on test data.

    Searched by `mixed_plan` on the calibration data alone, at the least summed KL divergence, over `mixed_candidates`
    of the uniform plan's spec.
    """

    uniform: QuantizerSpec
    budget_bytes: int
    choices: dict[str, QuantizerSpec]
    size_bytes: int
    accuracy: Accuracy
    uniform_accuracy: Accuracy


def mixed_candidates(uniform: QuantizerSpec) -> list[QuantizerSpec]:
    """Return what a layer may be in a mixed plan: the uniform spec at 2 to 8 bits, or 16-bit floats.

    >>> [spec.format.bits for spec in mixed_candidates(QuantizerSpec(IntFormat(4)))]
    [2, 3, 4, 5, 6, 7, 8, 16]
    """
    return [*(replace(uniform, format=IntFormat(bits)) for bits in range(2, 9)), QuantizerSpec(FP16)]


@dataclass(frozen=True)
class CompensationResult:
    """What the network scores under one of the methods of `compensation.METHODS`.

    `accuracies` has one entry, or for a method that draws at random one for each of the seeds 0, 1, 2.
    """

    method: str
    weight: QuantizerSpec
    activation: QuantizerSpec
    accuracies: tuple[Accuracy, ...]

    @property
    def bits(self) -> str:
        """Bits of weights and activations, as W4A8."""
        return f"W{self.weight.format.bits}A{self.activation.format.bits}"

    @property
    def mean(self) -> float:
        """The accuracy, over the seeds on average."""
        return sum(found.value for found in self.accuracies) / len(self.accuracies)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest accuracy of a seed."""
        values = [found.value for found in self.accuracies]
        return min(values), max(values)


EXPECTED_ORDER = (
    ("qat", "adaround"),
    ("qat", "gptq"),
    ("adaround", "clipped"),
    ("gptq", "clipped"),
    ("clipped", "nearest"),
)


def broken_order(results: Iterable[CompensationResult]) -> list[tuple[CompensationResult, CompensationResult]]:
    """Return the pairs, at the same bits, in which the method of which more is expected scores less on average.

    Expected is QAT ≥ AdaRound, GPTQ ≥ clipped ≥ nearest; the first of a pair is the one that disappoints.
    """
    found = {(result.bits, result.method): result for result in results}
    widths = dict.fromkeys(bits for bits, _ in found)
    pairs = [
        (found[bits, better], found[bits, worse])
        for bits in widths
        for better, worse in EXPECTED_ORDER
        if (bits, better) in found and (bits, worse) in found
    ]
    return [(better, worse) for better, worse in pairs if better.mean < worse.mean]


@dataclass(frozen=True)
class ModelCard:
    """Accuracies of one built-in network; `weights_only` has every layer's weight quantized by one spec.

    `static_activations` has every layer's weight and input quantized by one pair of specs, (weight, activation),
    the input's range fixed on all calibration samples. `data` and `licence` are the data set's. `full` is on all
    its test samples, the others on those that are committed. `about_four_bits` has the layers of `LARGE` weights
    and more quantized by a method of a name, and the smaller ones by `SMALL_LAYERS`. `mixed` has plans of mixed
    precision beside uniform ones. `granularity` has every layer's weight at four bits, with one scale for what its
    name says; it is measured on the depthwise model, and empty for others. `compensation` has every layer's weight
    and input quantized by one pair of specs and one of `compensation.METHODS`.
    """

    data: str
    licence: str
    full: Accuracy
    plain: Accuracy
    weights_only: dict[QuantizerSpec, Accuracy]
    static_activations: dict[tuple[QuantizerSpec, QuantizerSpec], Accuracy]
    about_four_bits: dict[str, MethodResult]
    mixed: list[MixedResult]
    granularity: dict[str, MethodResult]
    compensation: list[CompensationResult]


def model_card(name: str) -> ModelCard:
    """Return the card of a built-in network.

    Raises:
        QuantError: for another name.

    Example:
        >>> model_card("fashion-cnn").full.total
        10000
    """
    if name not in ARCHITECTURES:
        raise QuantError(f"{name!r} has no model card; choose one of {', '.join(ARCHITECTURES)}")
    stored = json.loads((BUILTIN / "model_card.json").read_text(encoding="utf-8"))[name]
    total = stored["plain"]["total"]
    return ModelCard(
        data=stored["data"],
        licence=stored["licence"],
        full=Accuracy(**stored["full"]),
        plain=Accuracy(**stored["plain"]),
        weights_only={_spec(row, "spec"): Accuracy(row["correct"], total) for row in stored["weights_only"]},
        static_activations={
            (_spec(row, "weight"), _spec(row, "activation")): Accuracy(row["correct"], total)
            for row in stored["static_activations"]
        },
        about_four_bits=_methods(stored["about_four_bits"], total),
        mixed=[_mixed(row, total) for row in stored["mixed"]],
        granularity=_methods(stored["granularity"], total),
        compensation=[
            CompensationResult(
                row["method"],
                _spec(row, "weight"),
                _spec(row, "activation"),
                tuple(Accuracy(correct, total) for correct in row["correct"]),
            )
            for row in stored["compensation"]
        ],
    )


def _mixed(row: Mapping[str, Any], total: int) -> MixedResult:
    return MixedResult(
        _spec(row, "uniform"),
        row["budget_bytes"],
        {name: QuantizerSpec.from_json(key) for name, key in row["choices"].items()},
        row["size_bytes"],
        Accuracy(row["correct"], total),
        Accuracy(row["uniform_correct"], total),
    )


def _methods(rows: Iterable[Mapping[str, Any]], total: int) -> dict[str, MethodResult]:
    return {
        row["name"]: MethodResult(_spec(row, "spec"), row["bits_per_value"], Accuracy(row["correct"], total))
        for row in rows
    }


def _spec(row: Mapping[str, Any], name: str) -> QuantizerSpec:
    return QuantizerSpec.from_json(row[name])
