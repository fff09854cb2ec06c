"""Cases of a network scored again under a plan of which one layer has changed."""

from __future__ import annotations

from itertools import cycle

import quant_engine as qe
from benchmarks import inference_peers
from benchmarks.comparison import Comparison, Peer, Run, TimesItsTime
from benchmarks.data import Sizes
from benchmarks.inference import BATCH
from quant_engine.network import Network, load

WIDTHS = 4, 3  # bits that the changed layer has in turn
AGAIN = 0.5  # of a whole pass, for what lies behind the last convolution


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
    convolutions = [layer for layer, info in network.layers().items() if info.op == "conv"]
    images, _ = network.data()
    ours, first = (_changing(network, layer) for layer in (convolutions[-1], convolutions[0]))

    def check() -> str:
        (_, plan), fresh = _plans(network, convolutions[-1]), load(name)
        assert network.evaluate(plan) == fresh.evaluate(plan), "a score from kept inputs differs from a fresh one"
        return f"{convolutions[-1]} of {len(network.layers())} layers changed; {len(images):,} images"

    peers = (
        Peer(f"{convolutions[0]} changed", first, TimesItsTime(AGAIN)),
        Peer("torch, float32", inference_peers.floating(network, images, BATCH)),
    )
    return Comparison(ours, peers, check=check)


def _plans(network: Network, layer: str) -> list[qe.QuantizationPlan]:
    """Return fitted plans of 4 bits that differ in one layer."""
    every = dict.fromkeys(network.layers(), qe.LayerPlan(_spec(WIDTHS[0])))
    return [network.freeze(qe.QuantizationPlan({**every, layer: qe.LayerPlan(_spec(bits))})) for bits in WIDTHS]


def _spec(bits: int) -> qe.QuantizerSpec:
    return qe.QuantizerSpec(qe.IntFormat(bits), qe.PerChannel(0))


def _changing(network: Network, layer: str) -> Run:
    """Return what scores the plans in turn."""
    turn = cycle(_plans(network, layer))
    return lambda: network.evaluate(next(turn))
