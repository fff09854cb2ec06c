"""What a setting asks of layers, methods or models it was not made for is refused in words, or left out."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest
from torch import nn

from explorer import compute
from explorer.given import _in_words
from explorer.lessons.formats.integer_pixel import followed, terms
from explorer.sources import MODELS, Models, Source, open_tensors
from explorer.state import PlaygroundState
from explorer.tuning.layer_setting import nearest_setting
from quant_engine import (
    E5M2,
    IntFormat,
    LayerPlan,
    MovingAverage,
    Percentile,
    PerToken,
    QuantError,
    QuantizerSpec,
)
from quant_engine.network import Network, from_module
from quant_engine.tasks import Classification
from tests.app.waiting import await_answers

ENTRY = str(pathlib.Path(__file__).parents[2] / "explorer" / "app.py")
PAGES = pathlib.Path(__file__).parents[2] / "pages"


def page(name: str, **link: str) -> AppTest:
    at = AppTest.from_file(ENTRY, default_timeout=120)
    for key, text in link.items():
        at.query_params[key] = text
    return at.switch_page(str(PAGES / f"{name}.py")).run()


@pytest.fixture
def tensors(tmp_path: pathlib.Path) -> Iterator[str]:
    draws = np.random.default_rng(0).standard_normal((8, 32))
    great = draws.copy()
    great[0, 0] = 3.3e38
    np.savez(
        tmp_path / "edges.npz",
        great=great.astype(np.float32),
        small=(1e-8 * draws).astype(np.float32),
        mask=np.triu(np.full((8, 8), np.finfo(np.float32).min), 1),
    )
    MODELS.add("edges", Source(lambda: open_tensors(tmp_path / "edges.npz")))
    yield "edges"
    MODELS.remove("edges")


def test_methods_whose_range_float32_does_not_hold_are_left_out(tensors: str) -> None:
    key, spec = MODELS.key(tensors), QuantizerSpec(IntFormat(4), clipping=Percentile(99.0))
    methods = PlaygroundState().methods
    left = {mark.name for mark in compute.marks(key, "great", 0, spec, methods)}
    assert "percentile" in left
    assert "min–max" not in left
    assert compute.reference_report(key, "great", spec) is None


@pytest.mark.parametrize(
    "link",
    [
        {"tensor": "great", "play_clipping": "percentile", "play_percentile": "99"},
        {"tensor": "small", "play_granularity": "channel", "play_scales": "FP16"},
    ],
)
def test_the_playground_shows_tensors_at_the_ends_of_float32(tensors: str, link: dict[str, str]) -> None:
    at = page("playground", model=tensors, **link)
    assert not at.exception
    assert not at.error


@pytest.mark.parametrize(
    ("lesson", "link"),
    [
        ("formats", {"formats_beat": "Try"}),
        ("bits", {"bits_codes": "unsigned"}),
        ("symmetry", {"symmetry_tensor": "weights", "symmetry_range": "unsigned symmetric"}),
    ],
)
def test_a_lesson_says_in_words_that_it_cannot_tell_of_a_mask(tensors: str, lesson: str, link: dict[str, str]) -> None:
    at = page(f"lesson_{lesson}", model=tensors, tensor="mask", **link)
    assert not at.exception
    assert any("float32" in said.value for said in (*at.info, *at.error))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("kernel", "padding"), [((1, 5), (0, 2)), ((5, 1), (2, 0)), ((2, 2), "same")])
def test_an_output_of_a_kernel_that_is_not_square_is_the_networks_own(kernel: Any, padding: Any) -> None:
    torch.manual_seed(0)
    images = np.random.default_rng(0).random((64, 1, 6, 6)).astype(np.float32)
    module = nn.Sequential(nn.Conv2d(1, 4, kernel, 1, padding), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    network = from_module(module, Classification(images, np.arange(64) % 3), torch.from_numpy(images[:1]))
    MODELS.add("kernel", Source(lambda: network))
    try:
        pixel, real = followed(MODELS.key("kernel"), 8, 32, 0, "0", 2, (3, 4))
        with torch.no_grad():
            expected = module[0](torch.from_numpy(network.data()[0][:1]))[0, 2, 3, 4]
        assert real.output == pytest.approx(float(expected), rel=1e-4, abs=1e-5)
        assert terms(pixel, real, 8)[0]
    finally:
        MODELS.remove("kernel")


@pytest.mark.parametrize(
    "given",
    [
        "format:float,clipping:KL",
        "granularity:channel,scales:E8M0,symmetry:asymmetric",
        "clipping:by hand,hi:-1.0",
        "format:vectors",
    ],
)
def test_home_refuses_in_words_and_shows_what_it_opens_with(given: str) -> None:
    at = AppTest.from_file(ENTRY, default_timeout=120)
    at.query_params["home"] = given
    at = await_answers(at.run())
    assert not at.exception
    assert len(at.error) == 1
    assert len(at.metric) == 3


def test_all_layers_alike_must_be_a_setting_that_there_is() -> None:
    plan = '{"schema":1,"base":{"kind":"NF4","clipping":"KL"},"plain":["conv1","conv2","conv3","fc1","fc2"]}'
    at = page("tuner", model="fashion-cnn", tuner_plan=plan)
    assert not at.exception
    assert any("KL" in error.value for error in (*at.error, *at.warning))


def test_a_plan_that_no_control_says_has_no_setting() -> None:
    for spec in (
        QuantizerSpec(IntFormat(4), scale_format=E5M2),
        QuantizerSpec(IntFormat(4), PerToken()),
        QuantizerSpec(IntFormat(8), clipping=MovingAverage()),
        QuantizerSpec(IntFormat(1, signed=False), symmetric=False),
    ):
        assert nearest_setting(LayerPlan(spec)) is None
    assert nearest_setting(LayerPlan(QuantizerSpec(IntFormat(4)))) is not None


def test_a_model_of_two_names_is_called_by_each(tensors: str) -> None:
    models, network = Models(), MODELS.network(MODELS.key(tensors))
    models.add("first", Source(lambda: network))
    models.add("second", Source(lambda: network))
    first, second = models.key("first"), models.key("second")
    models.remove("first")
    assert models.name(second) == "second"
    with pytest.raises(QuantError, match="no longer open"):
        models.name(first)


def test_a_model_that_cannot_be_opened_is_forgotten_and_said() -> None:
    def missing() -> Network:
        raise QuantError("the pack is not installed any more")

    MODELS.add("gone", Source(missing))
    try:
        at = page("glossary", model="gone")
        assert not at.exception
        assert sum(warning.value.count("not installed any more") for warning in at.warning) == 1
        at = at.switch_page(str(PAGES / "playground.py")).run()
        assert not at.exception
        assert at.selectbox(key="model").value == "fashion-cnn"
    finally:
        MODELS.remove("gone")


def test_what_cannot_be_read_is_refused_in_words() -> None:
    with pytest.raises(QuantError, match=r"'folder' cannot be read: .*denied"), _in_words("folder"):
        raise PermissionError(13, "Permission denied")
