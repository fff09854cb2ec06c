"""The playground opens with the setting that a lesson shows, whichever it is (no browser).

What a lesson shows is worked out from its controls, as in `test_lesson_pages.py`.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer import compute, tensors
from explorer.lessons import LESSONS
from explorer.lessons.compensation.gradients import stepped
from explorer.lessons.compensation.method_progress import setting_of
from explorer.lessons.compensation.method_results import MethodResults
from explorer.lessons.compensation.shown import Compensated
from explorer.lessons.framework.links import is_exact, playground_state
from explorer.lessons.framework.prose import words
from explorer.lessons.framework.scene import Scene
from explorer.snippets import Origin, engine_code
from explorer.state import PlaygroundState
from quant_engine import (
    ACIQ,
    E4M3,
    E8M0,
    FP16,
    FixedRange,
    IntFormat,
    KMeans,
    LayerPlan,
    MinKL,
    MinMax,
    MinMSE,
    PerBlock,
    Percentile,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    ProductCodebook,
    QuantizerSpec,
    fake_quantize,
)
from tests.app.test_lesson_pages import ENTRY, SPECS, TIMEOUT, change, open_lesson
from tests.models import CNN_KEY

pytestmark = pytest.mark.usefixtures("one_model")
PAGES = pathlib.Path(__file__).parents[2] / "pages"
MORE = {  # beside the lesson's presets
    "clipping": [{"beta": 37.5, "bits": 3}],
    "compensation": [{"activations": f"{bits} bits", "bits": 3} for bits in (5, 6, 7)],
    "granularity": [{"scales": "E8M0", "range": "symmetric"}, {"range": "asymmetric", "scales": "float32"}],
    "mixed": [{"plan": "16_2_8_4_5"}],
    "rounding": [{"range": "asymmetric"}],
}


def states(slug: str) -> Iterator[dict[str, object]]:
    """The settings of a lesson: as it opens, by its presets one after the other, and more."""
    yield {}
    yield from (dict(preset.settings) for preset in LESSONS[slug].prose.presets)
    yield from MORE.get(slug, [])


def link_on(at: AppTest) -> tuple[dict[str, str], bool]:
    """The playground's link on a lesson's page, and whether it says that it is exact."""
    found = next(one.proto for one in at.get("page_link") if one.proto.query_string)
    exactly, near = {words()["open_playground"], words()["open_playground_weights"]}, words()["open_playground_near"]
    assert found.label in {*exactly, near}
    return dict(parse_qsl(found.query_string)), found.label in exactly


def opened_by(link: dict[str, str]) -> PlaygroundState:
    """The playground's state that a link sets."""
    return PlaygroundState.read({key: text for key, text in link.items() if key not in ("model", "tensor")})


def clipping_plan(said: dict[str, Any]) -> LayerPlan:
    x = tensors.subject(said["tensor"], CNN_KEY, "conv3", said.get("outlier", 0)).values
    beta, signed = float(np.abs(x).max()) * float(said["beta"]) / 100, bool(x.min() < 0)
    return LayerPlan(QuantizerSpec(IntFormat(int(said["bits"]), signed), clipping=FixedRange(-beta * signed, beta)))


def compensation_plan(said: dict[str, Any]) -> LayerPlan:
    granularity = PerChannel() if said["shared"] == "channel" else PerTensor()
    weight = QuantizerSpec(IntFormat(said["bits"]), granularity, clipping=MinMSE())
    if said["activations"] == "float32":
        return LayerPlan(weight)
    width = int(said["activations"].split()[0])
    return LayerPlan(weight, QuantizerSpec(IntFormat(width, signed=False), symmetric=False, clipping=MinMSE()))


def granularity_plan(said: dict[str, Any]) -> LayerPlan:
    way = {"shorter": "short", "padded": "pad"}[said.get("remainder", "shorter")]
    granularity = {
        "layer": lambda: PerTensor(),
        "channel": lambda: PerChannel(),
        "channel group": lambda: PerChannelGroup(said["channels"], remainder=way),
        "sub-channel": lambda: PerGroup(said["group"], remainder=way),
        "2-D block": lambda: PerBlock(said["rows"], said["columns"], remainder=way),
    }[said["shared"]]()
    scales = {"float32": None, "E8M0": E8M0, "E4M3": E4M3}[said["scales"]]
    clipping = MinMSE() if said["clipping"] == "least MSE" else MinMax()
    return LayerPlan(
        QuantizerSpec(IntFormat(said["bits"]), granularity, said["range"] == "symmetric", clipping, scales)
    )


def mixed_plan(said: dict[str, Any]) -> LayerPlan:
    bits = int(said["plan"].split("_")[2]) if said["plan"] else said["uniform"]
    granularity = PerChannel() if said["shared"] == "channel" else PerTensor()
    return LayerPlan(QuantizerSpec(IntFormat(bits), granularity, clipping=MinMSE()))


PLANS = {
    "clipping": clipping_plan,
    "compensation": compensation_plan,
    "granularity": granularity_plan,
    "mixed": mixed_plan,
}


def shown_on(at: AppTest, slug: str) -> LayerPlan:
    """What a lesson's controls say."""
    fields = [field for field in LESSONS[slug].all_fields if field.key in at.session_state]
    said = {field.key.removeprefix(f"{slug}_"): at.session_state[field.key] for field in fields}
    return PLANS[slug](said) if slug in PLANS else LayerPlan(SPECS[slug](said))


def has(spec: QuantizerSpec) -> bool:
    """Whether the playground has a setting."""
    padded = isinstance(spec.format, IntFormat) and getattr(spec.granularity, "remainder", "short") == "pad"
    return spec.rounding == "nearest" and not padded and spec.format != KMeans(2)


@pytest.mark.parametrize("slug", LESSONS)
def test_the_link_of_a_lesson_opens_the_playground_with_what_the_lesson_shows(slug: str) -> None:
    at = open_lesson(slug)
    exact = 0
    for settings in states(slug):
        for name, value in settings.items():
            at.session_state[f"{slug}_{name}"] = value
        change(at, slug)
        shown, (link, said) = shown_on(at, slug), link_on(at)
        opened = opened_by(link)
        values = compute.matrix(CNN_KEY, link["tensor"])
        plan = opened.layer_plan(opened.spec(float(values.min()), float(values.max())))
        assert (link["model"], link["tensor"]) == ("fashion-cnn", "conv3")
        assert said == has(shown.weight), settings
        exact += said
        if said and isinstance(shown.weight.format, ProductCodebook):  # of one part: the same codewords
            assert np.array_equal(fake_quantize(values, plan.weight), fake_quantize(values, shown.weight)), settings
        elif said:
            assert (plan.weight, plan.activation) == (shown.weight, shown.activation), settings
    assert exact
    page = AppTest.from_file(ENTRY, default_timeout=TIMEOUT)
    for key, text in link.items():
        page.query_params[key] = text
    page.session_state["play_code"] = True  # code is drawn where it is open
    page.run()
    assert not page.exception
    assert not page.warning
    assert page.code[0].value == engine_code(Origin("fashion-cnn", "conv3"), *opened.plans(plan.weight)).strip()


def test_what_the_playground_was_set_to_before_does_not_show_through_a_lessons_link() -> None:
    at = AppTest.from_file(ENTRY, default_timeout=TIMEOUT).switch_page(str(PAGES / "playground.py")).run()
    at.slider(key="play_bits").set_value(7)
    at.selectbox(key="play_activations").set_value("6 bits").run()
    at.switch_page(str(PAGES / "lesson_uniform.py"))
    change(at, "uniform", bits=4, codes="signed", range="symmetric")
    for key, text in link_on(at)[0].items():
        at.query_params[key] = text
    at.switch_page(str(PAGES / "playground.py"))
    at.session_state["play_code"] = True
    at.run()
    assert "QuantizerSpec(IntFormat(4))" in at.code[0].value  # which is what the playground opens with
    at.slider(key="play_bits").set_value(5).run()
    at.switch_page(str(PAGES / "lesson_uniform.py")).run()
    at.query_params.clear()
    at.switch_page(str(PAGES / "playground.py")).run()
    assert at.slider(key="play_bits").value == 5  # without a link it is as it was left


# --- scenes of every kind ---------------------------------------------------------------------------------------------


LINKED = [
    *(
        QuantizerSpec(IntFormat(bits), clipping=clipping)
        for bits in (2, 4, 8)
        for clipping in (MinMax(), Percentile(99.0), MinMSE(), MinKL(), ACIQ("fit"), FixedRange(-0.25, 0.25))
    ),
    QuantizerSpec(IntFormat(3, narrow=True)),
    QuantizerSpec(IntFormat(5, signed=False), symmetric=False),
    QuantizerSpec(IntFormat(5), symmetric=False, clipping=FixedRange(-0.125, 0.3)),
    QuantizerSpec(IntFormat(4, signed=False), clipping=FixedRange(0.0, 0.5)),
    QuantizerSpec(IntFormat(4), PerChannel(0), clipping=MinMSE()),
    QuantizerSpec(IntFormat(4), PerChannelGroup(7, remainder="short"), symmetric=False),
    QuantizerSpec(IntFormat(4), PerGroup(16, remainder="short"), scale_format=E4M3),
    QuantizerSpec(IntFormat(4), PerBlock(4, 3, remainder="short"), scale_format=E8M0),
    QuantizerSpec(KMeans(4)),
    QuantizerSpec(ProductCodebook(4, 16, 2, 1, "pad")),
    QuantizerSpec(ProductCodebook(2, 16, 1, 2, "pad")),
    QuantizerSpec(FP16),
]
NEAREST_ONLY = [
    QuantizerSpec(IntFormat(4), rounding="floor"),
    QuantizerSpec(IntFormat(4), PerGroup(7, remainder="pad")),
    QuantizerSpec(KMeans(2)),
]


def test_a_playground_link_means_the_state() -> None:
    subject = tensors.subject("weights", CNN_KEY, "conv3")
    ends = subject.statistics.lo, subject.statistics.hi
    for spec in [*LINKED, *NEAREST_ONLY]:
        scene = Scene(subject, spec, 62)
        found = opened_by(playground_state(scene).link()).spec(*ends)
        assert is_exact(scene) == (spec in LINKED), spec
        if spec in LINKED and not isinstance(spec.format, ProductCodebook):
            assert found == spec
        if isinstance(spec.format, ProductCodebook):  # of one part: a vector codebook, with the same codewords
            assert np.array_equal(fake_quantize(subject.matrix, found), fake_quantize(subject.matrix, spec))


def test_every_width_of_activations_that_lesson_11_has_is_in_its_link() -> None:
    for weights_at, inputs_at in itertools.product((2, 5), (None, *range(2, 9))):
        setting = setting_of(weights_at, inputs_at, "channel")
        shown = Compensated(MethodResults(CNN_KEY, setting), "conv3", stepped(CNN_KEY, "conv3", weights_at, 100), None)
        subject = tensors.subject("weights", CNN_KEY, "conv3")
        scene = Scene(subject, setting.weight, compensated=shown)
        opened = opened_by(playground_state(scene).link())
        plan = opened.layer_plan(opened.spec(-1.0, 1.0))
        assert (plan.weight, plan.activation, plan.dynamic) == (setting.weight, setting.activation, False)
