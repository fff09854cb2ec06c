"""The question of lesson 8: which layer gets the next bit."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from functools import partial

from explorer import compute
from explorer.caches import ResultKey
from explorer.lessons.framework import study
from explorer.lessons.framework.model import Awaited, Choices, Option
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Mix, Scene
from explorer.lessons.framework.study import Study
from explorer.lessons.mixed import layer_sensitivity, plans
from explorer.lessons.mixed.harm import harm, is_quick
from explorer.lessons.mixed.layer_sensitivity import plain_of
from explorer.lessons.mixed.plans import WIDTHS, layer_spec, mix_of
from explorer.notation import count, short

STEPS = "mixed steps"  # the place on the page where they are measured


def _grown(mix: Mix, place: int) -> Mix | None:
    """Return the plan with the next wider choice for one layer, None where there is none."""
    at = WIDTHS.index(mix.bits[place])
    if at + 1 == len(WIDTHS):
        return None
    return replace(mix, bits=(*mix.bits[:place], WIDTHS[at + 1], *mix.bits[place + 1 :]))


def steps_up(scene: Scene) -> dict[str, tuple[float, int]]:
    """Return for each layer that can grow: by how much its next step lowers the measured loss, and its bytes."""
    mix = mix_of(scene)
    plain, size = plain_of(mix), plans.size_of(mix)
    now = harm(plans.effect_of(mix), plain)
    return {
        layer: (now - harm(plans.effect_of(grown), plain), plans.size_of(grown) - size)
        for layer, grown in _all_grown(mix).items()
    }


def _all_grown(mix: Mix) -> dict[str, Mix]:
    """Return the plans that are one step in one layer wider."""
    grown = {layer: _grown(mix, place) for place, layer in enumerate(plans.layers_of(mix.model))}
    return {layer: one for layer, one in grown.items() if one is not None}


def steps_study(mix: Mix) -> Study:
    """Return the measuring of the plan, and of all that are one step wider."""

    def steps() -> Generator[object, None, None]:
        yield plain_of(mix)
        for one in (mix, *_all_grown(mix).values()):
            yield plans.effect_of(one)

    return Study(ResultKey(STEPS, mix.model, mix.shared, mix.bits), steps, 2 + len(_all_grown(mix)))


def show_steps(mix: Mix) -> None:
    """Draw how far the measuring is, once it was asked for."""
    one = steps_study(mix)
    if study.asked(STEPS) == one.key:
        study.show(one, read_prose("mixed").laboratory["next_measuring"], lambda task: None)


def _are_measured(mix: Mix) -> bool:
    known = plans.findings(mix.model, mix.shared).plans
    return is_quick(mix.model) or all(bits in known for bits in [(), mix.bits, *_bits(mix)])


def _bits(mix: Mix) -> list[plans.Bits]:
    return [one.bits for one in _all_grown(mix).values()]


def next_bit(scene: Scene) -> str | None:
    """Return the layer whose next step lowers the loss most for its bytes; None where all have the widest choice."""
    found = steps_up(scene)
    return max(found, key=lambda layer: _per_byte(*found[layer]), default=None)


def _per_byte(fall: float, more: float) -> float:
    """Return the fall of the loss for each byte more; a wider choice of short rows may take none, or fewer.

    >>> _per_byte(0.5, 4.0), _per_byte(0.5, 0.0), _per_byte(-0.5, -4.0)
    (0.125, inf, -inf)
    """
    return fall / more if more > 0 else math.copysign(math.inf, fall)


def question(scene: Scene) -> Choices | Awaited:
    """Ask which layer gets the next bit; of a large network that is measured first."""
    mix, words = mix_of(scene), read_prose("mixed").laboratory
    if not _are_measured(mix):
        told = {"layers": len(_all_grown(mix))}
        return Awaited(words["next_ask"].format(**told), words["next_begin"], partial(study.start, steps_study(mix)))
    found = steps_up(scene)
    right, layers = next_bit(scene), list(plans.layers_of(mix.model))
    if right is None:
        return Choices(
            (
                Option("right", read_prose("mixed").laboratory["all_widest"]),
                Option("biggest", layer_sensitivity.biggest(mix)),
            ),
            "right",
        )
    errors = {layer: compute.outcome(mix.model, layer, layer_spec(mix, layer)).report.mse for layer in found}
    wrong = {
        "biggest": max(found, key=lambda layer: plans.layers_of(mix.model)[layer].parameters),
        "error": max(errors, key=lambda layer: errors[layer]),
        "most": max(found, key=lambda layer: found[layer][0]),
        "last": layers[-1],
        "first": layers[0],
        "dearest": max(found, key=lambda layer: found[layer][1]),
        "least": min(found, key=lambda layer: _per_byte(*found[layer])),
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
