"""Measure the built-in networks and write their model card, as JSON and as Markdown.

    python tools/write_card.py --data /usr/share/datasets/fashion-mnist

Accuracy in floating point is measured on all 10,000 test images and on the 2,000 committed ones; quantized accuracy on
the latter, weights only, every layer by the same spec.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import numpy as np
from fashion import NORMALISATION, read_split

from quant_engine import IntFormat, LayerPlan, MinMax, MinMSE, PerChannel, PerTensor, QuantizationPlan, QuantizerSpec
from quant_engine.network import ARCHITECTURES, Accuracy, Network, load

BUILTIN = pathlib.Path(__file__).parents[1] / "quant_engine" / "network" / "builtin"
BITS = (8, 7, 6, 5, 4, 3, 2)
COLUMNS = {
    "per tensor, min-max": (PerTensor(), MinMax()),
    "per tensor, least MSE": (PerTensor(), MinMSE()),
    "per channel, min-max": (PerChannel(0), MinMax()),
    "per channel, least MSE": (PerChannel(0), MinMSE()),
}


def full_accuracy(network: Network, folder: pathlib.Path) -> Accuracy:
    """Score the network on the whole test set."""
    images, labels = read_split(folder, "t10k")
    mean, deviation = NORMALISATION
    inputs = ((images[:, None].astype(np.float32) / 255 - mean) / deviation).astype(np.float32)
    predicted = network.run(inputs).argmax(axis=1)
    return Accuracy(int((predicted == labels).sum()), len(labels))


def measure(network: Network, folder: pathlib.Path) -> dict[str, object]:
    """Return the card's entry for one network."""
    plain, rows = network.evaluate(), []
    for bits in BITS:
        for granularity, clipping in COLUMNS.values():
            spec = QuantizerSpec(IntFormat(bits), granularity, clipping=clipping)
            accuracy = network.evaluate(QuantizationPlan({name: LayerPlan(spec) for name in network.layers()}))
            rows.append({"spec": spec.key, "correct": accuracy.correct})
    return {"full": vars(full_accuracy(network, folder)), "plain": vars(plain), "weights_only": rows}


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
            "| bits | " + " | ".join(COLUMNS) + " |",
            "|---|" + "---|" * len(COLUMNS),
        ]
        shares = iter(row["correct"] / total for row in card["weights_only"])
        lines += [f"| {bits} | " + " | ".join(f"{next(shares):.4f}" for _ in COLUMNS) + " |" for bits in BITS]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure both networks and write both files."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    folder = ask.parse_args().data
    cards = {name: measure(load(name), folder) for name in ARCHITECTURES}
    (BUILTIN / "model_card.json").write_text(json.dumps(cards, indent=1) + "\n", encoding="utf-8")
    (BUILTIN / "MODEL_CARD.md").write_text(markdown(cards), encoding="utf-8")


if __name__ == "__main__":
    main()
