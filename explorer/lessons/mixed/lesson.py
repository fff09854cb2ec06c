"""Lesson 8: mixed precision and sensitivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from explorer import charts, compute, controls
from explorer.fields import Choice, Number, named
from explorer.formulas import Convention
from explorer.lessons.framework.fields import SLIDER_WIDTH
from explorer.lessons.framework.model import Bench, Choices, Facts, LazyFacts, Lesson, Option
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix, Scene
from explorer.lessons.mixed import layer_sensitivity, plans
from explorer.lessons.mixed.additivity import sum_of_parts
from explorer.lessons.mixed.plan_vs_uniform import plan_vs_uniform
from explorer.lessons.mixed.plans import FLOAT_BITS, WIDTHS
from explorer.lessons.mixed.ranking import PROXY, rank_correlation, ranking_section
from explorer.lessons.mixed.search import COST, PLAN, search
from explorer.notation import beside, count, latex, short
from explorer.refusals import refusals_said
from explorer.steppers import StepperRow, steppers
from quant_engine import QuantizerSpec
from quant_engine.studies import Trial, sensitivities

SLUG = "mixed"
SHARED = Choice(
    f"{SLUG}_shared",
    named(plans.SHARED),
    default="channel",
)
UNIFORM = Number(
    f"{SLUG}_uniform", 2, 8, 4, width=SLIDER_WIDTH,
)  # fmt: skip
PREDICTED_BITS = 3
NEAR = 1.25  # a ratio of measured to predicted up to which they agree


def laboratory(bench: Bench) -> Scene:
    """Draw the steppers and the duel, each layer's sensitivity and their sum, and what the optimiser finds."""
    with bench.controls:
        shared, uniform = controls.show(SHARED), controls.show(UNIFORM)
    mix = _mix(bench, shared, uniform)
    _steppers(mix)
    with refusals_said():
        compute.require_task(mix.model)
        plan_vs_uniform(mix)
    _table(mix)
    with refusals_said():
        compute.require_task(mix.model)
        at = layer_sensitivity.survey(bench, mix)
        if bench.predicted and len(mix.bits) > 1:
            with refusals_said():
                sum_of_parts(bench, mix, at)
                ranking_section(bench, mix, at)
        search(bench, mix)
    return scene_of(bench, mix)


def scene_of(bench: Bench, mix: Mix) -> Scene:
    """Return what is on display; its spec is that of the chosen layer."""
    return Scene(bench.subject, _spec(mix, mix.layer), mix=mix)


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


def _steppers(mix: Mix) -> None:
    layers = plans.layers_of(mix.model)
    table = plans.sizes(mix).astype(int).tolist()
    rows = [StepperRow(name, info.parameters, tuple(table[place])) for place, (name, info) in enumerate(layers.items())]
    steppers(
        f"{SLUG}_steppers",
        rows,
        ["FP16" if width == FLOAT_BITS else str(width) for width in WIDTHS],
        [WIDTHS.index(width) for width in mix.bits],
        plans.budget_of(mix),
        _stepped,
        words=read_prose(SLUG).editor,
        ink=charts.ink(),
    )
    with st.container(horizontal=True):
        st.button(_words()["to_uniform"], key=f"{SLUG}_to_uniform", on_click=_set, args=((),))


def _stepped(chosen: tuple[int, ...]) -> None:
    """Take over what a hand has stepped to (a callback)."""
    _set(tuple(WIDTHS[index] for index in chosen))


def _set(bits: tuple[int, ...]) -> None:
    controls.assign({PLAN.key: plans.write_plan(bits)})


def _table(mix: Mix) -> None:
    words = _words()
    with st.expander(words["table_title"], key=f"{SLUG}_table_title"):
        st.table([{name: _cell(value) for name, value in row.items()} for row in plans.plan_rows(mix)])
        with st.container(horizontal=True):
            for name, text, kind in (
                ("csv", plans.as_csv(mix), "text/csv"),
                ("json", plans.as_json(mix), "application/json"),
            ):
                st.download_button(
                    words[f"download_{name}"],
                    text,
                    f"{compute.name(mix.model)}-plan.{name}",
                    kind,
                    key=f"{SLUG}_download_{name}",
                    icon=":material/download:",
                    on_click="ignore",
                )
        st.caption(words["table_note"])


def _cell(value: object) -> str:
    return count(value) if isinstance(value, int) else str(value)


def _spec(mix: Mix, layer: str) -> QuantizerSpec:
    return plans.spec_of(mix, mix.bits[list(plans.layers_of(mix.model)).index(layer)])


# --- what is asked and said -------------------------------------------------------------------------------------------


def _shown(scene: Scene) -> Mix:
    """Return the plan on display."""
    assert scene.mix is not None
    return scene.mix


def _tried(scene: Scene) -> dict[str, float]:
    """Return by how much the loss rises with each layer alone, as the prediction speaks of it: one scale a channel."""
    return layer_sensitivity.rises(replace(_shown(scene), shared="channel"), PREDICTED_BITS)


def most_sensitive(scene: Scene) -> str:
    """Return the layer that the network minds most."""
    found = _tried(scene)
    return max(found, key=lambda layer: found[layer])


def prediction(scene: Scene) -> str:
    """Say which layer is the most sensitive."""
    layers, sensitive = list(plans.layers_of(_shown(scene).model)), most_sensitive(scene)
    places = {layer_sensitivity.biggest(_shown(scene)): "biggest", layers[0]: "first", layers[-1]: "last"}
    return places.get(sensitive, "other")


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes; those that take measuring are measured when they are asked for."""
    mix = _shown(scene)
    layers = plans.layers_of(mix.model)
    names, big = list(layers), layer_sensitivity.biggest(mix)
    at = mix.bits[names.index(mix.layer)]

    def rank() -> str:
        found = _tried(scene)
        return str(sorted(found, key=lambda layer: -found[layer]).index(big) + 1)

    return LazyFacts(
        {
            "model": lambda: compute.name(mix.model),
            "layers": lambda: str(len(names)),
            "biggest": lambda: big,
            "biggest_weights": lambda: count(layers[big].parameters),
            "biggest_share": lambda: f"{100 * layers[big].parameters / _weights(mix):.0f} %",
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
            "size": lambda: count(plans.size_of(mix)),
            "budget": lambda: count(plans.budget_of(mix)),
            "next": lambda: next_bit(scene) or "none",
            "next_fall": lambda: _fall_text(scene, next_bit(scene)),
            "next_bytes": lambda: _bytes_text(scene, next_bit(scene)),
        }
    )


def _weight_error(scene: Scene) -> str:
    """Say whether the layer with the largest error of its weights is the most sensitive one."""
    mix, spec = _shown(scene), plans.spec_of(_shown(scene), PREDICTED_BITS)
    errors = {layer: compute.outcome(mix.model, layer, spec).report.mse for layer in _layers(mix)}
    worst = max(errors, key=lambda layer: errors[layer])
    name = "weight_error_same" if worst == most_sensitive(scene) else "weight_error_other"
    return _words()[name].format(layer=worst)


def _apart(scene: Scene) -> str:
    """Say how far the measured rise of the loss is from the predicted one, and why."""
    mix = _shown(scene)
    expected = layer_sensitivity.predicted(mix, mix.layer, scene.spec).loss_increase
    measured = _alone(mix, mix.layer)
    if measured <= 0 or expected <= 0:
        return _words()["apart_odd"]
    ratio = measured / expected
    at = mix.bits[_layers(mix).index(mix.layer)]
    name = "apart_near" if 1 / NEAR <= ratio <= NEAR else "apart_far"
    return _words()[name].format(ratio=beside(measured, expected), at="FP16" if at == FLOAT_BITS else f"{at} bits")


def _orders(scene: Scene) -> str:
    """Say in which order layers are predicted to raise the loss, and in which they do."""
    mix = _shown(scene)
    spec = plans.spec_of(mix, PREDICTED_BITS)
    measured = _tried(scene)
    predicted = {layer: layer_sensitivity.predicted(mix, layer, spec).loss_increase for layer in measured}
    said = {"predicted": predicted, "measured": measured}
    return _words()["orders"].format(
        tried=PREDICTED_BITS,
        correlation=short(rank_correlation(predicted, measured), 2),
        **{name: ", ".join(sorted(found, key=lambda layer: -found[layer])) for name, found in said.items()},
    )


def _layers(mix: Mix) -> list[str]:
    return list(plans.layers_of(mix.model))


def _weights(mix: Mix) -> int:
    return sum(info.parameters for info in plans.layers_of(mix.model).values())


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out the predicted rise of the loss of the chosen layer, beside the measured one, and the budget."""
    mix = _shown(scene)
    layers = plans.layers_of(mix.model)
    at = mix.bits[list(layers).index(mix.layer)]
    expected = layer_sensitivity.predicted(mix, mix.layer, scene.spec).loss_increase
    n = layers[mix.layer].parameters
    measured = _alone(mix, mix.layer)
    sizes = [row["bytes"] for row in plans.plan_rows(mix)]
    relation = r"\le" if sum(sizes) <= plans.budget_of(mix) else ">"
    name = mix.layer.replace("_", r"\_")
    return (
        r"\Delta L \approx \tfrac12\, \delta^\top H\, \delta \approx \tfrac12 \sum_i F_i\, \delta_i^2, \qquad "
        r"\delta = \hat w - w, \quad F_i = \frac1n \sum_n \left(\frac{\partial L_n}{\partial w_i}\right)^2",
        rf"\text{{{name}}},\; b = {at}: \quad \tfrac12 \cdot {n} \cdot {latex(2 * expected / n)} = {latex(expected)}"
        rf" \qquad \text{{measured }} {latex(measured)}",
        r"\sum_\ell \mathrm{bytes}_\ell(b_\ell) = "
        + " + ".join(str(size) for size in sizes)
        + rf" = {sum(sizes)} {relation} {plans.budget_of(mix)}",
    )


def _alone(mix: Mix, layer: str) -> float:
    """Return by how much the loss rises with one layer alone as the plan has it."""
    known = plans.findings(mix.model, mix.shared).trials
    trial = Trial(layer, _spec(mix, layer))
    for _ in sensitivities(plans.network_of(mix), [trial], known):
        pass
    return known[trial.key].loss - layer_sensitivity.plain_of(mix).loss


def _grown(mix: Mix, place: int) -> Mix | None:
    """Return the plan with the next wider choice for one layer, None where there is none."""
    at = WIDTHS.index(mix.bits[place])
    if at + 1 == len(WIDTHS):
        return None
    return replace(mix, bits=(*mix.bits[:place], WIDTHS[at + 1], *mix.bits[place + 1 :]))


def steps_up(scene: Scene) -> dict[str, tuple[float, int]]:
    """Return for each layer that can grow: by how much its next step lowers the measured loss, and its bytes."""
    mix = _shown(scene)
    now, size = plans.effect_of(mix).loss, plans.size_of(mix)
    found = {}
    for place, layer in enumerate(plans.layers_of(mix.model)):
        if (grown := _grown(mix, place)) is not None:
            found[layer] = now - plans.effect_of(grown).loss, plans.size_of(grown) - size
    return found


def next_bit(scene: Scene) -> str | None:
    """Return the layer whose next step lowers the loss most for its bytes; None where all have the widest choice."""
    found = steps_up(scene)
    return max(found, key=lambda layer: found[layer][0] / found[layer][1], default=None)


def question(scene: Scene) -> Choices:
    """Ask which layer gets the next bit."""
    mix, found = _shown(scene), steps_up(scene)
    right, layers = next_bit(scene), list(plans.layers_of(mix.model))
    if right is None:
        return Choices(
            (Option("right", "none: all have 16 bits"), Option("biggest", layer_sensitivity.biggest(mix))), "right"
        )
    errors = {layer: layer_sensitivity.predicted(mix, layer, _spec(mix, layer)).weight_mse for layer in found}
    wrong = {
        "biggest": max(found, key=lambda layer: plans.layers_of(mix.model)[layer].parameters),
        "error": max(errors, key=lambda layer: errors[layer]),
        "most": max(found, key=lambda layer: found[layer][0]),
        "last": layers[-1],
        "first": layers[0],
        "dearest": max(found, key=lambda layer: found[layer][1]),
        "least": min(found, key=lambda layer: found[layer][0] / found[layer][1]),
    }
    taken = {right: "right"}
    for key, layer in wrong.items():
        if layer in found:
            taken.setdefault(layer, key)
    return Choices(tuple(Option(taken[layer], layer) for layer in layers if layer in taken), "right")


def _fall_text(scene: Scene, layer: str | None) -> str:
    return short(steps_up(scene)[layer][0]) if layer else "0"


def _bytes_text(scene: Scene, layer: str | None) -> str:
    return count(steps_up(scene)[layer][1]) if layer else "0"


FIELDS = (
    SHARED, UNIFORM, PLAN, layer_sensitivity.METRIC, layer_sensitivity.SCOPE, layer_sensitivity.AT, PROXY, COST
)  # fmt: skip
LESSON = Lesson(8, SLUG, FIELDS, laboratory, prediction, facts, written, question, source="all weights")
