"""Lesson 8: mixed precision and sensitivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from explorer import compute, controls
from explorer.fields import Choice, Number, named
from explorer.formulas import Convention
from explorer.lessons.framework.chapter import LAYER, Chapter, Part
from explorer.lessons.framework.model import Bench, Facts, LazyFacts, Lesson
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix, Scene
from explorer.lessons.mixed import layer_sensitivity, plans
from explorer.lessons.mixed.additivity import sum_of_parts
from explorer.lessons.mixed.harm import are_known, better_by, harm, harm_name, is_quick
from explorer.lessons.mixed.next_bit import bytes_text, fall_text, next_bit, question, show_steps
from explorer.lessons.mixed.plan_editor import draw_steppers, draw_table
from explorer.lessons.mixed.plan_vs_uniform import plan_vs_uniform
from explorer.lessons.mixed.plans import FLOAT_BITS, layer_spec, mix_of
from explorer.lessons.mixed.ranking import PROXY, ranking_section
from explorer.lessons.mixed.search import COST, PLAN, search
from explorer.notation import beside, count, latex, latex_text, short
from explorer.refusals import refusals_said
from quant_engine import QuantError
from quant_engine.studies import Trial, rank_correlation, sensitivities

SLUG = "mixed"
SHARED = Choice(f"{SLUG}_shared", named(plans.SHARED), default="channel", menu=True, width=124)
UNIFORM = Number(f"{SLUG}_uniform", 2, 8, 4, width=112)
PREDICTED_BITS = 3
MANY = 8  # layers; of more, the sum of their bytes is abbreviated
NEAR = 1.25  # a ratio of measured to predicted up to which they agree


def laboratory(bench: Bench) -> Scene:
    """Draw one part: the plan against the uniform one, how sensitive layers are, their sum, or the optimiser."""
    mix = _mix(bench, bench.ask(SHARED), bench.ask(UNIFORM))
    with st.container(key=f"{SLUG}_drawn"), refusals_said():
        bench.part.draw(bench, mix)
    return scene_of(bench, mix)


def _plan(bench: Bench, mix: Mix) -> None:
    """Draw the steppers, and the plan against the uniform one."""
    if bench.asking:
        show_steps(mix)
    draw_steppers(mix)
    with refusals_said():
        compute.require_task(mix.model)
        plan_vs_uniform(mix)
    draw_table(mix)


def _together(bench: Bench, mix: Mix) -> None:
    """Draw what layers cost alone beside what they cost together, and whether a ranking knew it."""
    compute.require_task(mix.model)
    with bench.controls:
        at, name = controls.show(layer_sensitivity.AT), controls.show(PROXY)
    if not bench.predicted:
        st.info(_words()["locked"], icon=":material/lock:")
    elif len(mix.bits) > 1:
        sum_of_parts(bench, mix, at)
        ranking_section(bench, mix, at, name)


def scene_of(bench: Bench, mix: Mix) -> Scene:
    """Return what is on display; its spec is that of the chosen layer."""
    return Scene(bench.subject, layer_spec(mix, mix.layer), mix=mix)


def _mix(bench: Bench, shared: str, uniform: int) -> Mix:
    """Return the plan of the address, or the uniform one where that is of another network."""
    layers = len(plans.layers_of(bench.model))
    bits = controls.unshown(PLAN)
    if bits and len(bits) != layers:
        st.info(_words()["other_network"].format(given=len(bits), layers=layers, model=compute.name(bench.model)))
        controls.assign({PLAN.key: ""})
        bits = controls.unshown(PLAN)
    layer = compute.network(bench.model).layers()[bench.layer].tied_to or bench.layer
    return Mix(bench.model, layer, shared, uniform, bits or (uniform,) * layers)


def _words() -> dict[str, str]:
    return dict(read_prose(SLUG).laboratory)


# --- what is asked and said -------------------------------------------------------------------------------------------


def _tried(scene: Scene) -> dict[str, float]:
    """Return the harm that each layer does alone, as the prediction speaks of it: with one scale a channel."""
    return layer_sensitivity.rises(replace(mix_of(scene), shared="channel"), PREDICTED_BITS)


def _is_measured(scene: Scene) -> bool:
    model = mix_of(scene).model
    return is_quick(model) or are_known(model, "channel", PREDICTED_BITS)


def most_sensitive(scene: Scene) -> str:
    """Return the layer that the network minds most."""
    found = _tried(scene)
    return max(found, key=lambda layer: found[layer])


def prediction(scene: Scene) -> str | None:
    """Say which layer is the most sensitive, None until that is measured of a large network."""
    if not _is_measured(scene):
        return None
    return _predicted_layers(scene).get(most_sensitive(scene), "other")


def _predicted_layers(scene: Scene) -> dict[str, str]:
    """Return the prediction that names a layer; where several do, the biggest comes before the first and the last."""
    layers = list(plans.layers_of(mix_of(scene).model))
    return {layers[-1]: "last", layers[0]: "first", layer_sensitivity.biggest(mix_of(scene)): "biggest"}


def repeated(scene: Scene) -> set[str]:
    """Return the predictions whose layer another one names already."""
    return {"biggest", "first", "last"} - set(_predicted_layers(scene).values())


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes; those that take measuring are measured when they are asked for."""
    mix = mix_of(scene)
    layers = plans.layers_of(mix.model)
    names, big = list(layers), layer_sensitivity.biggest(mix)
    at = mix.bits[names.index(mix.layer)]

    def rank() -> str:
        found = _tried(scene)
        return str(sorted(found, key=lambda layer: -found[layer]).index(big) + 1)

    return LazyFacts(
        {
            "model": lambda: compute.name(mix.model),
            "loss": lambda: harm_name(mix.model),
            "layers": lambda: str(len(names)),
            "biggest": lambda: big,
            "biggest_weights": lambda: count(layers[big].parameters),
            "first": lambda: names[0],
            "first_weights": lambda: count(layers[names[0]].parameters),
            "last": lambda: names[-1],
            "tried": lambda: str(PREDICTED_BITS),
            "most": lambda: most_sensitive(scene),
            "most_rise": lambda: short(_tried(scene)[most_sensitive(scene)]),
            "most_weights": lambda: count(layers[most_sensitive(scene)].parameters),
            "biggest_rise": lambda: short(_tried(scene)[big]),
            "rank": rank,
            "weight_error": lambda: _weight_error(scene),
            "apart": lambda: _apart(scene),
            "orders": lambda: _orders(scene),
            "layer": lambda: mix.layer,
            "at": lambda: "FP16" if at == FLOAT_BITS else f"{at} bits",
            "uniform": lambda: str(mix.uniform),
            "next": lambda: next_bit(scene) or "none",
            "next_fall": lambda: fall_text(scene, next_bit(scene)),
            "next_bytes": lambda: bytes_text(scene, next_bit(scene)),
        }
    )


def _weight_error(scene: Scene) -> str:
    """Say whether the layer with the largest error of its weights is the most sensitive one."""
    mix = replace(mix_of(scene), shared="channel")  # as predicted
    spec = plans.spec_of(mix, PREDICTED_BITS)
    errors = {layer: compute.outcome(mix.model, layer, spec).report.mse for layer in _layers(mix)}
    worst = max(errors, key=lambda layer: errors[layer])
    name = "weight_error_same" if worst == most_sensitive(scene) else "weight_error_other"
    return _words()[name].format(layer=worst)


def _apart(scene: Scene) -> str:
    """Say how far the measured rise of the loss is from the predicted one, and why."""
    mix = mix_of(scene)
    expected = layer_sensitivity.predicted_now(mix, mix.layer, scene.spec).loss_increase
    measured = _alone(mix, mix.layer)
    if measured is None:
        return ""
    if measured <= 0 or expected <= 0:
        return _words()["apart_odd"]
    ratio = measured / expected
    name = "apart_near" if 1 / NEAR <= ratio <= NEAR else "apart_far"
    return _words()[name].format(ratio=beside(measured, expected))


def _orders(scene: Scene) -> str:
    """Say in which order layers are predicted to raise the loss, and in which they do."""
    mix = mix_of(scene)
    spec = plans.spec_of(mix, PREDICTED_BITS)
    if not (is_quick(mix.model) or are_known(mix.model, mix.shared, PREDICTED_BITS)):
        return _words()["not_yet"]
    measured = layer_sensitivity.rises(mix, PREDICTED_BITS)
    predicted = {layer: layer_sensitivity.predicted_now(mix, layer, spec).loss_increase for layer in measured}
    said = {"predicted": predicted, "measured": measured}
    return _words()["orders"].format(
        tried=PREDICTED_BITS,
        correlation=short(rank_correlation(predicted, measured), 2),
        **{name: ", ".join(sorted(found, key=lambda layer: -found[layer])) for name, found in said.items()},
    )


def _layers(mix: Mix) -> list[str]:
    return list(plans.layers_of(mix.model))


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out the predicted rise of the loss of the chosen layer, beside the measured one, and the budget."""
    mix = mix_of(scene)
    sizes = [row["bytes"] for row in plans.plan_rows(mix)]
    relation = r"\le" if sum(sizes) <= plans.budget_of(mix) else ">"
    return (
        r"\Delta L \approx \tfrac12\, \delta^\top H\, \delta \approx \tfrac12 \sum_i F_i\, \delta_i^2, \qquad "
        r"\delta = \hat w - w, \quad F_i = \frac1n \sum_n \left(\frac{\partial L_n}{\partial w_i}\right)^2",
        *_expected(scene),
        r"\sum_\ell \mathrm{bytes}_\ell(b_\ell) = "
        + " + ".join(str(size) for size in (sizes if len(sizes) <= MANY else [*sizes[:2], r"\cdots", sizes[-1]]))
        + rf" = {sum(sizes)} {relation} {plans.budget_of(mix)}",
    )


def _expected(scene: Scene) -> Sequence[str]:
    """Write out the chosen layer's predicted rise of the loss beside the measured one, where it can be predicted."""
    mix = mix_of(scene)
    try:
        expected = layer_sensitivity.predicted_now(mix, mix.layer, scene.spec).loss_increase
    except QuantError:  # the words under the formula say why
        return ()
    n, at = plans.layers_of(mix.model)[mix.layer].parameters, mix.bits[_layers(mix).index(mix.layer)]
    measured = _alone(mix, mix.layer)
    return (
        rf"{latex_text(mix.layer)},\; b = {at}: \quad \tfrac12 \cdot {n} \cdot {latex(2 * expected / n)} "
        rf"= {latex(expected)} \qquad \text{{measured }} {latex_text('…') if measured is None else latex(measured)}",
    )


def _alone(mix: Mix, layer: str) -> float | None:
    """Return by how much the loss rises with one layer alone as the plan has it, None if that is not at hand."""
    found, trial = plans.findings(mix.model, mix.shared), Trial(layer, layer_spec(mix, layer))
    known = found.trials
    if not is_quick(mix.model) and (trial.key not in known or () not in found.plans):
        return None
    for _ in sensitivities(plans.network_of(mix), [trial], known):
        pass
    return harm(known[trial.key], layer_sensitivity.plain_of(mix))


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether the plan, within the budget, has a layer in FP16, is ahead, and is as good with a tenth fewer bytes.

    Accuracies count once they are measured.
    """
    mix, known = mix_of(scene), plans.findings(mix_of(scene).model, mix_of(scene).shared).plans
    size, budget = plans.size_of(mix), plans.budget_of(mix)
    yours, uniform = (known.get(bits) for bits in (mix.bits, plans.uniform(mix).bits))
    ahead = better_by(yours.score, uniform.score) if yours and uniform else -1.0
    return size <= budget and FLOAT_BITS in mix.bits, size <= budget and ahead > 0, size <= 0.9 * budget and ahead >= 0


BUDGET = SHARED.key, UNIFORM.key
CHAPTER = Chapter(
    (
        Part("Plan", _plan, BUDGET, opens=("Predict", "Try", "Check")),
        Part("Layers", layer_sensitivity.survey, (SHARED.key,), own=layer_sensitivity.FIELDS, opens=("See", "Formula")),
        Part("Together", _together, (SHARED.key,), own=(PROXY,)),
        Part("Optimiser", search, BUDGET, own=(COST,)),
    ),
    formula=(LAYER, *BUDGET),
)
LESSON = Lesson(
    8,
    SLUG,
    (SHARED, UNIFORM, PLAN),
    laboratory,
    prediction,
    facts,
    written,
    question,
    source="network",
    puzzles=puzzles,
    repeated=repeated,
    chapter=CHAPTER,
)
