"""Every lesson runs, answers its controls, and knows the right answer and each misconception (no browser).

What is right is worked out again here, with numpy and from the tensor alone.
"""

from __future__ import annotations

import pathlib
import re
import string
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer import tensors
from explorer.compute import SESSION_KEY
from explorer.fields import Choice, Number
from explorer.formulas import ARTICLE, CONVENTIONS, TOOLS, code_formula, value_formula, zero_point_formula
from explorer.lessons import LESSONS
from explorer.lessons.clipping import calibration
from explorer.lessons.framework.model import BEATS, Choices, Lesson, Place
from explorer.lessons.framework.prose import words
from explorer.lessons.framework.scene import Mix, Scene
from explorer.lessons.mixed import plans
from explorer.notation import short
from explorer.observing import OBSERVED
from explorer.page_table import PAGES
from quant_engine import (
    IntFormat,
    KMeans,
    LayerPlan,
    MinMax,
    MinMSE,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    ProductCodebook,
    QuantizationPlan,
    QuantizerSpec,
)
from quant_engine.network import load
from tests.app.waiting import await_answers, task_in
from tests.models import CNN_KEY, DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]
ENTRY = str(ROOT / "explorer" / "app.py")
TIMEOUT = 120
SLUGS = list(LESSONS)
ASKED_OF = "fc1"  # the layer after conv3, on which lessons open


pytestmark = pytest.mark.usefixtures("one_model")


def open_lesson(slug: str, **settings: object) -> AppTest:
    at = AppTest.from_file(ENTRY, default_timeout=TIMEOUT)
    at.switch_page(str(ROOT / "pages" / f"lesson_{slug}.py"))
    return change(at, slug, **settings)


def change(at: AppTest, slug: str, **settings: object) -> AppTest:
    for name, value in settings.items():
        at.session_state[f"{slug}_{name}"] = value
    at.run()
    assert not at.exception
    return at


def known(at: AppTest) -> AppTest:
    """Run the page again until what is worked out in the background is known."""
    end = time.monotonic() + TIMEOUT
    while any(words()["working_out"] in info.value for info in at.info):
        assert time.monotonic() < end, "what is worked out was never known"
        time.sleep(0.1)
        at.run()
    return at


def everything_on(at: AppTest) -> list[str]:
    texts = [element.value for kind in (at.metric, at.markdown, at.caption, at.warning) for element in kind]
    return [*texts, *(radio.label + str(radio.options) for radio in at.radio)]


def formulas_on(at: AppTest) -> list[str]:
    return [text.value for text in at.markdown if text.value.startswith("$")]


def option_labels(at: AppTest) -> list[str]:
    return [str(option) for option in at.radio[0].options]


def weights(layer: str = "conv3") -> np.ndarray:
    return load("fashion-cnn").weight(layer).reshape(-1)


def quantized(x: np.ndarray, bits: int, lo: float, hi: float, symmetric: bool, signed: bool) -> np.ndarray:
    """The obvious slow way, in numpy: codes of x."""
    qmin, qmax = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    scale = np.float32(max(-lo, hi) / qmax if symmetric else (hi - lo) / (qmax - qmin))
    zero = 0 if symmetric else int(np.clip(np.rint(qmin - lo / ((hi - lo) / (qmax - qmin))), qmin, qmax))
    return np.clip(np.rint(x / scale) + zero, qmin, qmax).astype(int)


# --- every lesson -----------------------------------------------------------------------------------------------------


def test_every_lesson_has_a_page_named_after_it() -> None:
    titles = {page.script: page.title for page in PAGES["learn"] if page.script.startswith("lesson_")}
    assert titles == {f"lesson_{slug}.py": f"{lesson.number} {lesson.prose.title}" for slug, lesson in LESSONS.items()}


@pytest.mark.parametrize("slug", SLUGS)
def test_settings_carry_the_lessons_prefix(slug: str) -> None:
    keys = [field.key for field in LESSONS[slug].all_fields]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith(f"{slug}_") for key in keys)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_result_is_hidden_until_a_prediction_is_made(slug: str) -> None:
    at = open_lesson(slug, beat="See")
    assert any(words()["predict_first"] in info.value for info in at.info)
    change(at, slug, beat="Predict")
    at.radio(key=f"{slug}_prediction").set_value(next(iter(LESSONS[slug].prose.predictions)))
    at.run()
    known(change(at, slug, beat="See"))
    assert not any(words()["predict_first"] in info.value for info in at.info)
    assert any(words()["you_predicted"] in text.value for text in at.markdown)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_prediction_outlives_a_visit_to_another_page(slug: str) -> None:
    at = open_lesson(slug)
    chosen = next(iter(LESSONS[slug].prose.predictions))
    at.radio(key=f"{slug}_prediction").set_value(chosen)
    at.run()
    at.switch_page(str(ROOT / "pages" / "playground.py")).run()
    at.switch_page(str(ROOT / "pages" / f"lesson_{slug}.py")).run()
    assert at.radio(key=f"{slug}_prediction").value == chosen


@pytest.mark.parametrize("slug", SLUGS)
def test_teachers_can_show_the_result_without_a_prediction(slug: str) -> None:
    at = open_lesson(slug, beat="See")
    at.toggle[0].set_value(True)
    known(at.run())
    assert not at.exception
    assert any(words()["none"] in text.value for text in at.markdown)


def go_on(at: AppTest, slug: str) -> AppTest:
    at.button(key=f"{slug}_continue").click()
    at.run()
    assert not at.exception
    return at


@pytest.mark.parametrize("slug", SLUGS)
def test_continue_leads_through_all_beats_and_a_step_shows_the_setting_that_it_speaks_of(slug: str) -> None:
    at, sets = open_lesson(slug), LESSONS[slug].sets
    opened = {key: at.session_state[key] for keys in sets.values() for key in keys}
    for beat in BEATS:
        assert at.session_state[f"{slug}_beat"] == beat
        assert {key: at.session_state[key] for key in opened} == {**opened, **sets.get(beat, {})}
        if beat != BEATS[-1]:
            go_on(at, slug)


def test_what_a_step_has_set_is_as_it_was_in_the_next_one_but_for_what_a_hand_has_changed() -> None:
    at = open_lesson("bits", beat="Try", bits=5)
    assert go_on(at, "bits").session_state["bits_bits"] == 8
    assert go_on(at, "bits").session_state["bits_bits"] == 5
    for beat in ("Try", "See"):
        at.segmented_control(key="bits_beat").set_value(beat).run()
    assert at.session_state["bits_bits"] == 8
    change(at, "bits", bits=6)
    assert go_on(at, "bits").session_state["bits_bits"] == 6


def other_values(lesson: Lesson) -> Iterator[tuple[str, object]]:
    for field in (*lesson.fields, *(lesson.chapter.fields if lesson.chapter else ())):
        if field.key.startswith("formats_int_"):
            continue  # a component shows what it does: test_integer_only_lesson
        if isinstance(field, Choice):
            others = [option for option in field.options if option != field.default]
            yield from ((field.key, option) for option in (others if len(others) < 6 else others[:: len(others) // 2]))
        elif isinstance(field, Number):
            if field.min != field.default:
                yield field.key, int(field.min)
            yield field.key, int(field.max) if field.max != field.default else int(field.max) // 2


HEEDED_UNDER = {  # what else must be set for a control to count
    "formats_bits": {"part": "Tensor"},
    "formats_range": {"part": "Tensor"},
    "centroids_seed": {"start": "k-means++"},
    "granularity_channels": {"shared": "channel group"},
    "granularity_group": {"shared": "sub-channel"},
    "granularity_rows": {"shared": "2-D block"},
    "granularity_columns": {"shared": "2-D block"},
    "granularity_remainder": {"shared": "sub-channel", "group": 7},
    "granularity_block": {"shared": "channel"},
    "compensation_activations": {"beat": "Predict"},
}


@pytest.mark.choice(2)
@pytest.mark.parametrize(
    ("slug", "key", "value"), [(slug, key, value) for slug in SLUGS for key, value in other_values(LESSONS[slug])]
)
def test_every_control_changes_what_is_shown(slug: str, key: str, value: object) -> None:
    chapter = LESSONS[slug].chapter
    parts = chapter.parts if chapter else ()
    own = [{"part": part.name} for part in parts if key in {field.key for field in part.own}]
    heeded = own[0] if own else HEEDED_UNDER.get(key, {})
    at = open_lesson(slug, **{"beat": "Formula", "show_anyway": True, **heeded})
    before = everything_on(at)
    at.session_state[key] = value
    at.run()
    assert not at.exception
    assert everything_on(at) != before


@pytest.mark.parametrize("slug", [slug for slug in SLUGS if not LESSONS[slug].whole])
def test_every_lesson_takes_every_tensor_and_shows_every_beat(slug: str) -> None:
    at = open_lesson(slug, show_anyway=True)
    for number, source in enumerate([*tensors.REAL, *tensors.SYNTHETIC]):
        for step in range(2):  # ten visits and more, two beats a tensor, every beat twice
            change(at, slug, tensor=source, beat=BEATS[(2 * number + step) % len(BEATS)])


@pytest.mark.parametrize("slug", SLUGS)
def test_presets_are_settings_of_the_lesson(slug: str) -> None:
    lesson = LESSONS[slug]
    fields = {field.key: field for field in lesson.all_fields}
    for preset in lesson.prose.presets:
        for name, value in preset.settings.items():
            assert fields[f"{slug}_{name}"].accepts(str(value)), preset.label


@pytest.mark.parametrize("slug", SLUGS)
def test_every_preset_can_be_pressed(slug: str) -> None:
    at = open_lesson(slug, beat="Try")
    assert not any(ticked(text.value) for text in at.markdown)  # before anything was done
    for number in range(len(LESSONS[slug].prose.presets)):
        at.button(key=f"{slug}_preset_{number}").click()
        at.run()
        assert not at.exception


# --- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", [slug for slug in SLUGS if slug not in ("clipping", "compensation")])
def test_the_right_option_is_accepted_and_every_wrong_one_is_answered_in_its_own_words(slug: str) -> None:
    at = open_lesson(slug, beat="Check")
    said: dict[str, str] = {}
    for number in range(len(at.radio[0].options)):
        at.radio[0].set_value(option_keys(at)[number])
        at.run()
        assert not at.exception
        boxes = [*at.success, *at.warning]
        assert len(boxes) == 1
        said[option_keys(at)[number]] = boxes[0].value
        assert bool(at.success) == (option_keys(at)[number] == "right")
    assert len(said) >= 3
    assert len(set(said.values())) == len(said)


def option_keys(at: AppTest) -> list[str]:
    """The values behind the labels, in order: AppTest lists the labels only."""
    slug = at.radio[0].key.split("_")[0]
    lesson = LESSONS[slug]
    asked = lesson.question(current_scene(at, slug))
    assert isinstance(asked, Choices)
    assert [option.label for option in asked.options] == option_labels(at)
    return [option.key for option in asked.options]


def current_scene(at: AppTest, slug: str) -> Scene:
    """The scene on display, built anew from the controls."""
    keys = [field.key for field in LESSONS[slug].fields if field.key in at.session_state]
    values = {key.removeprefix(f"{slug}_"): at.session_state[key] for key in keys}
    if LESSONS[slug].whole:
        return network_scene(str(values["shared"]), int(values["uniform"]), plans.read_plan(str(values["plan"])))
    subject = tensors.subject(at.session_state[f"{slug}_tensor"], CNN_KEY, ASKED_OF)
    return Scene(subject, SPECS[slug](values), values.get("place", 50))


SPECS: dict[str, Callable[[dict[str, object]], QuantizerSpec]] = {
    "bits": lambda v: QuantizerSpec(IntFormat(v["bits"], v["codes"] == "signed", v["levels"] == "restricted")),
    "centroids": lambda v: QuantizerSpec(KMeans(1 << v["bits"])),
    "granularity": lambda v: QuantizerSpec(
        IntFormat(v["bits"]),
        {
            "layer": PerTensor(),
            "channel group": PerChannelGroup(v.get("channels", 4), remainder="short"),
            "channel": PerChannel(0),
            "sub-channel": PerGroup(v.get("group", 3), remainder="short"),
        }[str(v["shared"])],
        v["range"] == "symmetric",
        MinMSE() if v["clipping"] == "least MSE" else MinMax(),
    ),
    "formats": lambda v: QuantizerSpec(
        IntFormat(int(v["bits"].split()[0])), clipping=MinMSE() if v["range"] == "least MSE" else MinMax()
    ),
    "uniform": lambda v: QuantizerSpec(
        IntFormat(v["bits"], v["codes"] == "signed"), symmetric=v["range"] == "symmetric"
    ),
    "rounding": lambda v: QuantizerSpec(IntFormat(v["bits"]), symmetric=v["range"] == "symmetric", rounding=v["mode"]),
    "symmetry": lambda v: QuantizerSpec(
        IntFormat(v["bits"], "signed" in v["range"].split()), symmetric="asymm" not in v["range"]
    ),
    "vectors": lambda v: QuantizerSpec(
        ProductCodebook(*(int(v[name]) for name in ("dim", "codewords", "parts", "stages")), remainder="pad")
    ),
}


def network_scene(shared: str = "channel", uniform: int = 4, bits: tuple[int, ...] = ()) -> Scene:
    """The scene of a lesson about a network; without bits, of the uniform plan."""
    mix = Mix(CNN_KEY, "conv3", shared, uniform, bits or (uniform,) * 5)
    return Scene(tensors.subject("network", mix.model, mix.layer), plans.spec_of(mix, mix.bits[2]), mix=mix)


def opening_spec(slug: str) -> QuantizerSpec:
    """A spec as the lesson has it when it is opened."""
    values = {field.key.removeprefix(f"{slug}_"): field.default for field in LESSONS[slug].fields}
    return SPECS.get(slug, lambda v: QuantizerSpec(IntFormat(4)))(values)


def right_label(at: AppTest) -> str:
    return option_labels(at)[option_keys(at).index("right")]


def test_the_number_of_distinct_values_is_numpys() -> None:
    at = open_lesson("bits", beat="Check")
    x = weights(ASKED_OF)
    for bits in (3, 4, 6, 8):
        change(at, "bits", bits=bits)
        reach = float(np.abs(x).max())
        codes = quantized(x, bits, -reach, reach, symmetric=True, signed=True)
        assert right_label(at) == f"{np.unique(codes).size:,}"


@pytest.mark.parametrize("range_", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("place", [0, 37, 62, 100])
def test_the_code_of_a_value_is_numpys(range_: str, place: int) -> None:
    at = open_lesson("uniform", beat="Check", range=range_, place=place, codes="signed")
    x = weights(ASKED_OF)
    lo, hi = float(x.min()), float(x.max())
    r = np.float32(f"{lo + (hi - lo) * place / 100:.4g}")
    for bits in (3, 5):
        change(at, "uniform", bits=bits)
        codes = quantized(np.array([r]), bits, lo, hi, symmetric=range_ == "symmetric", signed=True)
        assert right_label(at) == str(codes[0]).replace("-", "−")


@pytest.mark.parametrize(("kind", "signed"), [("signed symmetric", True), ("unsigned symmetric", False)])
def test_the_share_of_idle_codes_is_numpys(kind: str, signed: bool) -> None:
    x = load("fashion-cnn").activations([ASKED_OF], stop=OBSERVED)[ASKED_OF].reshape(-1)
    at = open_lesson("symmetry", beat="Check", range=kind)
    for bits in (2, 4):
        change(at, "symmetry", bits=bits)
        codes = quantized(x, bits, 0.0, float(x.max()), symmetric=True, signed=signed)
        idle = 100 * (1 - np.unique(codes).size / 2**bits)
        assert float(right_label(at).split()[0]) == pytest.approx(idle, abs=0.06)


def test_a_new_state_asks_a_new_question() -> None:
    at = open_lesson("bits", beat="Check")
    at.radio[0].set_value("right")
    at.run()
    assert at.success
    change(at, "bits", bits=6)
    assert at.radio[0].value is None
    assert not at.success


def test_an_answer_ticks_the_last_step_at_once_and_is_there_when_one_comes_back() -> None:
    at = open_lesson("bits", beat="Check")
    wrong = next(key for key in option_keys(at) if key != "right")
    for key in (wrong, "right"):
        at.radio[0].set_value(key)
        at.run()
        assert ("Check" in ticks(at, "bits")) == (key == "right")
        at.switch_page(str(ROOT / "pages" / "playground.py")).run()
        at.switch_page(str(ROOT / "pages" / "lesson_bits.py")).run()
        change(at, "bits", beat="Check")
        assert at.radio[0].value == key


def test_the_zero_point_is_hidden_while_a_code_is_asked_for_that_may_be_it() -> None:
    for beat, hidden in (("Formula", False), ("Check", True)):
        at = open_lesson("uniform", beat=beat, show_anyway=True)
        assert any("zero point ?" in text.value for text in at.caption) == hidden


def test_the_best_clipping_value_is_scored_by_what_it_costs() -> None:
    x = weights(ASKED_OF).astype(np.float64)
    greatest = np.abs(x).max()
    at = open_lesson("clipping", beat="Check")

    def mse(beta: float) -> float:
        step = beta / 7
        return float(np.mean((np.clip(np.rint(x / step), -8, 7) * step - x) ** 2))

    grid = np.linspace(0.02, 1.0, 400) * greatest
    best = grid[np.argmin([mse(beta) for beta in grid])]
    for part, key in ((best, "right"), (1.8 * best, "too_wide"), (0.5 * best, "too_narrow")):
        percent = round(100 * part / greatest, 1)
        change(at, "clipping", beta=percent)
        next(button for button in at.button if "Check my" in button.label).click()
        at.run()
        assert not at.exception
        said = [*at.success, *at.warning][0].value
        assert said.startswith(LESSONS["clipping"].prose.feedback[key].split("{")[0])
        if key != "right":
            factor = float(said.split("×")[1].split()[0])
            assert factor == pytest.approx(mse(percent / 100 * greatest) / mse(best), rel=0.03)


def test_the_error_is_hidden_while_the_best_place_is_looked_for() -> None:
    at = open_lesson("clipping", beat="Check", show_anyway=True)
    assert not at.table
    next(button for button in at.button if "Check my" in button.label).click()
    assert at.run().table


def test_a_question_is_asked_of_a_tensor_that_the_steps_before_did_not_show() -> None:
    for source in (*tensors.REAL, *tensors.SYNTHETIC):
        asked = tensors.another(source, CNN_KEY, "conv3")
        assert tensors.subject(*asked[:1], CNN_KEY, asked[1]).key != tensors.subject(source, CNN_KEY, "conv3").key
    at = open_lesson("bits", beat="Check", show_anyway=True)
    assert "fc1" in at.radio[0].label
    assert "conv3" not in at.radio[0].label
    menu = at.selectbox(key="tensor")
    assert (menu.label, menu.value) == (words()["tensor_before"], "conv3")
    assert words()["asked_of"].format(tensor="the weights of fc1") in [caption.value for caption in at.caption]
    assert change(at, "bits", beat="See").selectbox(key="tensor").label != menu.label


def test_what_was_asked_for_shows_when_it_is_answered() -> None:
    at = open_lesson("bits", beat="Check", show_anyway=True)
    assert at.metric[0].value.startswith("?")
    at.radio[0].set_value("right")
    assert at.run().metric[0].value.startswith(str(right_label(at)))


def test_puzzles_tick_themselves_and_stay_ticked() -> None:
    at = open_lesson("clipping", beat="Try", show_anyway=True)
    assert [ticked(text.value) for text in at.markdown if ticked(text.value) is not None] == [False, False, False]
    change(at, "clipping", beta=20.0)
    change(at, "clipping", beta=5.0)
    change(at, "clipping", beta=34.0)
    assert [ticked(text.value) for text in at.markdown if ticked(text.value) is not None] == [True, True, False]


def test_no_puzzle_is_solved_by_what_the_step_opens_with() -> None:
    at = AppTest.from_file(ENTRY, default_timeout=TIMEOUT)
    at.query_params.update({"model": "fashion-depthwise", "tensor": "dw1"})
    at.switch_page(str(ROOT / "pages" / "lesson_granularity.py"))
    for settings, alive in (({"bits": 8}, False), ({"bits": 2}, False), ({"bits": 8}, True)):  # "bring back to life"
        change(at, "granularity", beat="Try", shared="layer", **settings)
        assert ticked(next(text.value for text in at.markdown if ticked(text.value) is not None)) == alive


def ticked(text: str) -> bool | None:
    """Whether a puzzle is ticked; None for other text."""
    if not text.startswith(":material/check_box"):
        return None
    return text.startswith(":material/check_box:")


def test_done_steps_have_a_tick() -> None:
    at = open_lesson("clipping")
    assert ticks(at) == []
    at.radio(key="clipping_prediction").set_value("falls")
    at.run()
    at.button(key="clipping_continue").click()
    at.run()
    at.button(key="clipping_continue").click()
    at.run()
    assert ticks(at) == ["Predict", "Try"]
    assert at.session_state["clipping_beat"] == "See"


def ticks(at: AppTest, slug: str = "clipping") -> list[str]:
    """The steps with a tick; a label without its icon is the step's name."""
    options = at.button_group(key=f"{slug}_beat").proto.options
    assert [option.content for option in options] == list(BEATS)
    return [option.content for option in options if option.content_icon == ":material/check:"]


@pytest.mark.parametrize(("old", "new"), [("Act", "Try"), ("Reveal", "See"), ("Question", "Check"), ("See", "See")])
def test_a_step_in_an_older_link_is_still_known(old: str, new: str) -> None:
    at = AppTest.from_file(ENTRY, default_timeout=TIMEOUT)
    at.query_params["clipping_beat"] = old
    at.switch_page(str(ROOT / "pages" / "lesson_clipping.py"))
    at.run()
    assert at.session_state["clipping_beat"] == new
    assert not at.warning


def test_a_place_is_judged_on_both_sides() -> None:
    place = Place("k", 9.0, 4.0, lambda x: 1.0 + (x - 4.0) ** 2)
    assert [place.verdict(x)[0] for x in (1.0, 4.1, 9.0)] == ["too_narrow", "right", "too_wide"]


# --- predictions ------------------------------------------------------------------------------------------------------


def gaussian_scene(spec: QuantizerSpec) -> Scene:
    return Scene(tensors.subject("synthetic Gaussian", CNN_KEY, "conv3"), spec)


def test_predictions_are_decided_by_the_tensor() -> None:
    gaussian = gaussian_scene(QuantizerSpec(IntFormat(4)))
    assert LESSONS["clipping"].prediction(gaussian) == "falls"
    assert LESSONS["uniform"].prediction(gaussian_scene(QuantizerSpec(IntFormat(4), symmetric=False))) == "quarter"
    assert LESSONS["symmetry"].prediction(gaussian) == "same"
    inputs = Scene(tensors.subject("layer inputs", CNN_KEY, "conv3"), QuantizerSpec(IntFormat(4)))
    assert LESSONS["symmetry"].prediction(inputs) == "four"
    x = gaussian.subject.values
    used = np.unique(np.rint(x / (np.abs(x).max() / 127))).size / 256
    expected = "all" if used == 1 else "most" if used >= 0.75 else "half" if used >= 0.5 else "few"
    assert LESSONS["bits"].prediction(gaussian) == expected


# --- tensors ----------------------------------------------------------------------------------------------------------


def test_synthetic_values_never_change_and_say_what_they_are() -> None:
    for source, draw in tensors.SYNTHETIC.items():
        found = tensors.subject(source, CNN_KEY, "conv3")
        np.testing.assert_array_equal(found.values, draw(np.random.default_rng(tensors.SEED)).astype(np.float32))
        assert "synthetic" in found.title
        assert found.values.std() == pytest.approx(1.0, abs=0.05)
        assert not found.values.flags.writeable


def test_an_outlier_replaces_one_value() -> None:
    plain, pulled = (tensors.subject("synthetic Laplace", CNN_KEY, "conv3", outlier) for outlier in (0, 40))
    assert (plain.values != pulled.values).sum() == 1
    assert pulled.values.max() == 40


def test_real_tensors_are_the_networks() -> None:
    network = load("fashion-depthwise")
    images = network.data("calibration")[0][:OBSERVED]
    expected = {
        "weights": network.weight("pw1"),
        "layer inputs": network.activations(["pw1"], stop=OBSERVED)["pw1"],
        "logits": network.run(images),
        "network inputs": images,
    }
    for source, values in expected.items():
        found = tensors.subject(source, DEPTHWISE_KEY, "pw1")
        np.testing.assert_array_equal(found.values, values.reshape(-1))


# --- the convention ---------------------------------------------------------------------------------------------------


def test_both_conventions_write_the_same_code_and_opposite_zero_points() -> None:
    spec = QuantizerSpec(IntFormat(3, signed=False), symmetric=False)
    view = gaussian_scene(spec).view
    tools, article = (zero_point_formula(spec, view, convention) for convention in (TOOLS, ARTICLE))
    assert tools.endswith(f"= {view.zero_point}")
    assert article.endswith(f"= {-view.zero_point}")
    for convention in CONVENTIONS.values():
        assert code_formula(spec, view, 0.5, convention).endswith(code_formula(spec, view, 0.5)[-3:])
    assert f"+ {view.zero_point}" in code_formula(spec, view, 0.5)
    assert f"- ({-view.zero_point})" in code_formula(spec, view, 0.5, ARTICLE)
    assert f"- {view.zero_point})" in value_formula(view, 0.5)
    assert f"+ ({-view.zero_point}))" in value_formula(view, 0.5, ARTICLE)


def test_the_switch_rewrites_the_formulas_of_a_lesson() -> None:
    at = open_lesson("uniform", beat="Formula")
    tools = formulas_on(at)
    at.session_state["convention"] = "article"
    at.run()
    article = formulas_on(at)
    assert any(r"\mathrm{zp}" in text for text in tools)
    assert any(r"\mathrm{Int}" in text for text in article)
    assert not any(r"\mathrm{zp}" in text for text in article)


# --- links and words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", SLUGS)
def test_prose_names_only_numbers_that_the_lesson_computes(slug: str) -> None:
    prose = LESSONS[slug].prose
    scene = network_scene() if LESSONS[slug].whole else gaussian_scene(opening_spec(slug))
    known = {*LESSONS[slug].facts(scene), "tensor", "Tensor", "best", "guess", "ratio"}
    texts = [
        prose.predict,
        *prose.predictions.values(),
        prose.act,
        *prose.puzzles,
        prose.reveal,
        prose.formula,
        prose.question,
    ]
    for text in [*texts, *prose.feedback.values()]:
        assert {name for _, name, _, _ in string.Formatter().parse(text) if name} <= known


@pytest.mark.parametrize("slug", SLUGS)
def test_a_broken_setting_in_a_link_is_said_and_the_default_used(slug: str) -> None:
    at = AppTest.from_file(ENTRY, default_timeout=TIMEOUT)
    at.query_params[f"{slug}_{'uniform' if slug == 'mixed' else 'bits'}"] = "77"
    at.run()
    assert not at.exception
    assert any("77" in warning.value for warning in at.warning)


# --- activations ------------------------------------------------------------------------------------------------------


def test_the_calibration_study_stops_goes_on_and_finds_the_networks_accuracy() -> None:
    at = open_lesson("clipping", tensor="layer inputs", bits=3)
    press_button(at, "Run the study.*")
    press_button(at, words()["study_stop"])
    assert calibration.PLACE not in at.session_state[SESSION_KEY].places
    assert not any(button.label == words()["study_stop"] for button in at.button)
    press_button(at, words()["continue"])
    await_answers(at)
    assert not any(button.label in (words()["study_stop"], words()["continue"]) for button in at.button)
    found = {(name, samples): score for name, samples, score in task_in(at, calibration.PLACE).items}
    network = load("fashion-cnn")
    spec = QuantizerSpec(IntFormat(3, signed=False), symmetric=False)
    dynamic = QuantizationPlan({name: LayerPlan(activation=spec, dynamic=True) for name in network.layers()})
    assert found[calibration.DYNAMIC, 0] == network.evaluate(dynamic)
    static = network.freeze(QuantizationPlan({name: LayerPlan(activation=spec) for name in network.layers()}), 1)
    assert found["min–max", 1] == network.evaluate(static)


def press_button(at: AppTest, label: str) -> None:
    next(button for button in at.button if re.fullmatch(label, button.label)).click()
    at.run()


def test_min_max_only_grows_with_images_and_ends_at_the_greatest_value() -> None:
    seen = calibration.ranges_seen(CNN_KEY, "conv3", 4)
    values = load("fashion-cnn").activations(["conv3"])["conv3"]
    assert list(seen.betas["min–max"]) == sorted(seen.betas["min–max"])
    assert seen.betas["min–max"][-1] == pytest.approx(float(values.max()), rel=1e-3)
    assert max(seen.batches) == pytest.approx(float(values.max()), rel=1e-6)


# --- rounding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "function"), [("nearest", np.rint), ("floor", np.floor), ("ceil", np.ceil), ("zero", np.trunc)]
)
def test_what_comes_back_is_numpys_for_every_rounding(mode: str, function: Callable[[float], float]) -> None:
    at = open_lesson("rounding", beat="Check", mode=mode)
    x = weights(ASKED_OF)
    scale = np.float32(np.abs(x).max() / 7)
    for place in (20, 58, 77):
        change(at, "rounding", place=place)
        r = np.float32(f"{float(x.min()) + float(x.max() - x.min()) * place / 100:.4g}")
        back = float(np.clip(function(r / scale), -8, 7) * scale)
        verdict = "within" if abs(back - r) <= scale / 2 * (1 + 1e-6) else "more than"
        assert right_label(at) == f"{short(back, 4)}; the error is {verdict} S/2"


def test_rounding_down_costs_four_times_the_error() -> None:
    assert LESSONS["rounding"].prediction(gaussian_scene(QuantizerSpec(IntFormat(8)))) == "four"


def test_a_range_without_zero_brings_everything_back_as_one_value() -> None:
    at = open_lesson("rounding")
    table = at.table[0].value
    assert set(table["range [1, 2]"]) == {"1"}
    assert table["range [0, 2]"].tolist() != table["range [1, 2]"].tolist()
