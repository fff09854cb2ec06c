"""A depthwise network whose photographs tell one scale a layer from one a channel, BatchNorm folded."""

from __future__ import annotations

import numpy as np
import pytest

import quant_engine as qe
from quant_engine.network import Network
from quant_engine.packs import PACKS, folder_of
from quant_engine.packs.efficientnet import PHOTOGRAPHS, photographs
from quant_engine.tasks import Classification
from tests.packs.plans import check_row, every_layer


@pytest.fixture(scope="module")
def on_all_photographs(pack_network):
    """Return the network on all twenty, with the classes that the names of the files give."""
    network, folder = pack_network("efficientnet-lite0"), folder_of(PACKS["efficientnet-lite0"])
    labels = [int(path.stem.split("_")[-1]) for path in sorted(folder.glob(PHOTOGRAPHS))]
    assert {split: network.task.count(split) for split in network.task.splits} == {
        "calibration": 5,
        "search": 5,
        "test": 10,
    }
    return Network(network.model, Classification({"test": (photographs(folder), np.array(labels))}))


def test_it_knows_most_photographs(on_all_photographs):
    layers = on_all_photographs.layers()
    assert len(layers) == 50
    assert PACKS["efficientnet-lite0"].opening_layer in layers
    assert all(layer.has_bias for layer in layers.values())
    assert sum(info.groups == info.shape[0] for info in layers.values()) == 16
    assert on_all_photographs.evaluate().correct >= 16


@pytest.mark.parametrize(
    ("bits", "granularity", "sqnr_db", "agreeing"),
    [(8, qe.PerTensor(), 7.3, None), (8, qe.PerChannel(0), 20.0, None), (6, qe.PerTensor(), None, 0)],
)
def test_scales_matter_as_in_another_implementation(on_all_photographs, bits, granularity, sqnr_db, agreeing):
    """The numbers are of a scratch implementation, with another resampling of the photographs."""
    scores = on_all_photographs.scores(every_layer(on_all_photographs, bits, granularity))
    assert sqnr_db is None or scores["SQNR"].value == pytest.approx(sqnr_db, abs=0.6)
    assert agreeing is None or scores["top-1 agreement"].value == agreeing / 20


@pytest.mark.parametrize("shared", ["tensor", "channel"])
def test_a_row_of_the_card_is_found_again(pack_network, shared):
    check_row(pack_network("efficientnet-lite0"), "efficientnet-lite0", 8, shared)
