"""Scores in a store: a study that was stopped goes on where it was, in another process too, to the same end."""

import pathlib

import numpy as np
import pytest

import quant_engine as qe
from quant_engine.network import Network, load
from quant_engine.store import KeptScores, Store
from quant_engine.studies import attribute
from quant_engine.tasks import Classification


def test_a_stopped_study_goes_on_and_measures_nothing_twice(tmp_path: pathlib.Path) -> None:
    measured = []

    class Counted(Classification):
        def scores(self, results):
            measured.append(1)
            return super().scores(results)

    given = load("fashion-cnn")
    images, labels = given.data("calibration")
    network = Network(given.model, Counted({"calibration": (images[:64], labels[:64])}))
    plan = qe.QuantizationPlan.of(network.layers(), {"*": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(3)))})
    *_, whole = attribute(network, plan)
    total = len(measured)
    measured.clear()
    stopped = attribute(network, plan, kept=KeptScores(Store(tmp_path / "s.sqlite"), network.digest, "task"))
    for _ in range(2):
        next(stopped)
    kept = KeptScores(Store(tmp_path / "s.sqlite"), network.digest, "task")
    *_, found = attribute(network, plan, kept=kept)
    assert len(measured) == total
    for layer, damage in whole.alone.items():
        assert found.alone[layer].measure == damage.measure
        np.testing.assert_array_equal(found.alone[layer].change.samples, damage.change.samples)
    assert found.additivity.ratio == whole.additivity.ratio
    key = next(iter(kept))
    assert len(kept) == total
    del kept[key]
    assert kept[key]["accuracy"].n == 64
    with pytest.raises(KeyError):
        KeptScores(Store(tmp_path / "s.sqlite"), network.digest, "other task")[key]
