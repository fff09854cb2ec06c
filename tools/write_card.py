"""Measure the built-in networks and write their model card, as JSON and as Markdown.

    python tools/write_card.py --data /usr/share/datasets/fashion-mnist
    python tools/write_card.py --only adaround gptq     # these rows again; the rest of the card stays

Accuracy in floating point is measured on all 10,000 test images and on the 2,000 committed ones; quantized accuracy on
the latter, weights only and with static activations, every layer by the same specs. Quantization-aware training takes
most of the time: about an hour and a half on one core in all.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from fashion import NORMALISATION, read_split

from quant_engine import (
    E2M1,
    E4M3,
    E8M0,
    FP16,
    NF4,
    BlockFormat,
    IntFormat,
    KMeans,
    LayerPlan,
    MinKL,
    MinMax,
    MinMSE,
    PerBlock,
    Percentile,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    ProductCodebook,
    Quantiles,
    QuantizationPlan,
    QuantizerSpec,
    VectorCodebook,
)
from quant_engine.files import begins_like, write_file
from quant_engine.methods import METHODS as COMPENSATIONS
from quant_engine.methods import Setting, compensate
from quant_engine.models import ARCHITECTURES
from quant_engine.network import Accuracy, Network, load
from quant_engine.studies import footprint, mixed_candidates, mixed_plan, model_card, weight_plan
from quant_engine.studies.model_card import (
    LARGE,
    CompensationResult,
    bits_of_layers,
    bits_of_method,
    broken_order,
    plan_of_method,
)

BUILTIN = pathlib.Path(__file__).parents[1] / "quant_engine" / "network" / "builtin"
BITS = (8, 7, 6, 5, 4, 3, 2)
COLUMNS = {
    "per tensor, min–max": (PerTensor(), MinMax()),
    "per tensor, least MSE": (PerTensor(), MinMSE()),
    "per channel, min–max": (PerChannel(0), MinMax()),
    "per channel, least MSE": (PerChannel(0), MinMSE()),
}
WIDTHS = ((8, 8), (4, 4), (8, 2))  # bits of weights and of activations
CALIBRATORS = {"min–max": MinMax(), "99.99th percentile": Percentile(99.99), "least MSE": MinMSE(), "least KL": MinKL()}


def _grouped(form: object, size: int, scale_format: object = None, clipping: object = None) -> QuantizerSpec:
    blocks = PerGroup(size, remainder="short")
    return QuantizerSpec(form, blocks, clipping=clipping or MinMax(), scale_format=scale_format)


METHODS = {
    "int4 per channel, least MSE": QuantizerSpec(IntFormat(4), PerChannel(0), clipping=MinMSE()),
    "int4 in groups of 64, FP16 scales, least MSE": _grouped(IntFormat(4), 64, FP16, MinMSE()),
    "E2M1 per channel, least MSE": QuantizerSpec(E2M1, PerChannel(0), clipping=MinMSE()),
    "MXFP4 (E2M1, groups of 32, E8M0 scales)": _grouped(E2M1, 32, E8M0),
    "NVFP4 (E2M1, groups of 16, E4M3 scales)": _grouped(E2M1, 16, E4M3),
    "NF4 per channel, least MSE": QuantizerSpec(NF4, PerChannel(0), clipping=MinMSE()),
    "NF4 in groups of 64, FP16 scales": _grouped(NF4, 64, FP16),
    "GGUF Q4_0": _grouped(BlockFormat("Q4_0"), 32),
    "quantiles, 16 a layer": QuantizerSpec(Quantiles(16)),
    "optimal codebook, 16 a layer": QuantizerSpec(KMeans(16)),
    "vectors of 2, 128 codewords": QuantizerSpec(VectorCodebook(2, 128)),
    "vectors of 2, 256 codewords": QuantizerSpec(VectorCodebook(2, 256)),
    "residual vectors of 2, 16 + 16 codewords": QuantizerSpec(VectorCodebook(2, 16, stages=2)),
    "product, vectors of 4 as 2 + 2, 128 codewords each": QuantizerSpec(ProductCodebook(4, 128, 2)),
}


UNIFORM = {
    "per tensor": QuantizerSpec(IntFormat(4), clipping=MinMSE()),
    "per channel": QuantizerSpec(IntFormat(4), PerChannel(0), clipping=MinMSE()),
}
GRAINS = {  # of the depthwise model's story, from the coarsest
    "layer": PerTensor(),
    "16 channels": PerChannelGroup(16, remainder="short"),
    "4 channels": PerChannelGroup(4, remainder="short"),
    "8 × 8 block": PerBlock(8, 8, remainder="short"),
    "channel": PerChannel(0),
    "run of 16": PerGroup(16, remainder="short"),
    "run of 3": PerGroup(3, remainder="short"),
}
WAYS = {"min–max": MinMax(), "least MSE": MinMSE()}
GRAIN_MODELS = ("fashion-depthwise",)
COMPENSATED_WIDTHS = ((8, 8), (4, 8), (3, 8), (2, 8), (4, 4))  # bits of weights and of activations
SEEDS = (0, 1, 2)
ONCE = (("fashion-depthwise", "pact"),)  # eight minutes a seed, for a variant


def full_accuracy(network: Network, folder: pathlib.Path) -> Accuracy:
    """Score the network on the whole test set."""
    images, labels = read_split(folder, "t10k")
    mean, deviation = NORMALISATION
    inputs = ((images[:, None].astype(np.float32) / 255 - mean) / deviation).astype(np.float32)
    predicted = network.run(inputs).argmax(axis=1)
    return Accuracy(int((predicted == labels).sum()), len(labels))


def measure(network: Network, folder: pathlib.Path) -> dict[str, object]:
    """Return the card's entry for one network."""
    return {
        "data": "Fashion-MNIST",
        "licence": "© 2017 Zalando SE, MIT License",
        "full": vars(full_accuracy(network, folder)),
        "plain": vars(network.evaluate()),
        "weights_only": [
            {"spec": spec.key, "correct": _correct(network, LayerPlan(spec))}
            for bits in BITS
            for spec in (QuantizerSpec(IntFormat(bits), blocks, clipping=way) for blocks, way in COLUMNS.values())
        ],
        "about_four_bits": [
            {
                "name": name,
                "spec": spec.key,
                "bits_per_value": bits_of_method(network.layers(), spec),
                "correct": network.evaluate(plan_of_method(network.layers(), spec)).correct,
            }
            for name, spec in METHODS.items()
        ],
        "granularity": granularity(network) if network.name in GRAIN_MODELS else [],
        "static_activations": [
            {
                "weight": plan.weight.key,
                "activation": plan.activation.key,
                "correct": _correct(network, plan),
            }
            for widths in WIDTHS
            for plan in (_static_plan(*widths, calibrator) for calibrator in CALIBRATORS.values())
        ],
        "mixed": [measure_mixed(network, uniform) for uniform in UNIFORM.values()],
        "compensation": [
            measure_compensation(network, method, widths)
            for method in COMPENSATIONS
            for widths in COMPENSATED_WIDTHS
            if widths != (8, 8) or COMPENSATIONS[method].family != "training"  # eight bits leave nothing to train
        ],
    }


def measure_again(network: Network, card: dict[str, object], methods: Sequence[str]) -> dict[str, object]:
    """Return a network's entry with the rows of some methods measured again."""
    rows = [
        measure_compensation(network, row["method"], tuple(_bits(row[part]) for part in ("weight", "activation")))
        if row["method"] in methods
        else row
        for row in card["compensation"]
    ]
    return {**card, "compensation": rows}


def _bits(key: str) -> int:
    return QuantizerSpec.from_json(key).format.bits


def measure_compensation(network: Network, method: str, widths: tuple[int, int]) -> dict[str, object]:
    """Return what a method scores at bits of weights and of activations, once or once a seed."""
    plan, correct = _static_plan(*widths, MinMSE()), []
    for seed in SEEDS if COMPENSATIONS[method].random and (network.name, method) not in ONCE else SEEDS[:1]:
        *_, last = compensate(network, method, Setting(plan.weight, plan.activation, seed))
        correct.append(network.evaluate(last.plan).correct)
    return {"method": method, "weight": plan.weight.key, "activation": plan.activation.key, "correct": correct}


def measure_mixed(network: Network, uniform: QuantizerSpec) -> dict[str, object]:
    """Return the plan of mixed precision that takes no more bytes than a uniform one, and what both score."""
    candidates = mixed_candidates(uniform)
    everywhere = weight_plan(dict.fromkeys(network.layers(), uniform))
    budget = footprint(network, everywhere).size_bytes
    found = mixed_plan(network, candidates, budget, "divergence")
    return {
        "uniform": uniform.key,
        "budget_bytes": budget,
        "choices": {name: spec.key for name, spec in found.choices.items()},
        "size_bytes": found.size_bytes,
        "correct": network.evaluate(found.plan).correct,
        "uniform_correct": network.evaluate(everywhere).correct,
    }


def granularity(network: Network) -> list[dict[str, object]]:
    """Return the rows on granularity at four bits, every layer so: bits per value, everything stored, and accuracy."""
    specs = {
        f"{grain}, {way}": QuantizerSpec(IntFormat(4), blocks, clipping=clipping)
        for grain, blocks in GRAINS.items()
        for way, clipping in WAYS.items()
    }
    return [
        {
            "name": name,
            "spec": spec.key,
            "bits_per_value": bits_of_layers(network.layers(), spec),
            "correct": network.evaluate(weight_plan(dict.fromkeys(network.layers(), spec))).correct,
        }
        for name, spec in specs.items()
    ]


def _static_plan(weight_bits: int, activation_bits: int, calibrator: object) -> LayerPlan:
    return LayerPlan(
        QuantizerSpec(IntFormat(weight_bits), PerChannel(0), clipping=MinMSE()),
        QuantizerSpec(IntFormat(activation_bits, signed=False), symmetric=False, clipping=calibrator),
    )


def _correct(network: Network, plan: LayerPlan) -> int:
    return network.evaluate(QuantizationPlan(dict.fromkeys(network.layers(), plan))).correct


def markdown(cards: dict[str, dict]) -> str:
    """Return the card as a page."""
    lines = [(pathlib.Path(__file__).parent / "model_card_head.md").read_text(encoding="utf-8").rstrip(), ""]
    for name, card in cards.items():
        network = load(name)
        weights = sum(info.parameters for info in network.layers().values())
        total = card["plain"]["total"]
        lines += [
            f"## {network.title} (`{name}`)",
            "",
            f"{weights:,} weights in {len(network.layers())} layers. Float32: {card['full']['correct']:,} of "
            f"{card['full']['total']:,} test images ({card['full']['correct'] / card['full']['total']:.4f}); "
            f"{card['plain']['correct']:,} of the {total:,} committed ones ({card['plain']['correct'] / total:.4f}).",
            "",
            *_table("bits", BITS, COLUMNS, card["weights_only"], total),
            f"About four bits, by number format (layers of {LARGE:,} weights and more; smaller ones are int4 per "
            "channel, least MSE):",
            "",
            *_methods(card["about_four_bits"], total),
            *_granularity(card["granularity"], total),
            "Weights and activations, by the calibrator of the activations:",
            "",
            *_table("bits", [f"W{w}A{a}" for w, a in WIDTHS], CALIBRATORS, card["static_activations"], total),
            "Mixed precision at the bytes of uniform 4 bits, least MSE (95 % intervals):",
            "",
            *_mixed(card["mixed"], network, total),
            "Compensation: every layer's weight (per channel, symmetric) and input (per tensor, unsigned, asymmetric), "
            "ranges of least squared error but for `nearest`; mean of three seeds, and the least and the greatest, "
            "where a method draws at random (but QAT with PACT, on the depthwise network, of one seed). Eight bits "
            "leave nothing to train:",
            "",
            *_compensation(model_card(name).compensation),
        ]
    return "\n".join(lines)


def _table(corner: str, names: Iterable[object], columns: Iterable[str], cells: list[dict], total: int) -> list[str]:
    """Return the lines of a table of accuracies, whose cells come row by row, and an empty line."""
    columns, shares = list(columns), iter(cell["correct"] / total for cell in cells)
    head = [f"| {corner} | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    return [*head, *(f"| {name} | " + " | ".join(f"{next(shares):.4f}" for _ in columns) + " |" for name in names), ""]


def _methods(rows: list[dict], total: int) -> list[str]:
    """Return the lines of the table of methods, and an empty line."""
    lines = ["| method | bits per value | accuracy |", "|---|---|---|"]
    lines += [f"| {row['name']} | {row['bits_per_value']:.3f} | {row['correct'] / total:.4f} |" for row in rows]
    return [*lines, ""]


def _mixed(rows: list[dict], network: Network, total: int) -> list[str]:
    """Return the lines of the table of mixed plans, and an empty line."""
    lines = [f"| scales | plan, bits of {', '.join(network.layers())} | bytes | accuracy |", "|---|---|---|---|"]
    for name, row in zip(UNIFORM, rows, strict=True):
        bits = ", ".join(str(_bits(key)) for key in row["choices"].values())
        for plan, size, correct in (
            ("4 everywhere", row["budget_bytes"], row["uniform_correct"]),
            (bits, row["size_bytes"], row["correct"]),
        ):
            low, high = Accuracy(correct, total).interval
            lines.append(f"| {name} | {plan} | {size:,} | {correct / total:.4f} ({low:.4f} – {high:.4f}) |")
    return [*lines, ""]


def _compensation(results: list[CompensationResult]) -> list[str]:
    """Return the lines of the table of compensating methods, what it contradicts, and an empty line after each."""
    widths = list(dict.fromkeys(result.bits for result in results))
    by_method: dict[str, dict[str, CompensationResult]] = {}
    for result in results:
        by_method.setdefault(result.method, {})[result.bits] = result
    lines = [f"| method | {' | '.join(widths)} |", "|---|" + "---|" * len(widths)]
    for method, found in by_method.items():
        cells = [_seeds(found[bits]) if bits in found else "–" for bits in widths]
        lines.append(f"| {COMPENSATIONS[method].title} | {' | '.join(cells)} |")
    said = "; ".join(
        f"{better.bits}: {COMPENSATIONS[better.method].title} {better.mean:.4f} is below "
        f"{COMPENSATIONS[worse.method].title} {worse.mean:.4f}"
        for better, worse in broken_order(results)
    )
    return [
        *lines,
        "",
        f"Against the expected order, QAT ≥ AdaRound, GPTQ ≥ clipped ≥ nearest: {said or 'nothing'}.",
        "",
    ]


def _seeds(result: CompensationResult) -> str:
    if len(result.accuracies) == 1:
        return f"{result.mean:.4f}"
    low, high = result.spread
    return f"{result.mean:.4f} ({low:.4f} – {high:.4f})"


def _granularity(rows: list[dict], total: int) -> list[str]:
    """Return the lines on granularity, if any, and an empty line."""
    if not rows:
        return []
    lines = [
        "Granularity at 4 bits (every layer's weight, symmetric, float32 scales, everything stored counted):",
        "",
        "| one scale for each | bits per value | accuracy | 95 % interval |",
        "|---|---|---|---|",
    ]
    for row in rows:
        found = Accuracy(row["correct"], total)
        low, high = found.interval
        lines.append(f"| {row['name']} | {row['bits_per_value']:.3f} | {found.value:.4f} | {low:.4f} – {high:.4f} |")
    return [*lines, ""]


def main() -> None:
    """Measure both networks and write both files."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    ask.add_argument("--only", nargs="+", choices=COMPENSATIONS, metavar="METHOD", help="measure these methods again")
    asked = ask.parse_args()
    kept = json.loads((BUILTIN / "model_card.json").read_text(encoding="utf-8"))
    cards = {
        name: measure_again(load(name), kept[name], asked.only) if asked.only else measure(load(name), asked.data)
        for name in ARCHITECTURES
    }
    _write("model_card.json", json.dumps(cards, indent=1) + "\n")
    _write("MODEL_CARD.md", markdown(cards))  # which reads the other


def _write(name: str, text: str) -> None:
    content = text.encode()
    write_file(BUILTIN / name, content, begins_like(content))


if __name__ == "__main__":
    main()
