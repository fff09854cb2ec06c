"""The question of lesson 11: what calibrates activations best without data, and why."""

from __future__ import annotations

from functools import partial

from explorer import compute, controls
from explorer.fields import Choice
from explorer.lessons.compensation.method_progress import CLIPPED, accuracy_of
from explorer.lessons.compensation.method_results import DATA_FREE, SLUG, MethodResults
from explorer.lessons.compensation.method_runs import start
from explorer.lessons.compensation.shown import raced_of
from explorer.lessons.framework.model import Awaited, Choices, Option, goodness, overlap
from explorer.lessons.framework.prose import method_words, read_prose
from explorer.lessons.framework.scene import Scene
from explorer.notation import accuracy, with_interval
from explorer.playground_table import ACTIVATIONS as ACTIVATION_WIDTHS
from explorer.sources import ModelKey
from quant_engine import QuantError
from quant_engine.methods import METHODS
from quant_engine.network import Score

ACTIVATIONS = Choice(f"{SLUG}_activations", ACTIVATION_WIDTHS, "8 bits", menu=True, width=112)
NOISE = "gaussian_data"
OPTION_KEYS = {"batch_norm_ranges": "ranges", NOISE: "noise", "zeroq": "synthetic"}
FOUR_BITS = 4


def question(scene: Scene) -> Choices | Awaited:
    """Ask what can be used without data and labels, and comes nearest to real data.

    Raises:
        QuantError: for a network that one of the methods asked about cannot run on.
    """
    said, raced = read_prose(SLUG).laboratory, raced_of(scene)
    compute.require_task(raced.model)
    if raced.setting.activation is None:
        settings = {ACTIVATIONS.key: ACTIVATIONS.default}
        return Awaited(said["ask_activations"], said["quantize_activations"], partial(controls.assign, settings))
    for method in DATA_FREE:
        if reason := METHODS[method].lacking(compute.network(raced.model)):
            raise QuantError(reason)
    missing = [method for method in DATA_FREE if method not in raced.ended]
    if missing or raced.baselines is None:
        return Awaited(said["ask_first"], said["start_free"], partial(start, raced.model, raced.setting, missing))
    (best, _), *others = ranked(raced)
    keys = {best: "right", **{method: f"tied_{OPTION_KEYS[method]}" for method in tied(raced)}}
    options = [
        Option(keys.get(method, OPTION_KEYS[method]), _option(raced.model, OPTION_KEYS[method]))
        for method in (best, *dict(others))
    ]
    options += [Option(key, _option(raced.model, key)) for key in ("images", "labels", "nothing")]
    ordered = tuple(sorted(options, key=lambda option: option.label))
    return Choices(ordered, "right", frozenset(keys.values()) - {"right"})


def scores(raced: MethodResults) -> str:
    """Say what calibration without data scores, and with real data."""
    known = raced.standing
    return ", ".join(
        f"{method_words(method).title} {with_interval(accuracy_of(known[method]))}"
        for method in (*DATA_FREE, CLIPPED)
        if method in known
    )


def ranked(raced: MethodResults) -> list[tuple[str, Score]]:
    """Return what the methods without data score, the best first."""
    known = {method: accuracy_of(raced.ended[method]) for method in DATA_FREE if method in raced.ended}
    return sorted(known.items(), key=lambda pair: -goodness(pair[1]))


def tied(raced: MethodResults) -> list[str]:
    """Return the methods without data that the test data does not tell apart from the best one."""
    (_, best), *others = ranked(raced)
    return [method for method, found in others if overlap(found, best)]


def tie(raced: MethodResults) -> str:
    """Say which methods without data are as good as the best one."""
    said, others = read_prose(SLUG).laboratory, [method_words(method).title for method in tied(raced)]
    if not others:
        return said["no_tie"]
    return said["tie"].format(best=method_words(ranked(raced)[0][0]).title, others=" and ".join(others))


def why_of(scene: Scene, key: str) -> str:
    """Say of what is on display what a way of calibrating without data rests on."""
    return why(raced_of(scene), key)


def why(raced: MethodResults, key: str) -> str:
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


def _option(model: ModelKey, key: str) -> str:
    return read_prose(SLUG).laboratory[f"option_{key}"].format(unit=compute.sample_unit(model))
