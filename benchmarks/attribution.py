"""Cases of an attribution: each layer quantized alone, all the others in floating point."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch

import quant_engine as qe
from benchmarks.comparison import Comparison, Peer, TimesItsTime
from benchmarks.data import Sizes
from quant_engine.execution import Override, as_tensors
from quant_engine.network import Network, load
from quant_engine.packs import PACKS, is_installed
from quant_engine.studies import Attributed, Attribution, attribute

MOST = 1.15  # of the passes that no attribution can do without
BITS = 8
SPLIT = "calibration"
OCR = "ocr"
BEHIND = "passes from each layer on, unscored"


def depthwise(sizes: Sizes) -> Comparison:
    """Measure every layer of the depthwise network."""
    return _attributed(load("fashion-depthwise"), sizes)


def text_recogniser(sizes: Sizes) -> Comparison:
    """Measure layers from the text recogniser's first to its last, in the long form and where its pack is installed."""
    if not sizes.packs or not is_installed(PACKS[OCR]):
        note = "needs: quant-explorer models add ocr" if sizes.packs else "left out here: a pass takes a second"
        return Comparison(None, (Peer(BEHIND, None, note=note),))
    return _attributed(load(OCR), sizes)


def _attributed(network: Network, sizes: Sizes) -> Comparison:
    """Compare with the runs alone, nothing scored: of what is behind each layer from its kept input, and of all of it.

    One pass in floating point is added to both. What runs the network is made before; of the attribution nothing else
    is kept from round to round.
    """
    chosen = [*network.layers()][:: -(-len(network.layers()) // sizes.layers)]
    spec = qe.QuantizerSpec(qe.IntFormat(BITS))
    plan = network.freeze(qe.QuantizationPlan({name: qe.LayerPlan(spec) for name in chosen}))
    passes = _Passes(network, plan)

    def steps() -> Iterator[Attributed | Attribution]:
        fresh = Network(network.model, network.given_task)
        fresh.executor = network.executor
        return islice(attribute(fresh, plan, SPLIT), len(chosen))

    def check() -> str:
        alone = {one.layer: one.damage.measure.value for one in steps() if isinstance(one, Attributed)}
        assert alone.keys() == set(chosen), "layers are missing"
        for name in chosen:
            score = network.scores(qe.QuantizationPlan({name: plan[name]}), SPLIT)["KL divergence"]
            assert score.value == alone[name], f"{name} alone is scored otherwise"
        return f"{len(chosen)} of {len(network.layers())} layers, {network.given_task.count(SPLIT)} samples"

    peers = (
        Peer(BEHIND, passes.behind, TimesItsTime(MOST)),
        Peer("a whole pass for each layer, unscored", passes.whole),
    )
    return Comparison(lambda: [*steps()], peers, check=check)


class _Passes:
    """Passes of a network with one layer changed after the other, and one without."""

    def __init__(self, network: Network, plan: qe.QuantizationPlan) -> None:
        """Keep what the stages receive in which layers of the plan are."""
        self._run = network.executor.run
        self._batches = [network.model.as_inputs(batch.inputs) for batch in network.given_task.batches(SPLIT)]
        starts = {layer: span.start for span in network.executor.trace.spans for layer in span.layers}
        self._changes: list[tuple[dict[str, Override], int | None]] = [
            (network.overrides(qe.QuantizationPlan({name: plan[name]})), starts.get(name)) for name in plan.layers
        ]
        with torch.inference_mode():
            self._received = {
                stage: [self._run(as_tensors(batch), stop=stage) for batch in self._batches]
                for stage in {stage for _, stage in self._changes if stage is not None}
            }

    def behind(self) -> None:
        """Run what is behind each layer."""
        self._all(self._received)

    def whole(self) -> None:
        """Run everything for each layer."""
        self._all({})

    def _all(self, received: dict[int, list[torch.Tensor]]) -> None:
        with torch.inference_mode():
            for overrides, stage in [({}, None), *self._changes]:
                for number, batch in enumerate(self._batches):
                    start = None if stage is None or stage not in received else (stage, received[stage][number])
                    self._run(as_tensors(batch), overrides, start=start)
