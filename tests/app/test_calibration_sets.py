"""Lesson 5's calibration data of the wrong kind: what is drawn, scored and said, held against numpy and torch."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from explorer.lessons.clipping.calibration_sets import (
    ALL,
    FLOAT,
    NOISE,
    ONE,
    rows_of,
    sets_study,
    verdict,
)
from explorer.lessons.framework.prose import read_prose
from explorer.sources import MODELS, Source
from quant_engine.network import Accuracy, from_module, load
from quant_engine.studies import calibration_sets
from quant_engine.studies.calibration_sets import DRAWS
from quant_engine.tasks import Agreement
from tests.engine.foreign import foreign_models
from tests.engine.trained import folded, trained_module
from tests.models import CNN_KEY, DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]
WORDS = read_prose("clipping").laboratory


def correct_after(model: str, calibration: np.ndarray, bits: int) -> int:
    """How many test images torch gets right with every layer's input in the min–max range of some images."""
    layers, whole = folded(trained_module(model))
    images, labels = (torch.from_numpy(part) for part in load(model).data("test"))
    ends: dict[str, tuple[float, float]] = {}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(
            lambda _, given, name=name: (
                ends.setdefault(name, (min(float(given[0].min()), 0.0), float(given[0].max()))) and None
            )
        )
    with torch.inference_mode():
        whole(torch.from_numpy(calibration))
        for name, layer in layers.items():
            scale = np.float32((ends[name][1] - ends[name][0]) / (2**bits - 1))
            zero = float(np.rint(-ends[name][0] / scale))
            layer.register_forward_pre_hook(
                lambda _, given, s=float(scale), z=zero: (
                    ((torch.round(given[0] / s) + z).clamp(0, 2**bits - 1) - z) * s,
                )
            )
        return int((whole(images).argmax(1) == labels).sum())


def test_sets_are_equally_large_and_of_the_kind_that_they_are_called() -> None:
    images, labels = load("fashion-cnn").data("calibration")
    found = calibration_sets(images, labels)
    place = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert {len(one) for sets in found.sets.values() for one in sets} == {found.size}
    assert [len(sets) for sets in found.sets.values()] == [DRAWS] * 3
    classes = [{place[image.tobytes()] for image in one} for one in found.sets[ONE]]
    assert all(len(one) == 1 for one in classes)
    assert len(set.union(*classes)) == DRAWS
    rarest = min(np.bincount(labels)[label] for one in classes for label in one)
    assert found.size == rarest >= max(np.delete(np.bincount(labels), [*set.union(*classes)]))
    assert all(len({place[image.tobytes()] for image in one}) > 5 for one in found.sets[ALL])
    for noise in found.sets[NOISE]:
        assert (noise.mean(), noise.std()) == pytest.approx((images.mean(), images.std()), abs=0.02)


def test_inputs_that_are_numbers_of_tokens_have_no_noise() -> None:
    found = calibration_sets(np.arange(40).reshape(20, 2), np.arange(20) % 2)
    assert (set(found.sets), found.size) == ({ALL, ONE}, 10)


@pytest.mark.choice(2)
@pytest.mark.parametrize(("key", "model"), [(CNN_KEY, "fashion-cnn"), (DEPTHWISE_KEY, "fashion-depthwise")])
def test_ranges_of_each_kind_are_scored_as_torch_scores_them(key: str, model: str) -> None:
    study = sets_study(key, 4)
    found = calibration_sets(*load(model).data("calibration"))
    assert study.total == 1 + 3 * DRAWS
    steps = study.steps()
    kind, plain = next(steps)
    assert (kind, plain) == (FLOAT, load(model).evaluate())
    kind, score = next(steps)
    assert kind == ALL
    assert score.correct == pytest.approx(correct_after(model, found.sets[ALL][0], 4), abs=3)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ([900, 905, 860, 890], [WORDS["sets_level"]]),  # between two sets of all classes, too
        ([900, 700, 910, 650], ["worse than all classes beyond the 95 % intervals in 2 of 4"]),
        ([990, 700, 910, 650], ["worse than all classes", "in 2 of 4", "better than all classes", "in 1 of 4"]),
    ],
)
def test_sets_are_worse_only_where_their_intervals_lie_apart(one: list[int], said: list[str]) -> None:
    found = {ALL: [Accuracy(c, 1000) for c in (900, 820, 905, 908)], ONE: [Accuracy(c, 1000) for c in one]}
    text = verdict(found, "image")
    assert all(part in text for part in said)
    assert ("worse" in text) == any("worse" in part for part in said)
    assert "noise" not in text
    assert [row.title for row in rows_of(found)] == ["all classes (draws: 4)", "one class alone (classes: 4)"]


def test_a_model_without_labels_says_that_it_has_none() -> None:
    module, inputs = foreign_models()["residual"]
    task = Agreement(np.concatenate([inputs.numpy()] * 16))
    MODELS.add("residual", Source(lambda: from_module(module, task, example=inputs)))
    try:
        at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=60)
        at.switch_page(str(ROOT / "pages" / "lesson_clipping.py"))
        at.session_state["model"], at.session_state["clipping_tensor"] = "residual", "layer inputs"
        at.run()
        assert not at.exception
        assert any("residual has no labels" in info.value for info in at.info)
        assert not any(button.key == "clipping_sets_begin" for button in at.button)
    finally:
        MODELS.remove("residual")
