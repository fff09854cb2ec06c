"""Lesson 11: winning accuracy back after training, by training on, and without data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import streamlit as st

from explorer import compute, controls
from explorer.fields import Choice, Number, named
from explorer.formulas import Convention
from explorer.lessons.compensation import code_changes, gradients, synthetic_images
from explorer.lessons.compensation.blind_test import blind_test
from explorer.lessons.compensation.data_free import ACTIVATIONS, OPTION_KEYS, question, ranked, scores, tie, why, why_of
from explorer.lessons.compensation.method_comparison import comparison_laboratory, watch
from explorer.lessons.compensation.method_progress import CLIPPED, GRANULARITIES, Baselines, accuracy_of, setting_of
from explorer.lessons.compensation.method_results import DATA_FREE, SLUG, MethodResults, described
from explorer.lessons.compensation.method_runs import results_of
from explorer.lessons.compensation.output_error import Lost, lost_of
from explorer.lessons.compensation.shown import Compensated, raced_of, shown_of
from explorer.lessons.framework.chapter import LAYER, Chapter, Part
from explorer.lessons.framework.fields import SLIDER_WIDTH
from explorer.lessons.framework.model import Bench, Facts, LazyFacts, Lesson, goodness, overlap
from explorer.lessons.framework.prose import method_words, read_prose
from explorer.lessons.framework.scene import Scene
from explorer.notation import beside, count, latex, share, short, shown_score, with_interval
from explorer.refusals import refusals_said
from quant_engine.network import Score

BITS = Number(f"{SLUG}_bits", 2, 8, 3, width=SLIDER_WIDTH)
SHARED = Choice(f"{SLUG}_shared", named(GRANULARITIES), "channel", menu=True, width=124)
STEPS = {"none": 0.1, "quarter": 0.4, "half": 0.6, "most": 0.9}  # shares of the loss won back: each less than
UNKNOWN = "…"
LITTLE = 0.01  # of accuracy: less is no loss to speak of
MOST, HALF, FEWEST_BITS, NEAR = 0.9, 0.5, 2, 0.02  # of the puzzles


def laboratory(bench: Bench) -> Scene:
    """Draw one part: methods compared, codes that changed, gradients, a blind test, made-up images."""
    bits, activation_bits, shared = bench.ask(BITS), bench.ask(ACTIVATIONS), bench.ask(SHARED)
    known = results_of(bench.model, setting_of(bits, activation_bits, shared))
    method = code_changes.shown_method(known.without(_hidden(bench)))
    stepped = gradients.stepped(bench.model, bench.layer, bits, controls.current(gradients.STEP))
    shown = Compensated(known, bench.layer, stepped, method)
    with st.container(key=f"{SLUG}_drawn"), refusals_said():
        bench.part.draw(bench, shown)
    if bench.part.name != METHODS:
        watch(known)
    scored = compute.network(bench.model).task is not None
    lost = lost_of(known, bench.layer) if bench.writing and scored else None
    return Scene(bench.subject, known.setting.weight, compensated=replace(shown, lost=lost))


def _hidden(bench: Bench) -> tuple[str, ...]:
    """Return the methods whose accuracy is asked for."""
    return DATA_FREE if bench.asking else ()


def _methods(bench: Bench, shown: Compensated) -> None:
    comparison_laboratory(shown.raced, bench.predicted, _hidden(bench))


def _codes(bench: Bench, shown: Compensated) -> None:
    code_changes.code_changes_laboratory(bench, shown.raced, shown.method)


def _gradients(bench: Bench, shown: Compensated) -> None:
    gradients.gradients_laboratory(bench, shown.raced.setting.weight.format.bits, shown.stepped)


def _blind(bench: Bench, shown: Compensated) -> None:
    if bench.predicted:
        blind_test(shown.raced)
    else:
        st.info(read_prose(SLUG).laboratory["race_locked"], icon=":material/lock:")


def _made_up(bench: Bench, shown: Compensated) -> None:
    synthetic_images.synthetic_images_laboratory(bench.model, bench.layer)


def prediction(scene: Scene) -> str | None:
    """Say how much of what plain rounding loses clipped ranges win back."""
    compute.require_task(raced_of(scene).model)
    base = raced_of(scene).baselines
    if base is None:
        return None
    regained = base.regained(accuracy_of(base.clipped))
    if regained is None or base.lost < LITTLE:
        return "nothing"
    return next((name for name, end in STEPS.items() if regained < end), "all")


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    return LazyFacts(
        {
            "model": lambda: compute.name(raced_of(scene).model),
            "layer": lambda: shown_of(scene).layer,
            "bits": lambda: str(raced_of(scene).setting.weight.format.bits),
            "setting": lambda: described(raced_of(scene).setting),
            "plain": lambda: _baseline(scene, lambda base: base.plain),
            "nearest": lambda: _baseline(scene, lambda base: accuracy_of(base.nearest)),
            "clipped": lambda: _baseline(scene, lambda base: accuracy_of(base.clipped)),
            "regained": lambda: _regained(raced_of(scene).baselines),
            "unit": lambda: compute.sample_unit(raced_of(scene).model),
            "n": lambda: count(base.plain.n) if (base := raced_of(scene).baselines) else UNKNOWN,
            "standing": lambda: _standing(raced_of(scene)),
            "moves": lambda: _moves(raced_of(scene)),
            "scores": lambda: scores(raced_of(scene)),
            "tie": lambda: tie(raced_of(scene)),
            "why": lambda: why(raced_of(scene), OPTION_KEYS[ranked(raced_of(scene))[0][0]]),
            **{f"why_{key}": partial(why_of, scene, key) for key in OPTION_KEYS.values()},
            "start": lambda: short(shown_of(scene).stepped.start),
            "step": lambda: short(shown_of(scene).stepped.step),
            "least": lambda: short(shown_of(scene).stepped.best),
            "slope": lambda: short(shown_of(scene).stepped.slope),
            "lost": lambda: _lost(shown_of(scene).lost),
        }
    )


def _baseline(scene: Scene, chosen: Callable[[Baselines], Score]) -> str:
    base = raced_of(scene).baselines
    return with_interval(chosen(base)) if base else UNKNOWN


def _regained(base: Baselines | None) -> str:
    if base is None:
        return UNKNOWN
    regained = base.regained(accuracy_of(base.clipped))
    return read_prose(SLUG).laboratory["nothing_lost"] if regained is None else share(regained)


def _standing(raced: MethodResults) -> str:
    """Say what the methods reached that were started by hand, the best first."""
    said = read_prose(SLUG).laboratory
    if not raced.ended:
        return said["standing_none"]
    best = sorted(raced.ended, key=lambda method: -goodness(accuracy_of(raced.ended[method])))
    return ", ".join(f"{method_words(m).title} {shown_score(accuracy_of(raced.ended[m]))}" for m in best)


def _moves(raced: MethodResults) -> str:
    """Say how many codes the best of the methods that were started by hand changed."""
    moved = None if raced.leader is None else raced.moved(raced.leader)
    if raced.leader is None or not moved:
        return ""
    alone = raced.standing.get(CLIPPED)
    tie = alone is not None and overlap(accuracy_of(raced.ended[raced.leader]), accuracy_of(alone))
    said = read_prose(SLUG).laboratory["moves_tie" if tie else "moves"]
    return said.format(method=method_words(raced.leader).title, share=share(moved))


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
    shown = shown_of(scene)
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
        r"\mathrm{tr}\left((W - \hat W) \, H \, (W - \hat W)^T\right)",
        r"H = X X^T",
        *_errors(shown.lost),
    )


def _errors(lost: Lost | None) -> Sequence[str]:
    """Write out the error of the layer's outputs, once it is known."""
    if lost is None:
        return ()
    found = {"nearest": lost.nearest, "GPTQ": lost.gptq, "AdaRound": lost.learned}
    known = (rf"{latex(error)} \; (\mathrm{{{name}}})" for name, error in found.items() if error is not None)
    return (r"\frac{1}{n} \| W X - \hat W X \|^2 = " + r", \quad ".join(known),)


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether a method that was started wins back 90 %, or half at 2 bits, or is near clipping without data."""
    known = raced_of(scene)
    if known.baselines is None:
        return False, False, False
    found = {method: accuracy_of(lap) for method, lap in known.ended.items()}
    lossy = known.baselines.lost >= LITTLE
    most = max((known.baselines.regained(one) or 0.0 for one in found.values() if lossy), default=0.0)
    real = goodness(accuracy_of(known.baselines.clipped)) - NEAR
    free = known.setting.activation is not None and any(goodness(found[m]) >= real for m in DATA_FREE if m in found)
    return most >= MOST, scene.spec.format.bits == FEWEST_BITS and most >= HALF, free


METHODS = "Methods"
SETTING = BITS.key, ACTIVATIONS.key, SHARED.key
CHAPTER = Chapter(
    (
        Part(METHODS, _methods, SETTING, opens=("Predict", "Try", "See", "Check")),
        Part("Codes", _codes, (LAYER, *SETTING), own=(code_changes.SHOWN,)),
        Part("Gradients", _gradients, (LAYER, BITS.key), own=(gradients.STEP,), opens=("Formula",)),
        Part("Blind test", _blind, SETTING),
        Part("Made-up images", _made_up, (LAYER,)),
    ),
    formula=(LAYER, BITS.key, SHARED.key),
)
LESSON = Lesson(
    11,
    SLUG,
    (BITS, ACTIVATIONS, SHARED),
    laboratory,
    prediction,
    facts,
    written,
    question,
    source="chosen weight",
    puzzles=puzzles,
    chapter=CHAPTER,
)
