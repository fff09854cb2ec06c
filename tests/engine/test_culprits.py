"""What a lost score is to blame on: the curve against copies of the torch module, blame on modules made for it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.special
import torch
from torch import nn

import quant_engine as qe
from quant_engine.network import Network, from_module, load
from quant_engine.studies import Culprits, attribute, culprits, is_lost
from quant_engine.tasks import Classification, Score
from tests.engine.foreign import foreign_models

RNG = np.random.default_rng(5)
IMAGES, LABELS = RNG.standard_normal((24, 3, 8, 8)).astype(np.float32), RNG.integers(0, 5, 24)
BITS = {"fashion-depthwise": 4, "residual": 2}


def network_of(name: str) -> Network:
    if name == "residual":
        module, example = foreign_models()[name]
        return from_module(module, Classification({"calibration": (IMAGES, LABELS)}), example)
    network = load(name)
    images, labels = network.data("calibration")
    return Network(network.model, Classification({"calibration": (images[:120], labels[:120])}))


def plan_of(network: Network, bits: int) -> qe.QuantizationPlan:
    return qe.QuantizationPlan.of(network.layers(), {"*": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(bits)))})


def logits_with(network: Network, layers: list[str], bits: int) -> np.ndarray:
    """Return the logits of a copy of the module, of which some layers are rounded in numpy's words."""
    module = copy.deepcopy(network.model.module)
    with torch.no_grad():
        for name in layers:
            weight = module.get_submodule(name).weight
            x, top = weight.numpy(), 2 ** (bits - 1) - 1
            scale = np.float32(np.abs(x.astype(np.float64)).max() / top)
            weight.copy_(torch.from_numpy(np.clip(np.rint(x / scale), -top - 1, top) * scale))
        return module(torch.from_numpy(network.data("calibration")[0].copy())).double().numpy()


@pytest.mark.parametrize("name", list(BITS))
def test_the_curve_is_that_of_a_plain_loop_over_copies_of_the_module(name: str) -> None:
    network, bits = network_of(name), BITS[name]
    labels, layers = network.data("calibration")[1], list(network.layers())
    *steps, found = culprits(network, plan_of(network, bits))
    p = scipy.special.log_softmax(logits_with(network, [], bits), axis=1)
    alone = {}
    for layer in layers:
        q = scipy.special.log_softmax(logits_with(network, [layer], bits), axis=1)
        alone[layer] = (np.exp(p) * (p - q)).sum(axis=1).mean()
    assert found.order == tuple(sorted(layers, key=alone.__getitem__))
    curve = [logits_with(network, [*found.order[: n + 1]], bits).argmax(axis=1) == labels for n in range(len(layers))]
    assert [damage.score.correct for damage in found.curve] == [right.sum() for right in curve]
    for fall in found.falls:
        place = found.order.index(fall.layer)
        before = curve[place - 1] if place else p.argmax(axis=1) == labels
        assert fall.lost.value == pytest.approx(before.mean() - curve[place].mean())
        rest = list(fall.together_with)
        lost = [logits_with(network, part, bits).argmax(axis=1) == labels for part in (rest, [*rest, fall.layer])]
        assert lost[0].mean() - lost[1].mean() >= fall.lost.value / 2
    if found.mend is not None:
        spared = [layer for layer in layers if layer not in found.mend.layers]
        assert found.mend.in_float.score.correct == (logits_with(network, spared, bits).argmax(axis=1) == labels).sum()
    assert [step.phase for step in steps] == sorted(
        (step.phase for step in steps), key=["alone", "forward", "blame", "mend"].index
    )
    assert all(step.done <= step.total for step in steps)


class Votes(nn.Module):
    """Two ways to the same classes, either of which is enough, and a layer that does no harm."""

    def __init__(self) -> None:
        super().__init__()
        self.harmless, self.one, self.other = (nn.Linear(4, 4, bias=False) for _ in range(3))
        with torch.no_grad():
            self.harmless.weight.copy_(torch.eye(4))
            for layer, outlier in ((self.one, 40.0), (self.other, 50.0)):
                layer.weight.copy_(torch.eye(4))
                layer.weight[0, 3] = outlier  # at an input that is always 0, so that all other weights round to 0

    def forward(self, x):
        x = self.harmless(x)
        return self.one(x) + self.other(x)


def votes() -> Network:
    labels = RNG.integers(1, 3, 60)
    rows = np.eye(4, dtype=np.float32)[labels]
    return from_module(Votes(), Classification({"search": (rows, labels)}), torch.from_numpy(rows[:1]))


def test_two_layers_of_which_one_is_enough_are_blamed_as_a_set_and_sparing_one_mends() -> None:
    network = votes()
    *_, found = culprits(network, plan_of(network, 4))
    assert isinstance(found, Culprits)
    (fall,) = found.falls
    assert (found.verdict, {fall.layer, *fall.together_with}) == ("set", {"one", "other"})
    assert (fall.lost.value, fall.alone.value) == (1.0, 0.0)
    assert found.mend is not None
    assert (found.mend.layers, found.mend.mended) == ((fall.layer,), True)
    assert found.mend.mended_in_eight_bits  # 40 / 127 rounds 1 to 0.94


def test_a_layer_that_falls_by_itself_is_blamed_alone_whatever_the_order() -> None:
    network = votes()
    plan = qe.QuantizationPlan({name: plan_of(network, 4)[name] for name in ("harmless", "one")})
    broken = network.with_parameters({"other": (np.zeros((4, 4), np.float32), None)})
    for order in (None, ["one", "harmless"], ["harmless", "one"]):
        *_, found = culprits(broken, plan, order=order)
        assert [(fall.layer, fall.together_with) for fall in found.falls] == [("one", ())]
        assert (found.verdict, found.mend.layers) == ("layer", ("one",))


def test_where_nothing_is_lost_nothing_is_blamed_and_what_attribution_measured_is_not_measured_again() -> None:
    network, kept = votes(), {}
    plan = plan_of(network, 8)
    for _ in attribute(network, plan, kept=kept):
        pass
    before = set(kept)
    *steps, found = culprits(network, plan, kept=kept)
    assert (found.verdict, found.falls, found.mend, len(found.curve)) == ("nothing", (), None, 3)
    assert len(set(kept) - before) == 1  # two layers together
    assert [step.layer for step in steps[:3]] == ["harmless", "one", "other"]


def test_a_loss_is_more_than_its_interval_explains_and_more_looks_need_more_of_it() -> None:
    found = Score("accuracy", 0.1, 100, (0.1 - 1.96 * 0.04, 0.1 + 1.96 * 0.04))
    assert [is_lost(found, looks) for looks in (1, 4, 5)] == [True, True, False]  # 2.5 standard errors: p = 0.0124


def test_what_is_no_order_of_the_plans_layers_and_an_empty_plan_are_refused() -> None:
    network = votes()
    with pytest.raises(qe.QuantError, match="give each of harmless, one, other once"):
        next(culprits(network, plan_of(network, 4), order=["one"]))
    with pytest.raises(qe.QuantError, match="give a LayerPlan for some"):
        next(culprits(network, qe.QuantizationPlan()))
