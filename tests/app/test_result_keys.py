"""What names a result: whatever changes it changes its key, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from explorer.caches import ResultKey
from explorer.lessons.compensation.method_progress import setting_of
from explorer.sources import MODELS
from quant_engine import (
    FixedRange,
    IntFormat,
    LayerPlan,
    PerChannel,
    QuantizationPlan,
    QuantizerSpec,
    edit_ranges,
    fit,
    quantize,
)
from tests.models import CNN_KEY, DEPTHWISE_KEY

X = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)
SPEC = QuantizerSpec(IntFormat(4), PerChannel())


def edited(lo: float) -> LayerPlan:
    return LayerPlan(edit_ranges(X, SPEC, {1: (lo, 1.0)}))


def with_bias(last: float) -> LayerPlan:
    return LayerPlan(quantize(X, SPEC), bias=np.array([0.0, 0.5, last], np.float32))


PLANS = {
    "nothing": LayerPlan,
    "weight": lambda: LayerPlan(SPEC),
    "activation": lambda: LayerPlan(activation=SPEC),
    "dynamic": lambda: LayerPlan(activation=SPEC, dynamic=True),
    "another width": lambda: LayerPlan(replace(SPEC, format=IntFormat(5))),
    "a range by hand": lambda: LayerPlan(replace(SPEC, clipping=FixedRange(-1.0, 1.0))),
    "an edited range": lambda: edited(-1.0),
    "another edited range": lambda: edited(-1.5),
    "fitted": lambda: LayerPlan(fit(X, SPEC)),
    "codes": lambda: LayerPlan(quantize(X, SPEC)),
    "other codes": lambda: LayerPlan(quantize(-2 * X, SPEC)),
    "a bias": lambda: with_bias(1.0),
    "another bias": lambda: with_bias(np.nextafter(np.float32(1), np.float32(2))),
    "an input scale": lambda: LayerPlan(quantize(X, SPEC), input_scale=np.full(4, 2.0, np.float32)),
}


@pytest.mark.parametrize("whole", [False, True], ids=["layer", "network"])
def test_plans_have_one_key_each_and_the_same_plan_the_same(whole: bool) -> None:
    def keys() -> list[ResultKey]:
        made = [make() for make in PLANS.values()]
        return [ResultKey("score", CNN_KEY, QuantizationPlan({"fc2": one}) if whole else one) for one in made]

    first, again = keys(), keys()
    assert first == again
    assert [hash(one) for one in first] == [hash(one) for one in again]
    assert len(set(first)) == len(set(map(str, first))) == len(PLANS)


def test_a_key_tells_questions_models_layers_and_settings_apart() -> None:
    settings = [
        setting_of(bits, width, way) for bits in (2, 8) for width in (None, 2, 8) for way in ("channel", "layer")
    ]
    keys = [
        ResultKey(question, model, layer, setting)
        for question in ("race", "zip")
        for model in (CNN_KEY, DEPTHWISE_KEY)
        for layer in ("conv1", "conv2")
        for setting in settings
    ]
    assert len(set(keys)) == len(keys) == 2 * 2 * 2 * 12


def test_what_a_key_is_about_is_never_run_together() -> None:
    assert ResultKey("q", "a|b") != ResultKey("q", "a", "b")
    assert ResultKey("q", ResultKey("a", "b")) != ResultKey("q", "a", "b")


def test_a_model_is_known_by_its_weights_and_not_by_its_name() -> None:
    for name in MODELS.names():
        assert MODELS.key(name) == MODELS.network(MODELS.key(name)).digest
