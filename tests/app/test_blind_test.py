"""Lesson 11's blind test: where two networks part, what is asked and said, held against torch and scipy."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from streamlit.testing.v1 import AppTest

from explorer.figures.odds import Sample, odds_figure
from explorer.figures.theme import Canvas
from explorer.lessons.compensation.blind_test import (
    NAME,
    NAMES,
    parting,
    quantized_name,
    samples_of,
    verdict,
)
from explorer.lessons.compensation.method_progress import setting_of
from explorer.lessons.compensation.method_results import MethodResults
from explorer.lessons.framework.prose import read_prose
from explorer.notation import accuracy
from quant_engine import IntFormat, LayerPlan, PerChannel, QuantizationPlan, QuantizerSpec, fake_quantize
from quant_engine.network import load
from tests.app.waiting import await_answers, task_in
from tests.engine.trained import folded, run, trained_module
from tests.models import CNN_KEY, DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]
WORDS = read_prose("compensation").laboratory
SPEC = QuantizerSpec(IntFormat(3), PerChannel(0))


def logits_of(name: str, spec: QuantizerSpec | None) -> np.ndarray:
    layers, whole = folded(trained_module(name))
    with torch.inference_mode():
        for layer in layers.values() if spec else ():
            rows = layer.weight.detach().numpy().reshape(len(layer.weight), -1)
            layer.weight.copy_(torch.from_numpy(fake_quantize(rows, spec)).reshape(layer.weight.shape))
    return run(whole, load(name).data("test")[0])


@pytest.mark.choice(2)
@pytest.mark.parametrize("name", ["fashion-cnn", "fashion-depthwise"])
def test_the_first_samples_on_which_they_part_are_torchs(name: str) -> None:
    network = load(name)
    found = parting(network, QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(SPEC))))
    logits, labels = [logits_of(name, None), logits_of(name, SPEC)], network.data("test")[1]
    plain, changed = (given.argmax(1) for given in logits)
    apart = np.flatnonzero(plain != changed)
    assert found.first.tolist() == apart[:3].tolist()
    for odds, given in zip(found.odds, logits, strict=True):
        assert odds == pytest.approx(scipy.special.softmax(given[apart[:3]], axis=1), abs=1e-3)
    assert found.parted == len(apart)
    assert found.right == tuple(int((answers[apart] == labels[apart]).sum()) for answers in (plain, changed))
    ends = scipy.stats.binomtest(2000 - len(apart), 2000).proportion_ci(method="wilson")
    assert found.agreement.interval == pytest.approx((ends.low, ends.high))
    for guess, start in (("A", "Yes"), ("B", "No")):
        said = verdict(found, guess, "A", "image")
        assert said.startswith(f"{start}: **A** is quantized")
        assert accuracy(1 - len(apart) / 2000) in said
        assert f"on the {len(apart)} where they part: float32 {found.right[0]}, quantized {found.right[1]}" in said
        assert ", ".join(map(str, labels[apart[:3]])) in said
    assert np.array_equal(samples_of(found, "A")[0].odds["A"], found.odds[1][0])
    assert np.array_equal(samples_of(found, "B")[0].odds["A"], found.odds[0][0])


def test_the_setting_does_not_tell_which_name_the_quantized_network_has() -> None:
    settings = [setting_of(bits, 8, shared) for bits in range(2, 9) for shared in ("channel", "layer")]
    names = [quantized_name(MethodResults(key, one)) for one in settings for key in (CNN_KEY, DEPTHWISE_KEY)]
    assert min(names.count(name) for name in NAMES) >= 6


def test_bars_are_the_odds_of_the_likeliest_classes() -> None:
    odds = {"A": np.array([0.1, 0.7, 0.2, 0.0]), "B": np.array([0.6, 0.35, 0.05, 0.0])}
    figure = odds_figure([Sample(7, odds), Sample(9, odds)], Canvas("test"))
    assert {trace.type for trace in figure.data} == {"bar"}
    for trace in figure.data:
        assert list(trace.x) == ["0", "1", "2"]
        assert list(trace.y) == pytest.approx([100 * odds[trace.name][place] for place in range(3)])


def test_nothing_is_said_before_the_guess() -> None:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.session_state["compensation_part"] = "Blind test"
    at.switch_page(str(ROOT / "pages" / "lesson_compensation.py")).run()
    assert not any(button.key == f"{NAME}_begin" for button in at.button)
    at.session_state["compensation_show_anyway"] = True
    await_answers(at.run()).button(key=f"{NAME}_begin").click()
    await_answers(at.run())
    (asked,) = (radio for radio in at.radio if radio.label == WORDS["blind_question"])
    found = task_in(at, NAME).result()
    told = re.compile(r"is quantized\.|Both agree")
    assert not any(told.search(text.value) for text in at.markdown)
    quantized = quantized_name(MethodResults(CNN_KEY, setting_of(3, 8, "channel")))
    asked.set_value(quantized)
    at.run()
    assert not at.exception
    assert verdict(found, quantized, quantized, "image") in [text.value for text in at.markdown]
