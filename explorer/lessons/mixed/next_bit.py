"""The question of lesson 8: which layer gets the next bit."""

from __future__ import annotations

from dataclasses import replace

from explorer.lessons.framework.model import Choices, Option
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix, Scene
from explorer.lessons.mixed import layer_sensitivity, plans
from explorer.lessons.mixed.plans import WIDTHS, layer_spec, mix_of
from explorer.notation import count, short


def _grown(mix: Mix, place: int) -> Mix | None:
    """Return the plan with the next wider choice for one layer, None where there is none."""
    at = WIDTHS.index(mix.bits[place])
    if at + 1 == len(WIDTHS):
        return None
    return replace(mix, bits=(*mix.bits[:place], WIDTHS[at + 1], *mix.bits[place + 1 :]))


def steps_up(scene: Scene) -> dict[str, tuple[float, int]]:
    """Return for each layer that can grow: by how much its next step lowers the measured loss, and its bytes."""
    mix = mix_of(scene)
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
    mix, found = mix_of(scene), steps_up(scene)
    right, layers = next_bit(scene), list(plans.layers_of(mix.model))
    if right is None:
        return Choices(
            (
                Option("right", read_prose("mixed").laboratory["all_widest"]),
                Option("biggest", layer_sensitivity.biggest(mix)),
            ),
            "right",
        )
    errors = {layer: layer_sensitivity.predicted(mix, layer, layer_spec(mix, layer)).weight_mse for layer in found}
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


def fall_text(scene: Scene, layer: str | None) -> str:
    """Write by how much a layer's next step lowers the loss."""
    return short(steps_up(scene)[layer][0]) if layer else "0"


def bytes_text(scene: Scene, layer: str | None) -> str:
    """Write how many bytes a layer's next step takes."""
    return count(steps_up(scene)[layer][1]) if layer else "0"
