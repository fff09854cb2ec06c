"""The model card arranged for reading: a way of quantizing, then bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from explorer.language import read_words
from explorer.lessons.framework.prose import method_words
from explorer.notation import accuracy, count, fixed, scored, unbroken
from quant_engine import PerTensor, QuantizerSpec
from quant_engine.network import Accuracy, Score
from quant_engine.studies import LARGE, CompensationResult, MethodResult, ModelCard, broken_order
from quant_engine.studies.pack_card import SHARED, PackCard

CLIPPING_NAMES = {"MinMax": "min–max", "Percentile": "99.99th percentile", "MinMSE": "least MSE", "MinKL": "least KL"}


def formats_explained() -> str:
    """Say what the table of number formats shows."""
    return str(read_words("card")["formats"].format(large=count(LARGE)))


def by_method(card: ModelCard) -> dict[str, dict[int, Accuracy]]:
    """Return the accuracies by method and bits."""
    rows: dict[str, dict[int, Accuracy]] = {}
    for spec, measured in card.weights_only.items():
        rows.setdefault(_method(spec), {})[spec.format.bits] = measured
    return rows


def as_table(rows: dict[str, dict[int, Accuracy]]) -> list[dict[str, str]]:
    """Return one record for each bit width, with the interval in every cell."""
    widths = sorted({bits for by_bits in rows.values() for bits in by_bits}, reverse=True)
    called = read_words("card")["columns"]["bits"]
    return [{called: str(bits), **{name: _cell(by_bits[bits]) for name, by_bits in rows.items()}} for bits in widths]


def pack_table(card: PackCard) -> list[dict[str, str]]:
    """Return one record for floating point and one for each plan of a pack, with the interval in every cell."""
    said = read_words("card")["columns"]

    def record(bits: str, shared: str, scores: Mapping[str, Score]) -> dict[str, str]:
        return {said["bits"]: bits, said["one_scale"]: shared, **{name: scored(scores[name]) for name in scores}}

    names = {granularity: name for name, granularity in SHARED.items()}
    quantized = (record(str(spec.format.bits), names[spec.granularity], scores) for spec, scores in card.rows.items())
    return [record("float32", "–", card.plain), *quantized]


def activations_table(card: ModelCard) -> list[dict[str, str]]:
    """Return one record for each pair of widths, with a cell for each calibrator of the activations."""
    called = read_words("card")["columns"]["bits"]
    records: dict[str, dict[str, str]] = {}
    for (weight, activation), measured in card.static_activations.items():
        bits = f"W{weight.format.bits}A{activation.format.bits}"
        cell = {CLIPPING_NAMES[type(activation.clipping).__name__]: _cell(measured)}
        records.setdefault(bits, {called: bits}).update(cell)
    return list(records.values())


def methods_table(methods: Mapping[str, MethodResult], called: str = "method") -> list[dict[str, str]]:
    """Return one record for each method, numbered, the cheapest first."""
    said = read_words("card")["columns"]
    ordered = sorted(methods.items(), key=lambda entry: entry[1].bits_per_value)
    return [
        {
            "": str(number),
            said[called]: name,
            said["bits_per_value"]: fixed(found.bits_per_value, 3),
            said["accuracy"]: _cell(found.accuracy),
        }
        for number, (name, found) in enumerate(ordered, 1)
    ]


def mixed_table(card: ModelCard) -> list[dict[str, str]]:
    """Return one record for each uniform plan and the mixed plan of its bytes."""
    records, said = [], read_words("card")["columns"]
    for found in card.mixed:
        blocks = "per tensor" if isinstance(found.uniform.granularity, PerTensor) else "per channel"
        bits = ", ".join(str(spec.format.bits) for spec in found.choices.values())
        for plan, size_bytes, measured in (
            (said["everywhere"].format(bits=found.uniform.format.bits), found.budget_bytes, found.uniform_accuracy),
            (bits, found.size_bytes, found.accuracy),
        ):
            cells = (blocks, plan, count(size_bytes), _cell(measured))
            columns = (said[name] for name in ("scales", "bits_by_layer", "bytes", "accuracy"))
            records.append(dict(zip(columns, cells, strict=True)))
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
    return str(read_words("card")["compensation"]).format(plain=accuracy(plain.value), half=fixed(50 * (high - low), 1))


def compensation_table(results: Sequence[CompensationResult]) -> list[dict[str, str]]:
    """Return one record for each method, with a cell for each pair of widths."""
    records: dict[str, dict[str, str]] = {}
    called = read_words("card")["columns"]["method"]
    widths = dict.fromkeys((result.bits for result in results), "–")
    for result in titled(results):
        cell = accuracy(result.mean)
        if len(result.accuracies) > 1:
            low, high = result.spread
            cell += f" ({accuracy(low)} – {accuracy(high)})"
        records.setdefault(result.method, {called: unbroken(result.method), **widths})[result.bits] = unbroken(cell)
    return list(records.values())


def compensation_surprises(results: Sequence[CompensationResult]) -> str:
    """Say which methods score less than others of which less is expected."""
    words = read_words("card")
    said = [
        words["expected_pair"].format(
            bits=better.bits,
            better=better.method,
            better_score=fixed(100 * better.mean, 2),
            worse=worse.method,
            worse_score=fixed(100 * worse.mean, 2),
        )
        for better, worse in map(titled, broken_order(results))
    ]
    found = words["expected_broken"].format(pairs="; ".join(said)) if said else words["expected_holds"]
    return f"{words['expected']} {found}"


def _cell(measured: Accuracy) -> str:
    low, high = measured.interval
    return f"{accuracy(measured.value)} ({accuracy(low)} – {accuracy(high)})"


def _method(spec: QuantizerSpec) -> str:
    blocks = "per tensor" if isinstance(spec.granularity, PerTensor) else "per channel"
    return f"{blocks}, {CLIPPING_NAMES[type(spec.clipping).__name__]}"
