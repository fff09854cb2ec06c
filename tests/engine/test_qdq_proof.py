"""Exported graphs in onnxruntime: every label is the engine's, or the difference is shown to be a tie."""

from dataclasses import replace

import numpy as np
import pytest

from quant_engine import QuantizationPlan
from quant_engine.export import EXPORTERS
from quant_engine.export.rounding_ties import differences
from quant_engine.network import load
from tools.write_exports import PLANS, SEVEN, plan_of, verified


def check_proof(network, name, folder):
    """Weights are the plan's to the bit, without optimization labels too, and fused kernels change few."""
    found = verified(network, name, folder)
    weights, on, off = found.comparisons
    assert weights.exact
    assert [one for one in off.differences if not one.is_tie] == []
    assert bool(off.differences) == (off.same < 1)
    assert off.score.value == pytest.approx(off.own_score.value, abs=0.002 + 1.01 * (1 - off.same))
    assert on.same > (0.7 if off.score.n < 100 else 0.95)
    assert any("kernels" in finding.text for finding in found.findings) == (on.same < off.same)


@pytest.mark.parametrize("plan", [*PLANS, SEVEN])
@pytest.mark.parametrize("model", ["fashion-depthwise", "fashion-cnn"])
@pytest.mark.choice(8)
def test_every_label_is_the_engines_or_the_difference_a_tie(model, plan, tmp_path):
    check_proof(load(model), plan, tmp_path)


def test_a_file_of_another_plan_differs_by_more_than_rounding(tmp_path):
    network = load("fashion-cnn")
    images, plan = network.data()[0][:600], plan_of(network, "W4A8, groups of 32")
    layers = {
        name: replace(layer, weight=replace(layer.weight, scale=layer.weight.scale * np.float32(1.05)))
        for name, layer in plan.layers.items()
    }
    ours, theirs = network.run(images, plan), network.run(images, QuantizationPlan(layers))
    found = differences(network, plan, images, ours, theirs, first=1000)
    assert {one.sample - 1000 for one in found} == {*np.flatnonzero(ours.argmax(1) != theirs.argmax(1))}
    assert all(one.shift >= one.margin >= 0 for one in found)
    assert found
    assert not all(one.is_tie for one in found)
    EXPORTERS["onnx"].write(network, QuantizationPlan(layers), tmp_path / "a.onnx")
    told = EXPORTERS["onnx"].verify(network, plan, tmp_path / "a.onnx", data=images)
    assert any("not of this plan" in finding.text for finding in told.findings)
