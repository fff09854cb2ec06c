"""Two plans on the same samples: flips by numpy on the logits, McNemar's test by scipy."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import quant_engine as qe
from quant_engine.network import from_module, load
from quant_engine.studies import compare_paired, mcnemar
from quant_engine.tasks import Classification, NextToken, Transcription
from tests.engine.foreign import Decoder


@pytest.mark.parametrize(("fixed", "broken"), [(0, 1), (3, 8), (40, 40), (230, 0), (900, 1100)])
def test_mcnemar_is_the_binomial_test_of_a_fair_coin(fixed: int, broken: int) -> None:
    assert mcnemar(fixed, broken) == pytest.approx(binomtest(fixed, fixed + broken).pvalue, rel=1e-9)


def test_flips_are_those_of_the_logits_and_come_by_how_far_the_margin_moved() -> None:
    network = load("fashion-depthwise")
    plans = [qe.QuantizationPlan({"stem": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(bits)))}) for bits in (3, 4)]
    found = compare_paired(network, *plans, "calibration")
    labels = network.data("calibration")[1]
    logits = [network.logits(plan, "calibration").astype(np.float64) for plan in plans]
    right = [one.argmax(1) == labels for one in logits]
    assert sorted(flip.sample for flip in found.fixed) == np.flatnonzero(~right[0] & right[1]).tolist()
    assert sorted(flip.sample for flip in found.broken) == np.flatnonzero(right[0] & ~right[1]).tolist()
    assert found.fixed
    flip = found.fixed[0]
    for one, margin, predicted in zip(logits, flip.margins, flip.predicted or (), strict=True):
        row = one[flip.sample]
        assert margin == row[labels[flip.sample]] - np.delete(row, labels[flip.sample]).max()
        assert predicted == row.argmax()
    moved = [abs(flip.moved) for flip in found.fixed]
    assert moved == sorted(moved, reverse=True)
    assert found.p_value == mcnemar(len(found.fixed), len(found.broken))
    change = (len(found.fixed) - len(found.broken)) / len(labels)
    assert found.changes["accuracy"].value == pytest.approx(change)


def test_a_network_compared_with_itself_flips_nothing() -> None:
    network = load("fashion-cnn")
    found = compare_paired(network, None, None, "calibration", other=load("fashion-cnn"))
    assert (found.fixed, found.broken, found.p_value) == ((), (), 1.0)
    assert found.changes["loss"].value == 0


def test_tokens_are_right_or_wrong_too() -> None:
    torch.manual_seed(0)
    network = from_module(Decoder(), NextToken(np.arange(96).reshape(6, 16) // 4), example=torch.arange(8)[None])
    plan = qe.QuantizationPlan.of(network.layers(), {"*": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(2)))})
    found = compare_paired(network, plan, None)
    assert found.p_value == mcnemar(len(found.fixed), len(found.broken))
    assert len(found.fixed) + len(found.broken) > 0


def test_without_classes_right_is_what_the_first_score_counts() -> None:
    texts = ["a", "b", "a", "b"]
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3))
    inputs = np.random.default_rng(0).normal(size=(4, 2, 4)).astype(np.float32)
    network = from_module(
        module, Transcription({"test": (inputs, texts)}, characters="ab"), example=torch.from_numpy(inputs)
    )
    plan = qe.QuantizationPlan.of(network.layers(), {"*": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(2)))})
    found = compare_paired(network, None, plan)
    exact = [scores["exact match"].samples for scores in (found.before, found.after)]
    assert [flip.sample for flip in found.broken] == np.flatnonzero(exact[0] > exact[1]).tolist()


def test_networks_of_other_data_are_refused() -> None:
    module, labels = torch.nn.Sequential(torch.nn.Linear(3, 2)), np.arange(8) % 2
    inputs = (np.full((8, 3), value, np.float32) for value in (0, 1))
    one, other = (from_module(module, Classification(given, labels)) for given in inputs)
    with pytest.raises(qe.QuantError, match="open both with the same data"):
        compare_paired(one, None, None, other=other)
