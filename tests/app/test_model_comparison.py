"""The page Compare: numbers of both sides are the engine's, and what cannot be compared is said."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer import compute
from explorer.given import offer_given
from explorer.sources import MODELS
from quant_engine import IntFormat, LayerPlan, QuantizationPlan, QuantizerSpec
from quant_engine.studies import compare_paired
from tests.app.waiting import await_answers
from tests.models import DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]


def opened(**link: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    for key, value in link.items():
        at.query_params[key] = value
    at.switch_page(str(ROOT / "pages" / "compare.py")).run()
    assert not at.exception
    return await_answers(at)


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Iterator[tuple[str, str]]:
    weights = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    names = "one.npz", "other.npz"
    np.savez(tmp_path / names[0], a=weights, b=weights[0])
    np.savez(tmp_path / names[1], a=weights.round(1), c=weights[:3])
    for name in names:
        offer_given(str(tmp_path / name))
    yield names
    for name in names:
        MODELS.remove(name)


def test_both_are_measured_on_the_same_samples_and_the_flips_are_listed() -> None:
    at = opened(model="fashion-depthwise", play_bits="5")
    assert "in both: 10, of which 10 differ" in at.markdown[0].value
    at.button(key="compare scores_begin").click()
    at = await_answers(at.run())
    network = compute.network(DEPTHWISE_KEY)
    plan = QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(QuantizerSpec(IntFormat(5)))))
    found = compare_paired(network, None, plan)
    said = " ".join(one.value for one in at.markdown)
    assert f"{len(found.fixed)} fixed, {len(found.broken):,} broken" in said
    hero = next(one for one in at.metric if "accuracy" in one.label)
    points = f"{100 * found.changes['accuracy'].value:.1f}".replace("-", "−")
    assert hero.delta.replace("\u00a0", " ").startswith(f"{points} points (")
    flips = next(table.value for table in at.dataframe if "Sample" in table.value)
    first = max((*found.fixed, *found.broken), key=lambda flip: abs(flip.moved))
    row = flips.iloc[0]
    assert (row["Sample"], row["Right"], (row["First says"], row["Second says"])) == (
        first.sample,
        first.right,
        first.predicted,
    )
    assert row["Input"].startswith("data:image/png;base64,")


def test_a_model_is_the_same_as_itself() -> None:
    at = opened(compare_as="as it is")
    assert "in both: 5, of which 0 differ" in at.markdown[0].value
    at.button(key="compare scores_begin").click()
    at = await_answers(at.run())
    assert any("0 fixed, 0 broken" in one.value for one in at.markdown)


def test_files_without_a_task_are_compared_weight_by_weight(files: tuple[str, str]) -> None:
    at = opened(model=files[0], compare_with=files[1], compare_as="as it is")
    said = at.markdown[0].value
    assert "in both: 1, of which 1 differ" in said
    assert "only in one.npz: 1. Weights only in other.npz: 1." in said
    assert any("no data" in one.value for one in at.caption)
    assert not [one for one in at.button if one.key == "compare scores_begin"]


def test_models_of_different_data_have_their_weights_compared_and_no_score(files: tuple[str, str]) -> None:
    at = opened(model="fashion-cnn", compare_with=files[1])
    assert any("other.npz has no data" in one.value for one in at.caption)
    assert "in both: 0, of which 0 differ" in at.markdown[0].value


def test_the_tuners_plan_is_compared_with_all_layers_alike() -> None:
    at = opened(model="fashion-depthwise")
    at.query_params["tuner_plan"] = '{"base":{"bits":4},"edits":{"dw1":{"bits":8}},"schema":1}'
    at.switch_page(str(ROOT / "pages" / "tuner.py")).run()
    await_answers(at)
    at.query_params["compare_first"] = "quantized"
    at.query_params["compare_as"] = "tuned"
    at.switch_page(str(ROOT / "pages" / "compare.py")).run()
    at = await_answers(at)
    assert not at.exception
    assert "in both: 10, of which 1 differ" in at.markdown[0].value
