"""Models unlike the built-in ones open on every page: what a page needs and the model lacks is said in a sentence."""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from explorer import compute, model_scores
from explorer.given import offer_given
from explorer.lessons import LESSONS
from explorer.lessons.clipping.calibration import ranges_seen, study_of
from explorer.lessons.framework.scene import Mix
from explorer.lessons.mixed import layer_sensitivity, plans
from explorer.notation import short
from explorer.observing import observed_logits
from explorer.page_table import PAGES
from explorer.sources import MODELS, Source
from explorer.tensors import subject
from quant_engine import IntFormat, LayerPlan, MinMSE, PerChannel, QuantError, QuantizationPlan, QuantizerSpec, fit
from quant_engine.network import from_module, load
from quant_engine.steps import finished
from quant_engine.tasks import Agreement, Classification, NextToken, Transcription
from tests.app.waiting import await_answers
from tests.engine.foreign import ResidualCNN, foreign_models, ragged_reader
from tests.engine.tensor_files import write_npz
from tests.models import CNN_KEY

ROOT = pathlib.Path(__file__).parents[2]
ENTRY = str(ROOT / "explorer" / "app.py")
CHOOSING = ("playground.py",)  # a tensor, as lessons do
SCRIPTS = [page.script for pages in PAGES.values() for page in pages]


@pytest.fixture(autouse=True)
def foreign(tmp_path: pathlib.Path) -> Iterator[None]:
    given = foreign_models()
    write_npz(tmp_path / "tensors.npz")
    assert offer_given(str(tmp_path / "tensors.npz")) == ("tensors.npz", "")
    for name, (module, inputs) in given.items():
        MODELS.add(name, Source(partial(from_module, module, example=inputs)))
    yield
    for name in (*given, "tensors.npz"):
        MODELS.remove(name)


LOOKED_AT = (  # as far as a lesson has steps
    ("residual", "See"),
    ("decoder", "Formula"),
    ("decoder", "Check"),
    ("tensors.npz", "See"),
)


def opened(script: str) -> AppTest:
    return AppTest.from_file(ENTRY, default_timeout=60).switch_page(str(ROOT / "pages" / script))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_page_opens_models_that_it_does_not_know(script: str) -> None:
    at, slug = opened(script), script.removeprefix("lesson_").removesuffix(".py")
    for name, beat in LOOKED_AT:
        at.session_state["model"] = name
        if slug in LESSONS:
            at.session_state[f"{slug}_beat"], at.session_state[f"{slug}_show_anyway"] = beat, True
        at.run()
        assert not at.exception, (name, beat, at.exception[0].message, *at.exception[0].stack_trace)
        if script in CHOOSING or slug in LESSONS:
            chosen = {"tensor": at.session_state["tensor"], **{box.key: box.value for box in at.selectbox}}
            assert (chosen["model"], chosen["tensor"] in MODELS.network(MODELS.key(name)).layers()) == (name, True)


def test_a_model_opens_on_its_largest_layer_that_is_no_embedding() -> None:
    assert MODELS.opening_layer("decoder") == "head"
    assert MODELS.opening_layer("residual") == "stem"


def test_what_a_model_lacks_is_said_where_it_would_stand() -> None:
    at = opened("playground.py")
    at.session_state["model"] = "residual"
    at.run()
    assert "residual has no task, so there is no data to run it on and no score." in [one.value for one in at.caption]
    at = opened("model_card.py")
    at.session_state["model"] = "residual"
    at.run()
    assert any("residual comes without a model card" in one.value for one in at.info)


def test_models_of_one_name_and_other_weights_share_nothing() -> None:
    spec, layer = QuantizerSpec(IntFormat(4)), "head"
    keys = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        MODELS.add("residual", Source(partial(from_module, ResidualCNN())))
        keys.append(MODELS.key("residual"))
    one, other = (compute.outcome(key, layer, spec).report.mse for key in keys)
    assert one != other
    for key in keys:
        x = MODELS.network(key).weight(layer).astype(np.float64)
        step = np.abs(x).max() / 7
        found = compute.outcome(key, layer, spec).report.mse
        assert found == pytest.approx(((np.rint(x / step) * step - x) ** 2).mean(), rel=1e-4)


def test_one_model_under_two_tasks_is_scored_on_each() -> None:
    torch.manual_seed(0)
    module, images = ResidualCNN(), np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype(np.float32)
    found = set()
    for labels in (np.zeros(8, np.int64), np.arange(8) % 5):
        task = Classification({"test": (images, labels)})
        MODELS.add("residual", Source(partial(from_module, module, task)))
        key = MODELS.key("residual")
        right = int((MODELS.network(key).run(images).argmax(axis=1) == labels).sum())
        assert model_scores.scoring("test", key, None).result(30).correct == right
        found.add(key)
    assert len(found) == 2


def test_a_plan_is_fitted_once_and_changes_no_score() -> None:
    weight = QuantizerSpec(IntFormat(3), PerChannel(0), clipping=MinMSE())
    network, plan = load("fashion-cnn"), LayerPlan(weight, QuantizerSpec(IntFormat(8, signed=False), symmetric=False))
    others = LayerPlan(QuantizerSpec(IntFormat(4)))
    _, alone, every = model_scores.accuracies("test", CNN_KEY, "conv3", plan, others).result(60)
    assert alone == network.evaluate(QuantizationPlan({"conv3": plan}))
    assert every == network.evaluate(QuantizationPlan({**dict.fromkeys(network.layers(), others), "conv3": plan}))
    assert model_scores.frozen(CNN_KEY, others) is model_scores.frozen(CNN_KEY, LayerPlan(QuantizerSpec(IntFormat(4))))


def test_lesson_5_calibrates_on_as_many_samples_as_the_task_has() -> None:
    torch.manual_seed(0)
    images = np.random.default_rng(0).standard_normal((24, 3, 8, 8)).astype(np.float32)
    labels = np.arange(24) % 5
    task = Classification({"calibration": (images, labels), "test": (images.copy(), labels)}, unit="scan")
    MODELS.add("residual", Source(partial(from_module, ResidualCNN(), task, torch.from_numpy(images[:1]))))
    key = MODELS.key("residual")
    assert ranges_seen(key, "blocks.0.second", 8).samples == (1, 2, 4, 8, 16, 24)
    study = study_of(key, 8)
    found = list(study.steps())
    assert len(found) == study.total
    assert [samples for _, samples, _ in found] == [0, *3 * [1, 4, 16, 24]]
    at = opened("lesson_clipping.py")
    at.session_state["model"], at.session_state["clipping_show_anyway"] = "residual", True
    at.session_state["clipping_beat"], at.session_state["clipping_tensor"] = "Reveal", "layer inputs"
    at.run()
    assert not at.exception
    assert any("scan" in one.label for one in at.button)


def test_lessons_show_what_a_layer_receives_of_lines_of_several_widths() -> None:
    module, lines = ragged_reader()
    splits = {name: [(x.numpy(), ["a"] * len(x)) for x in lines] for name in ("calibration", "test")}
    network = from_module(module, Transcription(splits, characters="abc"), lines[0])
    MODELS.add("decoder", Source(lambda: network))
    key = MODELS.key("decoder")
    with torch.no_grad():
        received = [module.first(x).relu() for x in lines]
        logits = [module(x) for x in lines]
    wide = max(float(x.max()) for x in received)
    places = torch.cat([x.permute(0, 2, 3, 1).reshape(-1, 4) for x in received])
    assert subject("layer inputs", key, "second").matrix == pytest.approx(places.numpy(), abs=1e-5)
    found = subject("logits", key, "second").matrix
    assert found == pytest.approx(torch.cat([x.reshape(-1, 4) for x in logits]).numpy(), abs=1e-5)
    assert subject("network inputs", key, "second").row == 1
    seen = ranges_seen(key, "second", 8)
    assert seen.samples == (1, 2, 4, 8, 9)
    assert seen.betas["min–max"][-1] == pytest.approx(wide, rel=0.01)
    assert max(seen.batches) == pytest.approx(wide, rel=1e-4)


def test_lesson_8_asks_for_the_noise_of_the_outputs_where_a_task_knows_no_classes() -> None:
    module, lines = ragged_reader()
    splits = {name: [(x.numpy(), ["a"] * len(x)) for x in lines] for name in ("calibration", "test")}
    network = from_module(module, Transcription(splits, characters="abc"), lines[0])
    MODELS.add("decoder", Source(lambda: network))
    at = opened("lesson_mixed.py")
    at.session_state["model"] = "decoder"
    at.run()
    assert not at.exception
    assert any("Which raises the noise of the outputs the most?" in one.label for one in at.radio)
    mix = Mix(MODELS.key("decoder"), "second", "channel", 3, (3,) * len(network.layers()))
    found = layer_sensitivity.rises(mix, 3)
    for layer, rise in found.items():
        changed = copy.deepcopy(module)
        weight = network.weight(layer)
        spec = plans.spec_of(mix, 3)
        rows = weight.reshape(network.layers()[layer].matrix_shape)
        coarse = fit(rows, spec).fake_quantize(rows).reshape(weight.shape)
        changed.get_submodule(layer).weight = torch.nn.Parameter(torch.from_numpy(coarse))
        with torch.no_grad():
            pairs = [(module(x).double(), changed(x).double()) for x in lines]
        noise = sum(float(((a - b) ** 2).sum()) for a, b in pairs) / sum(float((a**2).sum()) for a, _ in pairs)
        assert rise == pytest.approx(noise, rel=1e-3)


def test_lesson_8_offers_a_layer_that_is_the_biggest_and_the_first_once() -> None:
    torch.manual_seed(0)
    images = np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype(np.float32)
    task = Classification({split: (images, np.arange(6) % 5) for split in ("calibration", "test")})
    MODELS.add("residual", Source(partial(from_module, ResidualCNN(), task, torch.from_numpy(images[:1]))))
    at = opened("lesson_mixed.py")
    at.session_state["model"] = "residual"
    at.run()
    [asked] = [one for one in at.radio if one.key == "mixed_prediction"]
    assert [label.split(":")[0] for label in asked.options] == ["The biggest", "The last", "Another one"]
    at = opened("lesson_mixed.py")
    at.session_state["model"], at.session_state["mixed_beat"] = "residual", "See"
    at.session_state["mixed_prediction"] = "first"  # as it was said of another model
    at.run()
    assert not at.exception
    assert any("You predicted: **The first: stem" in one.value for one in at.markdown)


def test_logits_of_a_large_vocabulary_are_those_of_fewer_samples() -> None:
    module, tokens = foreign_models()["decoder"]
    network = from_module(module, Agreement({"calibration": tokens.numpy()}), tokens)
    with torch.no_grad():
        expected = module(tokens).numpy()
    for most, rows in ((7 * 64 * 2 + 100, 2 * 7), (5 * 64 + 10, 5)):
        found = finished(observed_logits(network, most)).reshape(-1, 64)
        assert found == pytest.approx(expected.reshape(-1, 64)[:rows], abs=1e-5)


def test_tokens_are_no_values_to_quantize_which_is_said() -> None:
    module, tokens = foreign_models()["decoder"]
    MODELS.add("decoder", Source(partial(from_module, module, Agreement({"calibration": tokens.numpy()}), tokens)))
    at = opened("lesson_clipping.py")
    at.session_state["model"], at.session_state["clipping_tensor"] = "decoder", "network inputs"
    at.run()
    assert not at.exception
    assert any("the inputs of decoder are numbers of rows" in one.value for one in at.error)
    with pytest.raises(QuantError, match="the inputs of embed are numbers of rows"):
        subject("layer inputs", MODELS.key("decoder"), "embed")


class LastToken(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.model(ids)[:, -1]


def test_a_perplexity_is_not_told_as_a_share() -> None:
    module, tokens = foreign_models()["decoder"]
    MODELS.add("decoder", Source(partial(from_module, module, NextToken(tokens.numpy()), tokens)))
    at = opened("lesson_granularity.py")
    at.session_state["model"], at.session_state["granularity_show_anyway"] = "decoder", True
    await_answers(at.run())
    found = next(one for one in at.metric if one.label == "Float32")
    score = MODELS.network(MODELS.key("decoder")).evaluate()
    assert found.value == short(score.value)
    assert any(one.value.startswith("Perplexity on n = ") for one in at.caption)


def test_layers_that_share_a_weight_are_scored_with_the_same_one() -> None:
    module, ids = foreign_models()["decoder"]
    network = from_module(LastToken(module), Classification({"test": (ids.numpy(), np.zeros(len(ids), np.int64))}))
    MODELS.add("decoder", Source(lambda: network))
    plan = LayerPlan(QuantizerSpec(IntFormat(2)))
    _, alone, _ = model_scores.accuracies("test", MODELS.key("decoder"), "model.head", plan).result(60)
    assert alone == network.evaluate(QuantizationPlan({"model.head": plan, "model.embed": plan}))
