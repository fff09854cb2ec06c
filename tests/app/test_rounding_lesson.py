"""Lesson 6: quantization error against noise of its size, held against numpy, scipy and torch."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import scipy.stats
import torch
from streamlit.testing.v1 import AppTest

from explorer.figures.intervals import intervals_figure
from explorer.figures.theme import Canvas
from explorer.lessons.rounding.equal_noise import (
    ALONE,
    DRAWS,
    EVERY,
    FLOAT,
    changed_layers,
    noise_study,
    rows_of,
    verdict,
    with_noise,
)
from quant_engine import IntFormat, QuantizerSpec
from quant_engine.network import Accuracy, load
from tests.engine.trained import folded, trained_module
from tests.models import CNN_KEY, DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]
FLOOR = QuantizerSpec(IntFormat(4), symmetric=False, rounding="floor")


def floored(x: np.ndarray) -> np.ndarray:
    """Four bits, rounded down, over the whole range."""
    lo, hi = min(x.min(), 0.0), max(x.max(), 0.0)
    scale = np.float32((float(hi) - float(lo)) / 15)
    zero = np.clip(np.rint(-8 - float(lo) / scale), -8, 7)
    return ((np.clip(np.floor(x / scale) + zero, -8, 7) - zero) * scale).astype(np.float32)


def correct(model: str, weights: dict[str, np.ndarray]) -> int:
    """How many test images torch gets right with other weights."""
    layers, whole = folded(trained_module(model))
    images, labels = (torch.from_numpy(part) for part in load(model).data("test"))
    with torch.inference_mode():
        for name, weight in weights.items():
            layers[name].weight.copy_(torch.from_numpy(weight.reshape(layers[name].weight.shape).copy()))
        return int((whole(images).argmax(1) == labels).sum())


@pytest.mark.parametrize(("key", "model"), [(CNN_KEY, "fashion-cnn"), (DEPTHWISE_KEY, "fashion-depthwise")])
def test_noise_in_the_errors_place_is_gaussian_of_the_same_mean_square_in_every_layer(key: str, model: str) -> None:
    network = load(model)
    layers = [*network.layers()]
    drawn = [with_noise(network, key, layers, FLOOR, draw) for draw in (0, 1, 0)]
    for layer in layers:
        weight = network.weight(layer)
        error = floored(weight).astype(np.float64) - weight
        noises = [other.weight(layer).astype(np.float64) - weight for other in drawn]
        for noise in noises:
            assert np.square(noise).mean() == pytest.approx(np.square(error).mean(), rel=1e-3), layer
            assert scipy.stats.kstest(noise.ravel() / noise.std(), "norm").pvalue > 1e-3, layer
        assert np.array_equal(noises[0], noises[2])
        assert abs(np.corrcoef(noises[0].ravel(), noises[1].ravel())[0, 1]) < 5 / np.sqrt(weight.size)
    alone = with_noise(network, key, layers[:1], FLOOR, 0)
    assert np.array_equal(alone.weight(layers[1]), network.weight(layers[1]))


@pytest.mark.choice(2)
@pytest.mark.parametrize(
    ("key", "model", "layer"), [(CNN_KEY, "fashion-cnn", "conv3"), (DEPTHWISE_KEY, "fashion-depthwise", "dw1")]
)
def test_error_and_noise_are_scored_as_torch_scores_them(key: str, model: str, layer: str) -> None:
    network = load(model)
    steps = noise_study(key, layer, FLOOR).steps()
    found = dict(next(steps) for _ in range(3))
    noisy = with_noise(network, key, [layer], FLOOR, 0).weight(layer)
    for which, weights in {
        (FLOAT, None): {},
        (ALONE, None): {layer: floored(network.weight(layer))},
        (ALONE, 0): {layer: noisy},
    }.items():
        assert found[which].correct == pytest.approx(correct(model, weights), abs=2)
    assert changed_layers(network.layers(), layer) == {ALONE: [layer], EVERY: [*network.layers()]}


@pytest.mark.parametrize(
    ("real", "drawn", "said"),
    [
        (900, [905, 899, 910, 902, 907], "do not tell the error from noise"),
        (300, [880, 890, 900, 870, 910], "**more** harm"),
        (900, [300, 310, 350, 320, 330], "**less** harm"),
        (850, [860, 910, 940, 950, 960], "in 1 of the draws"),
        (850, [650, 700, 940, 950, 960], "in 0 of the draws"),
    ],
)
def test_error_and_noise_differ_only_where_no_interval_overlaps(real: int, drawn: list[int], said: str) -> None:
    found = {(EVERY, None): Accuracy(real, 1000)} | {(EVERY, n): Accuracy(c, 1000) for n, c in enumerate(drawn)}
    ends = [scipy.stats.binomtest(count, 1000).proportion_ci(method="wilson") for count in (real, *drawn)]
    near = sum(one.low <= ends[0].high and ends[0].low <= one.high for one in ends[1:])
    sides = {one.low > ends[0].high for one in ends[1:] if not (one.low <= ends[0].high and ends[0].low <= one.high)}
    wanted = "do not tell" if near == DRAWS else "harm" if near == 0 and len(sides) == 1 else f"in {near} of"
    assert wanted in said
    assert said in verdict(found, EVERY, "conv3", "image")
    rows = rows_of(found, "conv3")
    dots = [trace.x for trace in intervals_figure(rows, Canvas("test")).data]
    assert [list(x) for x in dots] == [[real / 10], [count / 10 for count in drawn]]


def test_the_comparison_waits_for_the_prediction_and_can_be_stopped() -> None:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=60)
    at.switch_page(str(ROOT / "pages" / "lesson_rounding.py")).run()
    assert not any(button.key == "rounding_noise_begin" for button in at.button)
    at.session_state["rounding_show_anyway"] = True
    at.run().button(key="rounding_noise_begin").click()
    at.run().button(key="rounding_noise_stop").click()
    at.run()
    assert not at.exception
    assert any(button.key == "rounding_noise_start" for button in at.button)
    at.session_state["rounding_tensor"] = "layer inputs"
    at.run()
    assert not any(button.key.startswith("rounding_noise") for button in at.button)
