"""Compare, to the bit, what the built-in networks compute in two checkouts on this machine.

    git worktree add ../before COMMIT
    python -m tools.compare_networks ../before

Logits in floating point, at W8A8, W4A8 and W4A4, under dynamic ranges, one a sample and one a token, with one layer
quantized and under plans of methods, and what layers receive. Prints what differs; the exit status is 1 if anything
does.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
NETWORKS = "fashion-cnn", "fashion-depthwise"
METHODS = "bias_correction", "smoothquant", "gptq"


def digests() -> Iterator[tuple[str, str]]:
    """Yield what is computed, and the SHA-256 of it, with the engine that is imported."""
    import quant_engine as qe
    from quant_engine.methods import Setting, compensate
    from quant_engine.network import load

    def weight(bits: int) -> qe.QuantizerSpec:
        return qe.QuantizerSpec(qe.IntFormat(bits), qe.PerChannel(0), clipping=qe.MinMSE())

    def inputs(bits: int, granularity: object = None) -> qe.QuantizerSpec:
        return qe.QuantizerSpec(qe.IntFormat(bits, signed=False), granularity or qe.PerTensor(), symmetric=False)

    every = {
        **{f"W{w}A{a}": qe.LayerPlan(weight(w), inputs(a)) for w, a in ((8, 8), (4, 8), (4, 4))},
        "W4A4 dynamic": qe.LayerPlan(weight(4), inputs(4), dynamic=True),
        "W4A4 a token": qe.LayerPlan(weight(4), inputs(4, qe.PerToken()), dynamic=True),
    }
    for name in NETWORKS:
        network = load(name)
        plans = {what: qe.QuantizationPlan(dict.fromkeys(network.layers(), layer)) for what, layer in every.items()}
        plans["W3 in one layer"] = qe.QuantizationPlan({list(network.layers())[2]: qe.LayerPlan(weight(3))})
        for method in METHODS:
            *_, last = compensate(network, method, Setting(weight(4), inputs(8)))
            plans[f"{method} W4A8"] = last.plan
        for what, plan in {"float32": None, **plans}.items():
            yield f"{name}: logits, {what}", _digest(network.logits(plan))
        yield f"{name}: what layers receive", _digest(*network.activations(split="test", stop=300).values())


def _digest(*arrays: Any) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def of_checkout(root: pathlib.Path) -> dict[str, str]:
    """Return the digests that a checkout's engine gives, in a process of its own."""
    command = [sys.executable, __file__, "--print"]
    found = subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=True, capture_output=True, text=True
    )
    return dict(line.rsplit("\t", 1) for line in found.stdout.splitlines())


def main() -> int:
    """Print what differs."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("other", nargs="?", type=pathlib.Path, help="another checkout")
    ask.add_argument("--print", action="store_true", help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.print:
        for what, digest in digests():
            print(what, digest, sep="\t")
        return 0
    if asked.other is None:
        ask.error("give another checkout")
    here, there = of_checkout(ROOT), of_checkout(asked.other.resolve())
    for what in here | there:
        print("same   " if here.get(what) == there.get(what) else "DIFFERS", what)
    return int(here != there)


if __name__ == "__main__":
    sys.exit(main())
