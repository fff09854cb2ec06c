"""The model card arranged for reading: a way of quantizing, then bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from explorer.lessons.framework.prose import method_words
from explorer.notation import accuracy, count, unbroken
from quant_engine import PerTensor, QuantizerSpec
from quant_engine.network import Accuracy
from quant_engine.studies import LARGE, CompensationResult, MethodResult, ModelCard, broken_order

METHODS_EXPLAINED = (
    f"Layers of {count(LARGE)} weights and more by the method named; smaller ones, in which learned codebooks would "
    "outweigh the codes, are int4 per channel by least MSE. Bits per value are those of the large layers, everything "
    "stored counted. Indices have whole bits, so vectors do not come at just four: the nearest sizes stand below and "
    "above."
)
GRANULARITY_EXPLAINED = (
    "Every layer's weight at 4 bits, symmetric, with one float32 scale for the whole layer, some output channels, one, "
    "a rectangle of channels and inputs, or a run of inputs inside a channel. Channels of depthwise layers differ so "
    "much in range that one scale for all of them zeroes the smallest. Finer blocks cost more bits, and a better range "
    "for each can be worth more than more of them."
)
MIXED_EXPLAINED = (
    "Every layer may have 2 to 8 bits (symmetric, least MSE) or stay in 16-bit floats, within the bytes of 4 bits "
    "everywhere: the plan whose KL divergences, each layer quantized alone, sum up to the least. It was searched on "
    "the calibration data; the test data, which score it here, had no part in it."
)
COMPENSATION_EXPLAINED = (
    "W3A8: weights of 3 bits (per channel, symmetric) and the input of every layer of 8 bits (per tensor, unsigned and "
    "asymmetric), ranges of least squared error but for “nearest”. Where a method draws at random and was run with "
    "several seeds, their mean stands before the least and the greatest of them. Around {plain} the 95 % interval is "
    "± {half} points. Lesson 11 says what the methods do, and races them."
)
CLIPPING_NAMES = {"MinMax": "min–max", "Percentile": "99.99th percentile", "MinMSE": "least MSE", "MinKL": "least KL"}


def by_method(card: ModelCard) -> dict[str, dict[int, Accuracy]]:
    """Return the accuracies by method and bits."""
    rows: dict[str, dict[int, Accuracy]] = {}
    for spec, measured in card.weights_only.items():
        rows.setdefault(_method(spec), {})[spec.format.bits] = measured
    return rows


def as_table(rows: dict[str, dict[int, Accuracy]]) -> list[dict[str, str]]:
    """Return one record for each bit width, with the interval in every cell."""
    widths = sorted({bits for by_bits in rows.values() for bits in by_bits}, reverse=True)
    return [{"bits": str(bits), **{name: _cell(by_bits[bits]) for name, by_bits in rows.items()}} for bits in widths]


def activations_table(card: ModelCard) -> list[dict[str, str]]:
    """Return one record for each pair of widths, with a cell for each calibrator of the activations."""
    records: dict[str, dict[str, str]] = {}
    for (weight, activation), measured in card.static_activations.items():
        bits = f"W{weight.format.bits}A{activation.format.bits}"
        cell = {CLIPPING_NAMES[type(activation.clipping).__name__]: _cell(measured)}
        records.setdefault(bits, {"bits": bits}).update(cell)
    return list(records.values())


def methods_table(methods: Mapping[str, MethodResult], called: str = "method") -> list[dict[str, str]]:
    """Return one record for each method, numbered, the cheapest first."""
    ordered = sorted(methods.items(), key=lambda entry: entry[1].bits_per_value)
    return [
        {
            "": str(number),
            called: name,
            "bits per value": f"{found.bits_per_value:.3f}",
            "accuracy": _cell(found.accuracy),
        }
        for number, (name, found) in enumerate(ordered, 1)
    ]


def mixed_table(card: ModelCard) -> list[dict[str, str]]:
    """Return one record for each uniform plan and the mixed plan of its bytes."""
    records = []
    for found in card.mixed:
        blocks = "per tensor" if isinstance(found.uniform.granularity, PerTensor) else "per channel"
        bits = ", ".join(str(spec.format.bits) for spec in found.choices.values())
        for plan, size_bytes, measured in (
            (f"{found.uniform.format.bits} everywhere", found.budget_bytes, found.uniform_accuracy),
            (bits, found.size_bytes, found.accuracy),
        ):
            records.append(
                {"scales": blocks, "bits by layer": plan, "bytes": count(size_bytes), "accuracy": _cell(measured)}
            )
    return records


def titled(results: Sequence[CompensationResult]) -> list[CompensationResult]:
    """Return the results with the methods called as lesson 11 calls them."""
    return [replace(result, method=method_words(result.method).title) for result in results]


def compensation_explained(plain: Accuracy) -> str:
    """Say what the table of compensation shows, for a network of an accuracy in floating point.

    >>> compensation_explained(Accuracy(1877, 2000))[-100:-53]
    'Around 93.8 % the 95 % interval is ± 1.1 points'
    """
    low, high = plain.interval
    return COMPENSATION_EXPLAINED.format(plain=accuracy(plain.value), half=f"{50 * (high - low):.1f}")


def compensation_table(results: Sequence[CompensationResult]) -> list[dict[str, str]]:
    """Return one record for each method, with a cell for each pair of widths."""
    records: dict[str, dict[str, str]] = {}
    widths = dict.fromkeys((result.bits for result in results), "–")
    for result in titled(results):
        cell = accuracy(result.mean)
        if len(result.accuracies) > 1:
            low, high = result.spread
            cell += f" ({accuracy(low)} – {accuracy(high)})"
        records.setdefault(result.method, {"method": unbroken(result.method), **widths})[result.bits] = unbroken(cell)
    return list(records.values())


def compensation_surprises(results: Sequence[CompensationResult]) -> str:
    """Say which methods score less than others of which less is expected."""
    said = [
        f"{better.bits}: {better.method} {100 * better.mean:.2f} % below {worse.method} {100 * worse.mean:.2f} %"
        for better, worse in map(titled, broken_order(results))
    ]
    expected = "Expected is QAT (LSQ) ≥ AdaRound, GPTQ ≥ clipped ≥ nearest."
    return f"{expected} Measured against it: {'; '.join(said)}." if said else f"{expected} It holds everywhere here."


def _cell(measured: Accuracy) -> str:
    low, high = measured.interval
    return f"{accuracy(measured.value)} ({accuracy(low)} – {accuracy(high)})"


def _method(spec: QuantizerSpec) -> str:
    blocks = "per tensor" if isinstance(spec.granularity, PerTensor) else "per channel"
    return f"{blocks}, {CLIPPING_NAMES[type(spec.clipping).__name__]}"
