"""Every plan that was scored in a session, and those that are pinned for comparison."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from explorer import compute, tuner_session
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.language import read_words
from explorer.sources import ModelKey
from explorer.tuner_results import engine_plan, fitted_plan, size, split_of
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine.network import Score
from quant_engine.studies import PairedComparison, compare_paired

TRIED, PINS, TESTED = "tuner_tried", "tuner_pins", "tuner_tested"  # in the session's state, by model
LETTERS = "ABC"


@dataclass(frozen=True)
class Tried:
    """A plan that was scored."""

    plan: TunedPlan
    title: str
    bits_a_weight: float
    score: Score


def title_of(plan: TunedPlan) -> str:
    """Return a plan in a few words: what all layers have, and how many have something else."""
    own = {*plan.edits, *plan.ranges, *plan.plain, *plan.given}
    said = read_words("tuner")["tried"]
    return str(said["title_own" if own else "title"].format(setting=plan.base.description, n=len(own)))


def tried(model: ModelKey) -> dict[str, Tried]:
    """Return the plans that were scored, by the keys of the engine's plans."""
    found: dict[str, Tried] = st.session_state.setdefault(TRIED, {}).setdefault(model, {})
    return found


def remember(model: ModelKey, plan: TunedPlan, score: Score) -> None:
    """Keep a plan with its score."""
    engine = engine_plan(model, plan)
    if engine.key not in tried(model):
        bits = size(model, engine).bits_a_weight
        tried(model)[engine.key] = Tried(plan, title_of(plan), bits, score)


def tested(model: ModelKey) -> dict[str, str]:
    """Return what was scored on test data, title and score, by the keys of the engine's plans."""
    found: dict[str, str] = st.session_state.setdefault(TESTED, {}).setdefault(model, {})
    return found


def load(model: ModelKey, key: str) -> None:
    """Take a plan that was tried for the next one (a callback)."""
    if key in tried(model):
        tuner_session.change(model, tried(model)[key].plan)


def pins(model: ModelKey) -> dict[str, TunedPlan]:
    """Return the pinned plans by their letters."""
    found: dict[str, TunedPlan] = st.session_state.setdefault(PINS, {}).setdefault(model, {})
    return found


def pin(model: ModelKey, plan: TunedPlan) -> None:
    """Pin a plan under the first free letter (a callback)."""
    free = [letter for letter in LETTERS if letter not in pins(model)]
    if free:
        pins(model)[free[0]] = plan


def unpin(model: ModelKey, letter: str) -> None:
    """Take a pin out (a callback)."""
    pins(model).pop(letter, None)


def paired(place: str, model: ModelKey, before: TunedPlan, after: TunedPlan) -> Task:
    """Return the task of what changes from a plan to another, sample by sample."""
    plans, split = [engine_plan(model, plan) for plan in (before, after)], split_of(model)

    def found() -> PairedComparison:
        fitted = [fitted_plan(model, plan) for plan in plans]
        return compare_paired(compute.network(model), fitted[0], fitted[1], split)

    return compute.session().ask(place, ResultKey("tuner paired", model, *plans, split), found)
