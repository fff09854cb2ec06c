"""Two networks without names, and the first samples on which they part: which of them is the quantized one?"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer import charts, compute
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.figures.odds import Sample, describe_odds, odds_figure
from explorer.lessons.compensation.method_results import SLUG, MethodResults, described
from explorer.lessons.compensation.method_runs import await_baselines
from explorer.lessons.framework import study
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.study import Study
from explorer.notation import count, with_interval
from quant_engine import QuantError, QuantizationPlan
from quant_engine.inputs import Float64Array
from quant_engine.network import Network, Score
from quant_engine.tasks import Classification, log_softmax, take
from quant_engine.tasks.score import share

NAME = f"{SLUG}_blind"
SHOWN = 3
NAMES = ("A", "B")


@dataclass(frozen=True, eq=False)
class Parting:
    """Where two networks answer differently: the first samples, the odds of both, and who is right on how many.

    `odds` are those of floating point and of the plan, (samples, classes) each; `right` counts over all `parted`.
    """

    first: NDArray[np.int64]
    labels: NDArray[np.int64]
    odds: tuple[Float64Array, Float64Array]
    images: NDArray[np.float32] | None
    parted: int
    right: tuple[int, int]
    agreement: Score


def parting(network: Network, plan: QuantizationPlan) -> Parting:
    """Run both on the test data, and find where they part."""
    inputs, labels = network.data("test")
    logits = network.logits(), network.logits(plan)
    answers = [given.argmax(axis=1) for given in logits]
    places = np.flatnonzero(answers[0] != answers[1])
    first = places[:SHOWN]
    odds = np.exp(log_softmax(logits[0][first])), np.exp(log_softmax(logits[1][first]))
    right = tuple(int((given[places] == labels[places]).sum()) for given in answers)
    agreement = share("agreement", len(labels) - len(places), len(labels))
    pictures = _pictures(take(inputs, first))
    return Parting(first, labels[first], odds, pictures, len(places), (right[0], right[1]), agreement)


def _pictures(inputs: object) -> NDArray[np.float32] | None:
    """Return images (n, height, width) where inputs are such, of one channel or of three colours."""
    if isinstance(inputs, np.ndarray) and inputs.ndim == 4 and inputs.shape[1] in (1, 3) and inputs.dtype.kind == "f":
        found: NDArray[np.float32] = inputs.mean(axis=1, dtype=np.float32)
        return found
    return None


def digest_of(raced: MethodResults) -> str:
    """Return what tells a test from those of other networks and settings."""
    return hashlib.sha256(str(ResultKey(NAME, raced.model, raced.setting)).encode()).hexdigest()


def quantized_name(raced: MethodResults) -> str:
    """Return which name the quantized network has: the same for all, but not to be guessed from the setting."""
    return NAMES[int(digest_of(raced), 16) % len(NAMES)]


def blind_test(raced: MethodResults) -> None:
    """Show where the two part, ask which is quantized, and then say it."""
    words, network = read_prose(SLUG).laboratory, compute.network(raced.model)
    compute.require_task(raced.model)
    if not isinstance(network.given_task, Classification):
        raise QuantError(f"{compute.name(raced.model)} has no classes to give odds to")
    if raced.baselines is None or (plan := raced.baselines.clipped.plan) is None:
        await_baselines(raced.model, raced.setting)
        return
    st.markdown(words["blind_lead"].format(setting=described(raced.setting)))
    label = words["blind_begin"].format(samples=compute.samples(raced.model, "test"))
    study.offer(parting_study(raced, plan), label, words["blind_running"], partial(_draw, raced))


def parting_study(raced: MethodResults, plan: QuantizationPlan) -> Study:
    """Return the running of both networks."""

    def steps() -> Generator[Parting, None, None]:
        yield parting(compute.network(raced.model), plan)

    return Study(ResultKey(NAME, raced.model, raced.setting), steps, 1)


def _draw(raced: MethodResults, task: Task | None) -> None:
    if task is not None and task.items:
        _ask(raced, task.items[-1])


def _ask(raced: MethodResults, found: Parting) -> None:
    """Draw the odds, and take a guess."""
    words, unit = read_prose(SLUG).laboratory, compute.sample_unit(raced.model)
    if not found.parted:
        st.markdown(words["blind_never"].format(n=count(found.agreement.n), unit=unit))
        return
    quantized = quantized_name(raced)
    samples = samples_of(found, quantized)
    figure = odds_figure(samples, charts.canvas(NAME, raced.model, raced.setting))
    charts.show(figure, f"{SLUG}_chart_blind", describe_odds(samples))
    key = f"{SLUG}_guess_{digest_of(raced)[:12]}"
    guess = st.radio(words["blind_question"], NAMES, index=None, key=key, horizontal=True, persist_state="session")
    if guess is not None:
        st.markdown(verdict(found, guess, quantized, unit))


def samples_of(found: Parting, quantized: str) -> list[Sample]:
    """Return the samples as they are drawn, the networks in the order of their names."""
    plain, changed = found.odds
    return [
        Sample(
            int(found.first[place]) + 1,
            {name: (changed if name == quantized else plain)[place] for name in NAMES},
            None if found.images is None else found.images[place],
        )
        for place in range(len(found.first))
    ]


def verdict(found: Parting, guess: str, quantized: str, unit: str) -> str:
    """Say which one was quantized, how often both agree, and who is right where they do not."""
    return (
        read_prose(SLUG)
        .laboratory["blind_right" if guess == quantized else "blind_wrong"]
        .format(
            quantized=quantized,
            agreement=with_interval(found.agreement),
            n=count(found.agreement.n),
            unit=unit,
            parted=count(found.parted),
            plain=count(found.right[0]),
            changed=count(found.right[1]),
            labels=", ".join(map(str, found.labels)),
        )
    )
