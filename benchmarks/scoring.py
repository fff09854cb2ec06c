"""Cases of a network scored again under a plan of which one layer has changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import quant_engine as qe
from benchmarks import inference_peers
from benchmarks.comparison import Comparison, Peer, Run, TimesItsTime
from benchmarks.data import Sizes
from benchmarks.inference import BATCH
from quant_engine.network import Network, load

AGAIN = 0.5  # of a whole pass, for what lies behind the last convolution
FIRST, STEP = 99.0, 1e-3  # percentiles that clip the changed layer: another one each time, so that no score is known


def plain(sizes: Sizes) -> Comparison:
    """Score the plain network."""
    return _scored_again("fashion-cnn")


def depthwise(sizes: Sizes) -> Comparison:
    """Score the depthwise network."""
    return _scored_again("fashion-depthwise")


def _scored_again(name: str) -> Comparison:
    """Change the last convolution, beside the first one and beside a pass in floating point.

    Weights of 4 bits are fitted once, before; what is scored is 2,000 test images.
    """
    network = load(name)
    convolutions = [layer for layer, info in network.layers().items() if info.op == "conv2d"]
    images, _ = network.data()
    ours, first = (_changing(load(name), layer) for layer in (convolutions[-1], convolutions[0]))  # each keeps its own

    def check() -> str:
        plan = next(_plans(network, convolutions[-1]))
        assert network.evaluate(plan) == load(name).evaluate(plan), "a score from kept inputs differs from a fresh one"
        return f"{convolutions[-1]} of {len(network.layers())} layers changed; {len(images):,} images"

    peers = (
        Peer(f"{convolutions[0]} changed", first, TimesItsTime(AGAIN)),
        Peer("torch, float32", inference_peers.floating(network, images, BATCH)),
    )
    return Comparison(ours, peers, check=check)


def _plans(network: Network, layer: str) -> Iterator[qe.QuantizationPlan]:
    """Yield fitted plans of 4 bits of which each clips one layer otherwise."""
    spec = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0))
    fitted = network.freeze(qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(spec)))).layers
    for number in count():
        changed = replace(spec, clipping=qe.Percentile(FIRST + STEP * (number % 900)))
        yield network.freeze(qe.QuantizationPlan({**fitted, layer: qe.LayerPlan(changed)}))


def _changing(network: Network, layer: str) -> Run:
    """Return what scores one plan after the other."""
    plans = _plans(network, layer)
    return lambda: network.evaluate(next(plans))
