"""Export quantized models as ONNX, run the files in onnxruntime, and write what comes out into docs/exports.md.

    python -m tools.write_exports                       built-in networks and the installed packs
    python -m tools.write_exports --only fashion-cnn    this one; the others are left out

Every sample of the test split goes through the file with graph optimization off and on, and through the engine.
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import platform
import tempfile
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from quant_engine import IntFormat, LayerPlan, PerChannel, PerGroup, QuantizationPlan, QuantizerSpec
from quant_engine.export import EXPORTERS, Verification, nearest
from quant_engine.export.onnx_run import has_vnni
from quant_engine.network import Network, load
from quant_engine.packs import PACKS

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "exports.md"
MODELS = ("fashion-cnn", "fashion-depthwise", "ocr", "efficientnet-lite0")
EIGHT, GROUPS = QuantizerSpec(IntFormat(8), PerChannel()), QuantizerSpec(IntFormat(4), PerGroup(32, remainder="short"))
SIX, INPUTS = QuantizerSpec(IntFormat(6), PerChannel()), QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
PLANS: dict[str, Sequence[LayerPlan]] = {  # layers have them in turn
    "W8A8, a scale a channel": [LayerPlan(EIGHT, INPUTS)],
    "W4A8, groups of 32": [LayerPlan(GROUPS, INPUTS)],
    "mixed": [LayerPlan(EIGHT, INPUTS), LayerPlan(GROUPS, INPUTS), LayerPlan(SIX), LayerPlan(activation=INPUTS)],
}
SEVEN = "W7A8, a scale a channel"  # what is offered where products of 8 bits may saturate
HEAD = """# Exported ONNX in onnxruntime

Each model is quantized, written as ONNX with QuantizeLinear and DequantizeLinear, and run by onnxruntime on every
sample of its test split. `tools/write_exports.py` writes this page; the tests repeat a row of it, and
all rows with `--full`.

- *Labels apart, off*: largest outputs (of the recogniser: of each place in a line) that differ from the engine's with
  graph optimization off, and how many of these are ties: float32's rounding alone, one step up or down in the weights,
  moves the engine's own outputs as far as the file's are from them (`quant_engine/export/rounding_ties.py`).
- *Labels apart, on*: the same with onnxruntime's fused integer kernels, which round between layers otherwise.
- On x86 without VNNI these kernels add pairs of products in 16 bits and saturate where inputs are unsigned and weights
  signed and both have 8 bits; how many labels that changes depends on network and kernel. 3.7 % of the depthwise
  network's changed on such a processor with an older onnxruntime. On a Haswell that QEMU emulates, onnxruntime 1.32
  gives 1,048,544 for 64 products 255 · 127, which are 2,072,640; of 2,000 labels of the depthwise network at W8A8 none
  changed there. Weights of 7 bits (`reduce_range`) cannot saturate, and graph optimization off does not.
"""
FOOT = """## GGUF in llama.cpp

SmolLM2-135M with its projections in `Q4_0`, written as GGUF and run by llama.cpp (build 11549, from the wheel
`xllamacpp`; `python -m tools.run_gguf` repeats it): after ten tokens the most probable next one is the engine's, the
logarithms of the ten highest probabilities are at most 0.31 from the engine's, and the KL divergence over the 2,000
most probable tokens is 0.008 nats. Of the tokens that both choose greedily the first 12 are alike. With scales of least
error in the same blocks the next token is the engine's, too, the logarithms are at most 0.45 apart, and the divergence
is 0.034 nats. The weights are the engine's to the bit, as `gguf` reads them; llama.cpp rounds what each layer receives
to 8 bits besides.
"""


class Row(NamedTuple):
    """What onnxruntime makes of one file."""

    plan: str
    found: Verification


def plan_of(network: Network, name: str) -> QuantizationPlan:
    """Return the fitted plan of a row."""
    turns = PLANS["W8A8, a scale a channel" if name == SEVEN else name]
    plan = QuantizationPlan({layer: turns[at % len(turns)] for at, layer in enumerate(network.layers())})
    if name == SEVEN:
        plan = nearest(plan, EXPORTERS["onnx"].check(network, plan), ("warning",))
    return network.freeze(plan)


def verified(network: Network, name: str, folder: pathlib.Path) -> Verification:
    """Return what onnxruntime makes of the file of a plan."""
    plan, path = plan_of(network, name), folder / "model.onnx"
    EXPORTERS["onnx"].write(network, plan, path, overwrite=True)
    return EXPORTERS["onnx"].verify(network, plan, path)


def _section(model: str, network: Network, rows: Sequence[Row]) -> list[str]:
    lines = [f"## {PACKS[model].title if model in PACKS else network.title} (`{model}`)", ""]
    lines += ["| plan | score here | off | on | labels apart, off | labels apart, on |", "|---|---|---|---|---|---|"]
    for name, found in rows:
        weights, on, off = found.comparisons
        assert weights.exact
        scores = " | ".join("–" if one is None else f"{one.value:.4g}" for one in (off.own_score, off.score, on.score))
        ties = f", ties: {sum(one.is_tie for one in off.differences)}" if off.differences else ""
        apart = f"{len(off.differences)}{ties} | {1 - (on.same or 0):.2%}"
        lines.append(f"| {name} | {scores} | {apart} |")
    first = next(one.own_score for _, found in rows for one in found.comparisons if one.own_score)
    return [*lines, "", f"The score is {first.name}, n = {first.n:,}.", ""]


def main() -> None:
    """Parse the command line, measure, write."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--only", nargs="*", choices=MODELS, default=MODELS, help="these alone")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    lines, reader = [HEAD], ""
    with tempfile.TemporaryDirectory() as folder:
        for model in ask.parse_args().only:
            network, rows = load(model), []
            for name in (*PLANS, SEVEN):
                rows.append(Row(name, verified(network, name, pathlib.Path(folder))))
                print(model, name, *(str(one) for one in rows[-1].found.findings), sep=": ", flush=True)
            reader = rows[-1].found.reader
            lines += _section(model, network, rows)
    vnni = {True: "with VNNI", False: "without VNNI", None: "of which nothing says whether it has VNNI"}[has_vnni()]
    lines.insert(1, f"Measured with {reader}, Python {platform.python_version()}, on {platform.machine()} {vnni}.\n")
    lines.append(FOOT)
    PAGE.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
