"""The calibration check: ranges, shares, decibels and verdicts as numpy and torch find them on built-in networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from explorer.panels.calibration_coverage import sentence
from quant_engine import QuantError
from quant_engine.network import Network, load
from quant_engine.studies import LayerCoverage, SetCoverage, calibration_check, check_steps, checked_kinds
from quant_engine.studies.calibration_check import FINE, NARROW, WIDE
from quant_engine.studies.calibration_sets import random_inputs
from quant_engine.tasks import Agreement, Classification
from tests.engine.trained import folded, trained_module


def small(name: str) -> Network:
    """A built-in network with 512 images to calibrate on and 200 to evaluate."""
    network = load(name)
    images, labels = network.data("search")
    return Network(
        network.model,
        Classification({"calibration": network.data("calibration"), "search": (images[:200], labels[:200])}),
    )


def received(name: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """What torch's layers receive."""
    layers, whole = folded(trained_module(name))
    found: dict[str, np.ndarray] = {}
    for layer, module in layers.items():
        module.register_forward_pre_hook(
            lambda _, given, layer=layer: found.update({layer: given[0].numpy().copy()}) and None
        )
    with torch.inference_mode():
        whole(torch.from_numpy(images))
    return found


def ends(values: np.ndarray) -> tuple[float, float]:
    return min(float(values.min()), 0.0), max(float(values.max()), 0.0)


def error(values: np.ndarray, lo: float, hi: float) -> float:
    """Squared error at 8 bits, asymmetric."""
    scale = (hi - lo) / 255
    zero = np.rint(-lo / scale)
    codes = np.clip(np.rint(values.astype(np.float64) / scale) + zero, 0, 255)
    return float(np.square((codes - zero) * scale - values).sum())


@pytest.mark.parametrize("name", ["fashion-cnn", "fashion-depthwise"])
def test_each_set_covers_each_layer_as_numpy_finds(name: str) -> None:
    network = small(name)
    items = [*calibration_check(network)]
    assert len(items) == check_steps(network)
    found = [item for item in items if item is not None]
    assert [one.kind for one in found] == checked_kinds(network) == ["all", "one", "noise"]
    images, labels = network.data("calibration")
    frequent = images[labels == np.bincount(labels).argmax()]
    rng = np.random.default_rng(0)
    noise = rng.normal(images.mean(dtype=np.float64), images.std(dtype=np.float64), images.shape).astype(np.float32)
    evaluated = received(name, network.data("search")[0])
    for one, given in zip(found, (images, frequent, noise), strict=True):
        seen = received(name, given)
        assert one.samples == len(given)
        for layer, coverage in one.layers.items():
            (lo, hi), own, values = ends(seen[layer]), ends(evaluated[layer]), evaluated[layer]
            assert coverage.outside_share == pytest.approx(np.mean((values < lo) | (values > hi)), abs=1e-4)
            assert coverage.width_ratio == pytest.approx((hi - lo) / (own[1] - own[0]), rel=1e-3)
            loss = 10 * np.log10(error(values, lo, hi) / error(values, *own))
            assert coverage.loss_db == pytest.approx(loss, abs=0.1)
            fine = loss <= 3 and coverage.outside_share <= 0.01
            assert abs(loss - 3) < 0.1 or (coverage.verdict == FINE) == fine
        assert ("fine in all" in sentence(one)) == (len(one.judged(FINE)) == len(one.layers))
    assert {layer.verdict for layer in found[0].layers.values()} == {FINE}
    assert {layer.verdict for layer in found[2].layers.values()} == {WIDE}


@pytest.mark.parametrize(
    ("layer", "verdict"),
    [
        (LayerCoverage(0.011, 1.0, 0.0, 0.0), NARROW),
        (LayerCoverage(0.001, 0.7, 3.1, 0.6), NARROW),
        (LayerCoverage(0.0, 2.0, 6.0, 0.0), WIDE),
        (LayerCoverage(0.009, 0.9, 2.9, 0.9), FINE),
    ],
)
def test_a_verdict_names_what_the_loss_comes_from(layer: LayerCoverage, verdict: str) -> None:
    good = LayerCoverage(0.0, 1.0, -1.0, 0.0)
    found = SetCoverage("one", 8, {"a": good, "b": layer})
    assert layer.verdict == verdict
    told = {NARROW: "too narrow in 1 of 2 layers, most in b", WIDE: "too wide in 1 of 2 layers", FINE: "b loses most"}
    assert told[verdict] in sentence(found)


def test_random_tokens_are_of_the_range_seen_and_masks_stay() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    batch = {"ids": np.array([[5, 9, 7], [6, 8, 5]]), "mask": mask}
    [drawn] = random_inputs([batch])
    assert (drawn["mask"] == mask).all()
    assert drawn["ids"].shape == (2, 3)
    assert drawn["ids"].min() >= 5
    assert drawn["ids"].max() <= 9


def test_a_task_of_one_split_says_which_splits_are_needed() -> None:
    network = load("fashion-cnn")
    few = Network(network.model, Agreement(network.data("test")[0][:4]))
    with pytest.raises(QuantError, match="for calibration, and for search or test"):
        checked_kinds(few)
