"""The lesson on compensation: what races, what it says of codes and gradients, and that nothing is left behind.

Methods are stood in for by quick ones that go on when they are told to; the baselines are real.
"""

from __future__ import annotations

import io
import itertools
import math
import pathlib
import threading
import time
import zipfile
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from explorer import compute
from explorer.background import Kind, Scheduler
from explorer.figures.code_changes import DISTANCE_BINS, code_changes_of
from explorer.figures.method_comparison import Lane, comparison_figure, describe_comparison, way_figure
from explorer.figures.theme import Canvas
from explorer.lessons import LESSONS
from explorer.lessons.compensation.code_changes import counted
from explorer.lessons.compensation.data_free import question
from explorer.lessons.compensation.gradients import balanced_step, pull_on, staircase, stepped
from explorer.lessons.compensation.lesson import prediction
from explorer.lessons.compensation.method_comparison import zipped
from explorer.lessons.compensation.method_progress import Baselines, Lap, accuracy_of, baselines, laps, setting_of
from explorer.lessons.compensation.method_results import DATA_FREE, MethodResults, moved_share
from explorer.lessons.compensation.output_error import learned_loss, measured
from explorer.lessons.compensation.shown import Compensated
from explorer.lessons.compensation.synthetic_images import SHOWN, match_of, synthesizing
from explorer.lessons.framework.links import playground_state
from explorer.lessons.framework.model import Awaited, Choices
from explorer.lessons.framework.prose import method_words, read_prose
from explorer.lessons.framework.scene import Scene
from explorer.notation import accuracy, latex, share, short
from explorer.sources import MODELS, Source
from explorer.tensors import subject
from quant_engine import (
    IntFormat,
    LayerPlan,
    MinMSE,
    PerChannel,
    QuantError,
    QuantizationPlan,
    QuantizerSpec,
    fit,
    quantize,
)
from quant_engine.compensation import gptq, layer_error
from quant_engine.methods import METHODS, MethodProgress, Setting, compensate, layer_hessian, uniform_plan
from quant_engine.models import as_builtin
from quant_engine.network import Accuracy, Network, Score, from_module, load
from quant_engine.steps import finished
from quant_engine.tasks import Classification
from tests.models import CNN_KEY

ROOT = pathlib.Path(__file__).parents[2]
WORDS = read_prose("compensation").laboratory
CANVAS = Canvas("test")
LIMIT = 60.0  # seconds
SETTING = setting_of(3, 8, "channel")


class Stepwise:
    """A method of three steps, each of which waits for its turn; its plan is rounding to nearest but for one code."""

    def __init__(self, free: bool = False) -> None:
        self.turns, self.closed, self.begun = threading.Semaphore(1000 if free else 0), threading.Event(), 0

    def __call__(self, network: Network, setting: Setting) -> Iterator[MethodProgress]:
        self.begun += 1
        try:
            plan = network.freeze(uniform_plan(network, setting))
            weight = plan["fc2"].weight.encode(network.weight("fc2"))
            codes = weight.codes.copy()
            codes[0, 0] += 1 if codes[0, 0] < weight.spec.format.qmax else -1
            for step in range(3):
                assert self.turns.acquire(timeout=LIMIT)
                changed = LayerPlan(replace(weight, codes=codes), plan["fc2"].activation)
                yield MethodProgress(
                    step + 1,
                    3,
                    f"step {step}",
                    QuantizationPlan({**plan.layers, "fc2": changed}) if step == 2 else None,
                    loss=1.0 / (step + 1),
                )
        finally:
            self.closed.set()


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> Stepwise:
    stepwise = Stepwise()
    monkeypatch.setitem(METHODS, "adaround", replace(METHODS["adaround"], run=stepwise))
    return stepwise


def open_lesson(**settings: object) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["tensor"] = "fc2"
    at.switch_page(str(ROOT / "pages" / "lesson_compensation.py"))
    return change(at, show_anyway=True, **settings)


def change(at: AppTest, **settings: object) -> AppTest:
    for name, value in settings.items():
        at.session_state[f"compensation_{name}"] = value
    at.run()
    assert not at.exception
    return at


def until(at: AppTest, text: str) -> AppTest:
    """Run the page again, as its clock does, until it says something."""
    end = time.monotonic() + LIMIT
    while not any(text in said for said in said_on(at)):
        assert time.monotonic() < end, f"{text!r} was never said: {said_on(at)}"
        time.sleep(0.1)
        change(at)
    return at


def said_on(at: AppTest) -> list[str]:
    """Everything that the page says, progress bars and tables among it."""
    bars = [element.proto.text for element in at.get("progress")]
    tables = [table.value.to_string() for table in at.table]
    return [text.value for kind in (at.caption, at.info, at.markdown, at.error) for text in kind] + bars + tables


def press(at: AppTest, key: str) -> AppTest:
    at.button(key=f"compensation_{key}").click()
    at.run()
    assert not at.exception
    return at


def score(network: Network, spec: QuantizerSpec, activation: QuantizerSpec) -> Accuracy:
    return network.evaluate(QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(spec, activation))))


# --- the race ---------------------------------------------------------------------------------------------------------


def test_a_method_runs_while_the_page_answers_and_its_result_stays(method: Stepwise) -> None:
    network, plain = compute.network(CNN_KEY), load("fashion-cnn")
    at = open_lesson(beat="See")
    press(at, "start_adaround")
    method.turns.release(2)
    until(at, "AdaRound · step 1: 2 of 3 · loss 0.5")
    change(at, step=200, part="Gradients")
    assert any(metric.label == "Step s" for metric in at.metric)
    change(at, part="Methods")
    assert at.button(key="compensation_start_adaround").disabled
    at.switch_page(str(ROOT / "pages" / "model_card.py")).run()
    assert not at.exception
    method.turns.release(1)
    at.switch_page(str(ROOT / "pages" / "lesson_compensation.py"))
    until(change(at, part="Codes"), "1 of 960 weights")
    change(at, bits=4)
    assert not any("1 of 960 weights" in said for said in said_on(at))
    assert not change(at, part="Methods").button(key="compensation_start_adaround").disabled
    until(change(at, bits=3, part="Codes"), "1 of 960 weights")
    assert method.begun == 1
    assert method.closed.is_set()
    assert all((network.weight(name) == plain.weight(name)).all() for name in plain.layers())
    assert network.evaluate() == plain.evaluate()


def test_a_cancelled_method_leaves_the_page_as_it_was_and_goes_on_when_it_is_started_again(method: Stepwise) -> None:
    at = open_lesson(activations="float32")
    press(at, "start_adaround")
    method.turns.release(1)
    until(at, "AdaRound · step 0: 1 of 3")
    change(at, bits=5)
    until(at, "AdaRound (W3A32, channel) · step 0: 1 of 3")
    press(at, "cancel_all")
    method.turns.release(1)
    change(at, bits=3)
    end = time.monotonic() + LIMIT
    while not at.button(key="compensation_cancel_all").disabled:
        assert time.monotonic() < end
        change(at)
    assert not any("AdaRound ·" in said for said in said_on(at))
    press(at, "start_adaround")
    until(at, "AdaRound · step 1: 2 of 3")
    method.turns.release(1)
    assert method.closed.wait(LIMIT)
    assert method.begun == 1


def test_a_method_that_refuses_says_why_and_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(network: Network, setting: Setting) -> Iterator[MethodProgress]:
        yield MethodProgress(1, 2, "looking")
        network.weight("conv9")

    monkeypatch.setitem(METHODS, "adaround", replace(METHODS["adaround"], run=refusing))
    at = press(open_lesson(), "start_adaround")
    until(at, "fashion-cnn has no layer 'conv9'")
    assert not at.button(key="compensation_start_adaround").disabled
    change(at, bits=4)
    assert not at.error


def test_accuracies_are_hidden_until_a_prediction_is_made() -> None:
    at = open_lesson()
    change(at, show_anyway=False, beat="Predict")
    assert any(WORDS["race_locked"] in info.value for info in at.info)
    assert not at.table


# --- what is measured -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base() -> Baselines:
    return finished(baselines(compute.network(CNN_KEY), SETTING))


def test_the_baselines_are_rounding_to_nearest_in_whole_and_in_clipped_ranges(base: Baselines) -> None:
    network = load("fashion-cnn")
    activation = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
    whole = score(network, QuantizerSpec(IntFormat(3), PerChannel()), activation)
    best = score(
        network, QuantizerSpec(IntFormat(3), PerChannel(), clipping=MinMSE()), replace(activation, clipping=MinMSE())
    )
    assert (accuracy_of(base.nearest), accuracy_of(base.clipped), base.plain) == (whole, best, network.evaluate())
    assert base.regained(best) == pytest.approx((best.value - whole.value) / (base.plain.value - whole.value))


def scene(raced: MethodResults) -> Scene:
    shown = Compensated(raced, "conv3", stepped(CNN_KEY, "conv3", 3, 100), None)
    return Scene(subject("weights", CNN_KEY, "conv3"), raced.setting.weight, compensated=shown)


def lap(correct: int, plan: QuantizationPlan | None = None) -> Lap:
    return Lap(1, 1, "done", 1.0, accuracy=Accuracy(correct, 2000), plan=plan)


@pytest.mark.parametrize(
    ("nearest", "clipped", "key"),
    [
        (1000, 1000, "none"),
        (1000, 1250, "quarter"),
        (1000, 1390, "half"),
        (1000, 1690, "most"),
        (1000, 1860, "all"),
        (1000, 900, "none"),
        (1870, 1875, "nothing"),
        (1880, 1879, "nothing"),
    ],
)
def test_the_prediction_is_the_share_that_clipping_wins_back(nearest: int, clipped: int, key: str) -> None:
    measured = Baselines(Accuracy(1876, 2000), lap(nearest), lap(clipped))
    assert prediction(scene(MethodResults(CNN_KEY, SETTING, measured))) == key
    assert key in LESSONS["compensation"].prose.predictions
    assert prediction(scene(MethodResults(CNN_KEY, SETTING))) is None


@pytest.mark.parametrize(
    ("bits", "ended", "solved"),
    [
        (3, {}, (False, False, False)),
        (3, {"gptq": 1810}, (True, False, False)),  # 900 of 1000 won back
        (3, {"gptq": 1780}, (False, False, False)),
        (2, {"qat": 1450}, (False, True, False)),
        (2, {"qat": 1350, "zeroq": 1661}, (False, True, True)),  # clipped: 1700 of 2000
        (3, {"gaussian_data": 1659}, (False, False, False)),
    ],
)
def test_puzzles_are_solved_by_what_methods_score(bits: int, ended: dict[str, int], solved: tuple[bool, ...]) -> None:
    measured = Baselines(Accuracy(1900, 2000), lap(900), lap(1700))
    laps = {method: lap(correct) for method, correct in ended.items()}
    shown = scene(MethodResults(CNN_KEY, setting_of(bits, 8, "channel"), measured, laps))
    assert LESSONS["compensation"].puzzles(shown) == solved
    lossless = Baselines(Accuracy(1900, 2000), lap(1890), lap(1895))
    nothing = scene(MethodResults(CNN_KEY, setting_of(8, 8, "channel"), lossless, {"gptq": lap(1900)}))
    assert not any(LESSONS["compensation"].puzzles(nothing))


def test_the_question_waits_for_what_it_asks_and_then_takes_the_best_without_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in DATA_FREE:
        monkeypatch.setitem(METHODS, name, replace(METHODS[name], run=Stepwise(free=True)))
    measured = Baselines(Accuracy(1876, 2000), lap(1000), lap(1800))
    waiting = question(scene(MethodResults(CNN_KEY, SETTING, measured, {"gaussian_data": lap(900)})))
    assert isinstance(waiting, Awaited)
    ended = {"gaussian_data": lap(900), "zeroq": lap(1790), "batch_norm_ranges": lap(1700)}
    asked = question(scene(MethodResults(CNN_KEY, SETTING, measured, ended)))
    assert isinstance(asked, Choices)
    assert asked.option("right").label == WORDS["option_synthetic"].format(unit="image")
    assert {option.key for option in asked.options} == {"right", "ranges", "noise", "images", "labels", "nothing"}
    assert all(option.key in LESSONS["compensation"].prose.feedback for option in asked.options)
    tied = question(scene(MethodResults(CNN_KEY, SETTING, measured, {**ended, "batch_norm_ranges": lap(1780)})))
    assert isinstance(tied, Choices)
    assert len(tied.options) == 6
    assert sorted(option.key for option in tied.options if tied.is_right(option.key)) == ["right", "tied_ranges"]
    assert all(option.key in LESSONS["compensation"].prose.feedback for option in tied.options)
    assert not asked.tied
    floating = question(scene(MethodResults(CNN_KEY, setting_of(3, None, "channel"), measured, ended)))
    assert isinstance(floating, Awaited)


def test_the_question_is_not_asked_of_a_network_on_which_a_method_without_data_cannot_run() -> None:
    images = np.zeros((2, 1, 4, 4), np.float32)
    task = Classification({split: (images, np.arange(2)) for split in ("calibration", "test")})
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    MODELS.add("flat", Source(lambda: from_module(module, task, torch.from_numpy(images[:1]))))
    try:
        shown = scene(MethodResults(MODELS.key("flat"), SETTING))
        with pytest.raises(QuantError, match="needs BatchNorm"):
            question(shown)
    finally:
        MODELS.remove("flat")


def test_noise_is_said_to_fail_where_the_model_card_has_it_fail() -> None:
    ended = {"gaussian_data": lap(1769), "zeroq": lap(1759), "batch_norm_ranges": lap(1767)}
    measured = Baselines(Accuracy(1876, 2000), lap(1000), lap(1759))
    shown = scene(MethodResults(CNN_KEY, SETTING, measured, ended))
    said = LESSONS["compensation"].facts(shown)
    assert "BatchNorm" not in said["why"]
    assert "74.7 %" in said["why"]  # (1476 + 1498 + 1506) of 6000
    assert accuracy(1839 / 2000) in said["why"]
    assert said["why_ranges"] == said["why_synthetic"] == WORDS["why_data"]
    asked = question(shown)
    assert isinstance(asked, Choices)
    assert len(asked.tied) == 2


def test_no_method_that_is_asked_for_is_named_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DATA_FREE:
        monkeypatch.setitem(METHODS, name, replace(METHODS[name], run=Stepwise(free=True)))
    at = press(open_lesson(beat="Check"), "awaited")
    until(at, "hidden while you are asked")
    end = time.monotonic() + LIMIT
    while not any(radio.options for radio in at.radio):
        assert time.monotonic() < end
        change(at)
    labels = [button.proto.label for button in at.get("download_button")]
    assert [label for label in labels if label.startswith("Plan")] == ["Plan of clipped"]
    change(at, part="Codes")
    assert any("and after a method" in said for said in said_on(at))


class Clock:
    """A clock that a method moves on, and that scoring moves on by half a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Scored(Network):
    """A network whose scoring takes time."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.calls = clock, 0

    def evaluate(self, plan: QuantizationPlan) -> Accuracy:
        self.clock.now += 0.5
        self.calls += 1
        return Accuracy(self.calls, 2000)


def test_plans_on_the_way_are_scored_in_a_quarter_of_the_time_and_the_last_one_always(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    network, closed = Scored(clock), []

    def work(network: Scored, setting: Setting) -> Iterator[MethodProgress]:
        try:
            for step in range(100):
                clock.now += 0.1
                yield MethodProgress(step + 1, 100, "working", QuantizationPlan())
        finally:
            closed.append(True)

    monkeypatch.setitem(METHODS, "adaround", replace(METHODS["adaround"], run=work, needs=()))
    found = list(laps(network, "adaround", SETTING, clock))
    assert found[-1].accuracy == Accuracy(network.calls, 2000)
    assert found[-1].plan is not None
    assert found[-2].scoring
    assert all(lap.plan is None for lap in found[:-1])
    assert found[-1].seconds == pytest.approx(10.0)  # its own work alone
    assert 4 <= network.calls <= 7  # a quarter of ten seconds, the first one, and the last one
    assert closed == [True]
    stopped = laps(network, "adaround", SETTING, clock)
    next(stopped)
    stopped.close()
    assert closed == [True, True]


def test_every_method_is_described_and_named_for_people() -> None:
    for name in METHODS:
        said = method_words(name)
        assert said.title
        assert said.does.endswith(".")
        assert said.needs


def losses_of(seed: int) -> Generator[float | None, None, None]:
    network, setting = compute.network(CNN_KEY), setting_of(2, 8, "channel", seed)
    for stage in itertools.islice(compensate(network, "qat", setting), 6):
        yield stage.loss


def test_two_sessions_that_train_at_once_learn_what_each_learns_alone() -> None:
    alone = [tuple(losses_of(seed)) for seed in (1, 2)]
    assert alone[0] != alone[1]
    scheduler = Scheduler()
    together = [scheduler.session().start("qat", partial(losses_of, seed), Kind.LONG_RUN) for seed in (1, 2)]
    for run in together:
        run.result(LIMIT)
    assert [run.items for run in together] == alone


# --- images -----------------------------------------------------------------------------------------------------------


def test_images_match_as_what_their_convolutions_give_does() -> None:
    network = load("fashion-cnn")
    norm, images = as_builtin(network.model).norms["conv1"], network.data("calibration")[0][:64]
    outputs = torch.nn.functional.conv2d(torch.from_numpy(images), torch.from_numpy(norm.weight.copy()), padding=1)
    mean, deviation = (part.numpy() for part in (outputs.mean((0, 2, 3)), outputs.std((0, 2, 3), correction=0)))
    found = match_of(network, images, "conv1")
    np.testing.assert_allclose(found.means, mean, atol=1e-5)
    np.testing.assert_allclose(found.deviations, deviation, rtol=1e-4)
    apart = ((mean - norm.mean) ** 2 + (deviation - norm.deviation) ** 2) / norm.deviation**2
    assert found.misses["conv1"] == pytest.approx(apart.mean(), rel=1e-3)


def test_made_up_images_come_nearer_to_the_batch_norms_step_by_step() -> None:
    network = load("fashion-cnn")
    first = list(itertools.islice(synthesizing(network), 8))
    assert [at.done for at in first] == list(range(1, 9))
    assert first[-1].loss < 0.8 * first[0].loss
    assert {len(at.images) for at in first} == {SHOWN}


# --- codes ------------------------------------------------------------------------------------------------------------


def test_jumps_are_counted_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    u = rng.normal(0, 2.5, (40, 7))
    before = np.clip(np.rint(u), -4, 3).astype(np.int64)
    after = np.clip(before + rng.integers(-1, 2, u.shape), -4, 3)
    counts = [np.zeros(8, int), np.zeros(8, int), np.zeros(3, int), *(np.zeros(DISTANCE_BINS, int) for _ in range(2))]
    thresholds = np.arange(-4, 3) + 0.5
    for value, old, new in zip(u.flat, before.flat, after.flat, strict=True):
        counts[0][old + 4] += 1
        counts[1][new + 4] += 1
        counts[2][abs(new - old)] += 1
        nearest = min(abs(value - threshold) for threshold in thresholds)
        place = min(int(nearest * 2 * DISTANCE_BINS), DISTANCE_BINS - 1)
        counts[3][place] += 1
        counts[4][place] += int(new != old)
    found = code_changes_of(u, before, after, (-4, 3))
    assert [part.tolist() for part in found] == [
        part[: len(got)].tolist() for part, got in zip(counts, found, strict=True)
    ]


def test_codes_of_a_layer_are_compared_whether_they_are_fitted_or_given() -> None:
    network = compute.network(CNN_KEY)
    plan = network.freeze(uniform_plan(network, SETTING))
    given = plan["fc2"].weight.encode(network.weight("fc2"))
    codes = given.codes.copy()
    codes[3, :5] = np.where(codes[3, :5] > 0, codes[3, :5] - 2, codes[3, :5] + 2)
    after = LayerPlan(replace(given, codes=codes, scale=given.scale * 2), plan["fc2"].activation)
    found = counted(CNN_KEY, "fc2", plan["fc2"], after)
    assert (found.changed, found.size, found.steps.tolist()) == (5, 960, [955, 0, 5])
    assert found.scales == (2.0, 2.0)
    assert found.moved.sum() == 5
    assert counted(CNN_KEY, "fc2", plan["fc2"], LayerPlan()) is None
    total = sum(info.parameters for info in network.layers().values())
    assert moved_share(CNN_KEY, plan, QuantizationPlan({**plan.layers, "fc2": after})) == 5 / total


def test_the_plan_that_is_downloaded_is_the_plan(tmp_path: pathlib.Path) -> None:
    network = compute.network(CNN_KEY)
    plan = network.freeze(uniform_plan(network, SETTING))
    with zipfile.ZipFile(io.BytesIO(zipped(plan))) as archive:
        archive.extractall(tmp_path)
    loaded = QuantizationPlan.load(tmp_path / "plan.json")
    assert (network.predict(loaded) == network.predict(plan)).all()


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_the_gradients_are_those_of_autograd_with_rounding_passed_straight_through(bits: int) -> None:
    form = IntFormat(bits)
    v = torch.from_numpy(np.random.default_rng(bits).normal(0, 1, 500)).requires_grad_()
    step = torch.tensor(2.0 / form.qmax, dtype=torch.float64, requires_grad=True)
    inside = torch.clamp(v / step, form.qmin, form.qmax)
    v_hat = (inside + (torch.round(inside) - inside).detach()) * step
    by_step = [
        torch.autograd.grad(v_hat[place], step, retain_graph=True)[0].item() for place in range(0, v_hat.numel(), 7)
    ]
    (by_value,) = torch.autograd.grad(v_hat.sum(), v)
    found = staircase(v.detach().numpy(), step.item(), form)
    np.testing.assert_allclose(found[0], v_hat.detach().numpy(), rtol=1e-12)
    np.testing.assert_array_equal(found[1], by_value.numpy())
    np.testing.assert_allclose(found[2][::7], by_step, atol=1e-12)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_gradient_of_the_step_vanishes_close_to_the_least_error(bits: int) -> None:
    values = load("fashion-cnn").weight("conv3").astype(np.float64).ravel()
    form = IntFormat(bits)
    balance = balanced_step(values, form)
    assert pull_on(values, 0.9 * balance, form)[1] < 0 < pull_on(values, 1.1 * balance, form)[1]
    least = fit(values.astype(np.float32), QuantizerSpec(form, clipping=MinMSE())).scale.item()
    assert pull_on(values, balance, form)[0] < 1.1 * pull_on(values, least, form)[0]


def test_lsq_starts_where_the_paper_says() -> None:
    weight = np.abs(load("fashion-cnn").weight("conv3").astype(np.float64))
    found = stepped(CNN_KEY, "conv3", 4, 150)
    assert found.start == pytest.approx(2 * weight.mean() / np.sqrt(7))
    assert found.factor == pytest.approx(1 / np.sqrt(weight.size * 7))
    assert found.step == pytest.approx(1.5 * found.best)


def test_the_formula_tells_what_gptq_saves_of_the_layers_outputs() -> None:
    at = until(open_lesson(beat="Formula"), "by GPTQ in the same ranges")
    network = load("fashion-cnn")
    weight, hessian = network.weight("fc2"), layer_hessian(network, "fc2")
    power = layer_error(weight, np.zeros_like(weight), hessian)
    found = (
        gptq(weight, hessian, SETTING.weight, act_order=True).dequantize(),
        quantize(weight, SETTING.weight).dequantize(),
    )
    saved, nearest = (layer_error(weight, rounded, hessian) for rounded in found)
    (said,) = (caption.value for caption in at.caption if "by GPTQ in the same ranges" in caption.value)
    assert f"loses {share(nearest / power)} of" in said
    assert f"{share(saved / power)}: nearest loses ×{short(nearest / saved)} as much" in said
    formula = next(text.value for text in at.markdown if "(\\mathrm{GPTQ})" in text.value)
    assert latex(nearest) in formula
    assert latex(saved) in formula
    assert "AdaRound is added once" in said


def test_adaround_is_in_the_formula_once_it_is_through_in_the_race() -> None:
    network = load("fashion-cnn")
    plan = network.freeze(uniform_plan(network, SETTING))
    given = plan["fc2"].weight.encode(network.weight("fc2"))
    ended = {"adaround": lap(1800, QuantizationPlan({**plan.layers, "fc2": LayerPlan(given)}))}
    assert learned_loss(MethodResults(CNN_KEY, SETTING), "fc2") is None
    found = learned_loss(MethodResults(CNN_KEY, SETTING, None, ended), "fc2")
    assert found == pytest.approx(measured(CNN_KEY, "fc2", SETTING.weight).nearest)


# --- figures ----------------------------------------------------------------------------------------------------------


def test_lanes_stand_at_their_accuracies_with_intervals_and_floating_point_beside_them() -> None:
    seen = [(0.5, Accuracy(1200, 2000)), (3.0, Accuracy(1800, 2000))]
    lanes = [Lane("nearest", seen[:1], True, True), Lane("QAT", seen), Lane("GPTQ")]
    figure = comparison_figure(lanes, Accuracy(1876, 2000), CANVAS)
    stands = [trace for trace in figure.data if trace.mode == "markers+text"]
    assert [(trace.y[0], trace.text[0]) for trace in stands] == [(0, "60.0 %"), (1, "90.0 %")]
    assert 1 - 10 ** -stands[1].x[0] == pytest.approx(0.9)
    low = 1 - 10 ** -(stands[1].x[0] - stands[1].error_x.arrayminus[0])
    assert low == pytest.approx(seen[1][1].interval[0])
    assert list(figure.layout.yaxis.ticktext) == ["nearest", "QAT", "GPTQ"]
    said = describe_comparison(lanes, Accuracy(1876, 2000))
    assert "QAT so far 90.0 %" in said
    assert "floating point 93.8 %" in said
    three = replace(lanes[1], found=[*seen, seen[1]])
    alone, beside = (way_figure(shown, None, CANVAS).data for shown in ([lanes[0], three], [three, three]))
    assert [len(trace.x) for trace in alone] == [3]
    assert alone[0].line == beside[1].line != beside[0].line
    every = way_figure([three] * len(METHODS), None, CANVAS).data
    assert len({(trace.line.color, trace.line.dash) for trace in every}) == len(METHODS)


def perplexity(value: float) -> Score:
    return Score("perplexity", value, 1696, (value / 2, value * 2), better="lower")


def test_lanes_of_perplexities_stand_at_their_logarithms() -> None:
    seen = [(0.5, perplexity(1e5)), (3.0, perplexity(100.0)), (4.0, perplexity(math.inf))]
    lanes = [Lane("nearest", seen[:1], True, True), Lane("GPTQ", seen[:2]), Lane("QAT", seen)]
    figure = comparison_figure(lanes, perplexity(10.0), CANVAS)
    stands = [trace for trace in figure.data if trace.mode == "markers+text"]
    assert [(trace.x[0], trace.text[0]) for trace in stands[:2]] == [(5.0, short(1e5)), (2.0, "100")]
    assert figure.layout.xaxis.title.text == "perplexity on the test data"
    assert np.isfinite(figure.layout.xaxis.range).all()
    assert way_figure(lanes, perplexity(10.0), CANVAS).layout.yaxis.title.text == "perplexity"
    assert "GPTQ so far 100" in describe_comparison(lanes, None)


def test_of_a_perplexity_what_is_recovered_is_counted_in_cross_entropy_and_lower_is_better() -> None:
    ends = {name: Lap(1, 1, "", 1.0, None, perplexity(value)) for name, value in (("nearest", 1e5), ("clipped", 1e3))}
    measured = Baselines(perplexity(10.0), **ends)
    assert measured.regained(perplexity(1e3)) == pytest.approx(0.5)
    raced = MethodResults(CNN_KEY, SETTING, measured, {"gptq": Lap(1, 1, "", 1.0, None, perplexity(20.0))})
    assert raced.winner == "gptq"
    assert prediction(scene(raced)) == "half"


def test_baselines_say_how_far_they_are(base: Baselines) -> None:
    steps = baselines(compute.network(CNN_KEY), SETTING)
    shares = [next(steps) for _ in range(4)]
    assert shares == sorted(shares)
    assert shares[-1] < 1
    with pytest.raises(StopIteration) as ended:
        next(steps)
    assert ended.value.value.plain == base.plain


def test_numbers_in_the_race_are_clear_of_the_lines() -> None:
    lanes = [Lane("clipped", [(0.0, Accuracy(1700, 2000))], True, True)]
    lanes += [Lane(str(n), [(0.0, Accuracy(n, 2000))], True) for n in (1699, 1701, 1750, 1874, 1880)]
    figure = comparison_figure(lanes, Accuracy(1876, 2000), CANVAS)
    sides = [trace.textposition for trace in figure.data if trace.mode == "markers+text"]
    assert sides == [f"top {side}" for side in ("center", "left", "right", "center", "left", "right")]


@pytest.mark.parametrize("correct", [0, 200, 1999, 2000])
def test_any_accuracy_has_a_place(correct: int) -> None:
    found = Accuracy(correct, 2000)
    figure = comparison_figure([Lane("nearest", [(0.0, found)], True, True)], found, CANVAS)
    assert accuracy(found.value) in str(figure.layout.annotations[0].text)
    assert np.isfinite(figure.layout.xaxis.range).all()
    assert figure.layout.xaxis.range[0] < figure.layout.xaxis.range[1]


def test_the_playground_opens_with_the_setting_of_the_race() -> None:
    found = playground_state(scene(MethodResults("fashion-cnn", setting_of(2, 4, "channel")))).link()
    assert found["play_bits"] == "2"
    assert found["play_clipping"] == "least MSE"
    assert found["play_granularity"] == "channel"
    assert found["play_activations"] == "4 bits"
    assert found["play_calibration"] == "least MSE"
