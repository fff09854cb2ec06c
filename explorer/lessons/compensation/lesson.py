"""Lesson 11: winning accuracy back after training, by training on, and without data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from explorer import compute, controls
from explorer.fields import Choice, Number, named
from explorer.formulas import Convention
from explorer.lessons.compensation import code_changes, gradients, synthetic_images
from explorer.lessons.compensation.blind_test import blind_test
from explorer.lessons.compensation.method_comparison import comparison_laboratory, start
from explorer.lessons.compensation.method_progress import CLIPPED, GRANULARITIES, Baselines, accuracy_of, setting_of
from explorer.lessons.compensation.method_results import DATA_FREE, SLUG, MethodResults, described, shared_name
from explorer.lessons.compensation.output_error import Lost, lost_of
from explorer.lessons.compensation.shown import Compensated
from explorer.lessons.framework.fields import SLIDER_WIDTH
from explorer.lessons.framework.model import Awaited, Bench, Choices, Facts, LazyFacts, Lesson, Option, overlap
from explorer.lessons.framework.prose import method_words, read_prose
from explorer.lessons.framework.scene import Scene
from explorer.notation import accuracy, beside, count, latex, share, short, with_interval
from explorer.playground_table import ACTIVATIONS as ACTIVATION_WIDTHS
from explorer.refusals import refusals_said
from explorer.sources import ModelKey
from quant_engine import QuantError
from quant_engine.network import Score

BITS = Number(f"{SLUG}_bits", 2, 8, 3, width=SLIDER_WIDTH)
ACTIVATIONS = Choice(
    f"{SLUG}_activations",
    ACTIVATION_WIDTHS,
    default="8 bits",
    menu=True,
    width=140,
)
SHARED = Choice(f"{SLUG}_shared", named(GRANULARITIES), "channel")
FIELDS = (BITS, ACTIVATIONS, SHARED, code_changes.SHOWN, gradients.STEP)
STEPS = {"none": 0.1, "quarter": 0.4, "half": 0.6, "most": 0.9}  # shares of the loss won back: each less than
UNKNOWN = "…"
LITTLE = 0.01  # of accuracy: less is no loss to speak of


def laboratory(bench: Bench) -> Scene:
    """Draw the race, the codes that changed, the gradients, and where two networks part."""
    with bench.controls:
        bits, activation_bits, shared = controls.show(BITS), controls.show(ACTIVATIONS), controls.show(SHARED)
    setting = setting_of(bits, activation_bits, shared)
    hidden = DATA_FREE if bench.asking else ()
    with st.container():  # one for each part, so that none is drawn in another's place when those before it grow
        raced = comparison_laboratory(bench.model, setting, bench.predicted, hidden)
    with st.container(key="compensation_moved"):
        method = code_changes.code_changes_laboratory(raced, bench.layer, bench.predicted, hidden)
    with st.container(key="compensation_gradients"):
        stepped = gradients.gradients_laboratory(bench.model, bench.layer, bits)
    with st.container(key="compensation_blind"), refusals_said():
        if bench.predicted:
            blind_test(raced)
    with st.container(), refusals_said():
        synthetic_images.synthetic_images_laboratory(bench.model, bench.layer)
    scored = compute.network(bench.model).task is not None
    lost = lost_of(raced, bench.layer) if bench.writing and scored else None
    shown = Compensated(raced, bench.layer, stepped, method, lost)
    return Scene(bench.subject, setting.weight, compensated=shown)


def prediction(scene: Scene) -> str | None:
    """Say how much of what plain rounding loses clipped ranges win back."""
    compute.require_task(_raced(scene).model)
    base = _raced(scene).baselines
    if base is None:
        return None
    regained = base.regained(accuracy_of(base.clipped))
    if regained is None or base.plain.value - accuracy_of(base.nearest).value < LITTLE:
        return "nothing"
    return next((name for name, end in STEPS.items() if regained < end), "all")


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    return LazyFacts(
        {
            "model": lambda: compute.name(_raced(scene).model),
            "layer": lambda: _shown(scene).layer,
            "bits": lambda: str(_raced(scene).setting.weight.format.bits),
            "activations": lambda: _activations(_raced(scene)),
            "shared": lambda: shared_name(_raced(scene).setting),
            "setting": lambda: described(_raced(scene).setting),
            "plain": lambda: _baseline(scene, lambda base: base.plain),
            "nearest": lambda: _baseline(scene, lambda base: accuracy_of(base.nearest)),
            "clipped": lambda: _baseline(scene, lambda base: accuracy_of(base.clipped)),
            "regained": lambda: _regained(_raced(scene).baselines),
            "unit": lambda: compute.sample_unit(_raced(scene).model),
            "n": lambda: count(base.plain.n) if (base := _raced(scene).baselines) else UNKNOWN,
            "standing": lambda: _standing(_raced(scene)),
            "moves": lambda: _moves(_raced(scene)),
            "scores": lambda: _scores(_raced(scene)),
            "tie": lambda: _tie(_raced(scene)),
            "why": lambda: _why(_raced(scene), OPTION_KEYS[_ranked(_raced(scene))[0][0]]),
            **{f"why_{key}": partial(_why_of, scene, key) for key in OPTION_KEYS.values()},
            "weights": lambda: count(scene.subject.values.size),
            "start": lambda: short(_shown(scene).stepped.start),
            "step": lambda: short(_shown(scene).stepped.step),
            "least": lambda: short(_shown(scene).stepped.best),
            "slope": lambda: short(_shown(scene).stepped.slope),
            "lost": lambda: _lost(_shown(scene).lost),
        }
    )


def _baseline(scene: Scene, chosen: Callable[[Baselines], Score]) -> str:
    base = _raced(scene).baselines
    return with_interval(chosen(base)) if base else UNKNOWN


def _regained(base: Baselines | None) -> str:
    if base is None:
        return UNKNOWN
    regained = base.regained(accuracy_of(base.clipped))
    return read_prose(SLUG).laboratory["nothing_lost"] if regained is None else share(regained)


def _activations(raced: MethodResults) -> str:
    activation = raced.setting.activation
    return ACTIVATIONS.held(activation.format.bits if activation else None)


def _standing(raced: MethodResults) -> str:
    """Say what the methods reached that were started by hand, the best first."""
    said = read_prose(SLUG).laboratory
    if not raced.ended:
        return said["standing_none"]
    best = sorted(raced.ended, key=lambda method: -accuracy_of(raced.ended[method]).value)
    return ", ".join(f"{method_words(m).title} {accuracy(accuracy_of(raced.ended[m]).value)}" for m in best)


def _moves(raced: MethodResults) -> str:
    """Say how many codes the best of the methods that were started by hand changed."""
    moved = None if raced.leader is None else raced.moved(raced.leader)
    if raced.leader is None or not moved:
        return ""
    alone = raced.standing.get(CLIPPED)
    tie = alone is not None and overlap(accuracy_of(raced.ended[raced.leader]), accuracy_of(alone))
    said = read_prose(SLUG).laboratory["moves_tie" if tie else "moves"]
    return said.format(method=method_words(raced.leader).title, share=share(moved))


def _scores(raced: MethodResults) -> str:
    """Say what calibration without data scores, and with real data."""
    known = raced.standing
    return ", ".join(
        f"{method_words(method).title} {with_interval(accuracy_of(known[method]))}"
        for method in (*DATA_FREE, CLIPPED)
        if method in known
    )


def _lost(lost: Lost | None) -> str:
    """Say what rounding takes from the layer's outputs."""
    said = read_prose(SLUG).laboratory
    if lost is None:
        return said["lost_awaited"]
    if not lost.nearest:
        return said["lost_nothing"]
    shares = {"nearest": share(lost.nearest / lost.power), "gptq": share(lost.gptq / lost.power)}
    told = said["lost"].format(**shares, ratio=beside(lost.nearest, lost.gptq))
    if lost.learned is None:
        return f"{told} {said['lost_unlearned']}"
    learned = {"learned": share(lost.learned / lost.power), "ratio": beside(lost.nearest, lost.learned)}
    return f"{told} {said['lost_learned'].format(**learned)}"


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out what AdaRound, GPTQ and LSQ minimise, with the numbers of the layer."""
    shown = _shown(scene)
    form, size, stepped = scene.spec.format, scene.subject.values.size, shown.stepped
    start = (
        rf"s_0 = \frac{{2 \, \overline{{|w|}}}}{{\sqrt{{Q_p}}}} = \frac{{2 \cdot "
        rf"{latex(stepped.start * form.qmax**0.5 / 2)}}}{{\sqrt{{{form.qmax}}}}} = {latex(stepped.start)}"
    )
    factor = rf"g = \frac{{1}}{{\sqrt{{N \cdot Q_p}}}} = \frac{{1}}{{\sqrt{{{size} \cdot {form.qmax}}}}} = "
    return (
        r"\frac{\partial \hat v}{\partial v} := 1 \text{ for } Q_n \le v/s \le Q_p, \text{ else } 0",
        r"\frac{\partial \hat v}{\partial s} := \mathrm{round}(v/s) - v/s \text{ inside}, \text{ else } Q_n, Q_p",
        start,
        factor + latex(stepped.factor),
        r"\mathrm{AdaRound}: \; \min_V \, \| W X - \tilde W(V) X \|^2 + "
        rf"\lambda \sum_{{i=1}}^{{{size}}} \left(1 - |2 h(V_i) - 1|^\beta\right)",
        r"\mathrm{GPTQ}: \; \min_{\hat W} \, \| W X - \hat W X \|^2 = "
        r"\mathrm{tr}\left((W - \hat W) \, H \, (W - \hat W)^T\right), \quad H = X X^T",
        *_errors(shown.lost),
    )


def _errors(lost: Lost | None) -> Sequence[str]:
    """Write out the error of the layer's outputs, once it is known."""
    if lost is None:
        return ()
    found = {"nearest": lost.nearest, "GPTQ": lost.gptq, "AdaRound": lost.learned}
    known = (rf"{latex(error)} \; (\mathrm{{{name}}})" for name, error in found.items() if error is not None)
    return (r"\frac{1}{n} \| W X - \hat W X \|^2 = " + r", \quad ".join(known),)


def question(scene: Scene) -> Choices | Awaited:
    """Ask what can be used without data and labels, and comes nearest to real data."""
    said, raced = read_prose(SLUG).laboratory, _raced(scene)
    compute.require_task(raced.model)
    if raced.setting.activation is None:
        settings = {ACTIVATIONS.key: ACTIVATIONS.default}
        return Awaited(said["ask_activations"], said["quantize_activations"], partial(controls.assign, settings))
    missing = [method for method in DATA_FREE if method not in raced.ended]
    if missing or raced.baselines is None:
        return Awaited(said["ask_first"], said["start_free"], partial(start, raced.model, raced.setting, missing))
    (best, _), *others = _ranked(raced)
    keys = {best: "right", **{method: f"tied_{OPTION_KEYS[method]}" for method in _tied(raced)}}
    options = [
        Option(keys.get(method, OPTION_KEYS[method]), _option(raced.model, OPTION_KEYS[method]))
        for method in (best, *dict(others))
    ]
    options += [Option(key, _option(raced.model, key)) for key in ("images", "labels", "nothing")]
    ordered = tuple(sorted(options, key=lambda option: option.label))
    return Choices(ordered, "right", frozenset(keys.values()) - {"right"})


def _ranked(raced: MethodResults) -> list[tuple[str, Score]]:
    """Return what the methods without data score, the best first."""
    known = {method: accuracy_of(raced.ended[method]) for method in DATA_FREE if method in raced.ended}
    return sorted(known.items(), key=lambda pair: -pair[1].value)


def _tied(raced: MethodResults) -> list[str]:
    """Return the methods without data that the test data does not tell apart from the best one."""
    (_, best), *others = _ranked(raced)
    return [method for method, found in others if overlap(found, best)]


def _tie(raced: MethodResults) -> str:
    """Say which methods without data are as good as the best one."""
    said, tied = read_prose(SLUG).laboratory, _tied(raced)
    if not tied:
        return said["no_tie"]
    best, others = _ranked(raced)[0][0], [method_words(method).title for method in tied]
    return said["tie"].format(best=method_words(best).title, others=" and ".join(others))


def _why_of(scene: Scene, key: str) -> str:
    return _why(_raced(scene), key)


def _why(raced: MethodResults, key: str) -> str:
    """Say what a way of calibrating without data rests on; of noise, where it fails."""
    said = read_prose(SLUG).laboratory
    if key != OPTION_KEYS[NOISE]:
        return said["why_data"]
    noise, real = (_on_card(raced.model, method) for method in (NOISE, CLIPPED))
    if noise is None or real is None:
        return said["why_noise_unknown"]
    return said["why_noise"].format(noise=accuracy(noise), real=accuracy(real), model=compute.name(raced.model))


def _on_card(model: ModelKey, method: str) -> float | None:
    """Return what a method scores with weights and activations at four bits, as a mean over its seeds on the card."""
    try:
        rows = compute.card(model).compensation
    except QuantError:
        return None  # a network without a card
    for row in rows:
        if (row.method, row.weight.format.bits, row.activation.format.bits) == (method, FOUR_BITS, FOUR_BITS):
            return sum(found.value for found in row.accuracies) / len(row.accuracies)
    return None


NOISE = "gaussian_data"
OPTION_KEYS = {"batch_norm_ranges": "ranges", NOISE: "noise", "zeroq": "synthetic"}
FOUR_BITS = 4


def _option(model: ModelKey, key: str) -> str:
    return read_prose(SLUG).laboratory[f"option_{key}"].format(unit=compute.sample_unit(model))


def _shown(scene: Scene) -> Compensated:
    assert scene.compensated is not None
    return scene.compensated


def _raced(scene: Scene) -> MethodResults:
    return _shown(scene).raced


LESSON = Lesson(11, SLUG, FIELDS, laboratory, prediction, facts, written, question, source="chosen weight")
