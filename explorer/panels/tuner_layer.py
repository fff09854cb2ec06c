"""The chosen layer on the tuner: its real weights under the instrument, and what a hand on it plans."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import streamlit as st

from explorer import compute, tuner_session
from explorer.fields import spoken
from explorer.instrument import Move
from explorer.language import read_words
from explorer.layer_damage import owners
from explorer.panels.instrument import instrument_panel
from explorer.panels.settings import block_field
from explorer.panels.tuner_inputs import input_words, inputs_panel
from explorer.playground_table import METHODS
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from explorer.tuner_inputs import is_captured
from explorer.tuner_results import fitted_view
from explorer.tuning.fitted import Fitted, with_block
from explorer.tuning.layer_setting import nearest_setting
from explorer.tuning.names import short_names
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import PerTensor, QuantError

KEY, SIDE = "tuner_instrument", "tuner_side"
WEIGHTS, INPUTS, BY_HAND = "weights", "inputs", "by hand"
BLOCK = 128  # pixels of the box for its number


def layer_panel(model: ModelKey, plan: TunedPlan) -> None:
    """Draw the instrument on the weights or inputs of the layer shown, or say why it has none."""
    said, layer = read_words("tuner"), tuner_session.chosen(model)[0]
    if layer in plan.plain or (layer in plan.given and nearest_setting(plan.given[layer]) is None):
        st.info(said["in_float" if layer in plan.plain else "is_given"].format(layer=layer))
        args = (model, plan.as_others([layer]))
        if layer not in plan.locks:
            st.button(said["like_others"], key="tuner_like_others", on_click=tuner_session.change, args=args)
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="tuner_layer"):
        inputs = is_captured(model, layer) and _side() == INPUTS
        name = short_names(owners(model))[layer]
        st.markdown(said["layer"].format(layer=name, setting=_setting(plan, layer, inputs)), width="stretch")
        place = st.container(width="content")
    if inputs:
        inputs_panel(model, plan, layer)
        return
    planned = plan.layer_plan(layer).weight
    spec = planned.spec if isinstance(planned, Fitted) else plan.setting(layer).weight()
    try:
        with place:
            block = block_field(spec.granularity.blocks(compute.matrix(model, layer).shape).count, width=BLOCK)
        if isinstance(planned, Fitted):
            view = fitted_view(model, layer, planned, block)
        else:
            view = compute.block_view(model, layer, spec, block)
    except QuantError as error:
        st.error(read_words("frame")["refusals"]["setting"].format(error=error), icon=":material/error:")
        return
    moved = partial(_moved, model, layer, block)
    instrument_panel(model, layer, plan.settings(layer), spec, block, view, KEY, moved, plain=True)


def _side() -> str:
    """Draw the choice between a layer's weights and its inputs, and return it."""
    said = read_words("tuner")["sides"]
    chosen: str | None = st.segmented_control(
        said["label"],
        [WEIGHTS, INPUTS],
        key=SIDE,
        format_func=said.__getitem__,
        label_visibility="collapsed",
        default=WEIGHTS,
        required=True,
    )
    return chosen or WEIGHTS


def _setting(plan: TunedPlan, layer: str, inputs: bool) -> str:
    """Return what is done to a layer's weights or inputs, in words."""
    said, found = read_words("tuner"), plan.setting(layer)
    if inputs:
        return input_words(plan, layer)
    if isinstance(plan.layer_plan(layer).weight, Fitted):
        return str(said["as_loaded"].format(setting=replace(found.settings, activation_bits=None).described(None)))
    settings = replace(found.settings, activation_bits=None)
    if found.ranges and settings.granularity is PerTensor:
        return settings.described(spoken(BY_HAND))
    by_hand = said["by_hand"].format(setting=settings.description, n=len(found.ranges))
    return str(by_hand) if found.ranges else settings.description


def _moved(model: ModelKey, layer: str, block: int, move: Move) -> None:
    """Take over what a hand has set on a block of a layer (a callback)."""
    plan = tuner_session.history(model).now
    fitted = plan.given[layer].weight if layer in plan.given else None
    try:
        if isinstance(fitted, Fitted) and move.range is not None and move.bits == plan.settings(layer).bits:
            values = compute.block_values(model, layer, fitted.spec.granularity, block)
            weight = with_block(fitted, values, block, _ends(plan.settings(layer), *move.range))
            changed = plan.with_plan(layer, replace(plan.given[layer], weight=weight))
        else:
            changed = moved_plan(plan, layer, block, move)
    except QuantError as error:
        tuner_session.refuse(error)
        return
    tuner_session.change(model, changed)


def moved_plan(plan: TunedPlan, layer: str, block: int, move: Move) -> TunedPlan:
    """Return a plan with what a hand has set: bits, a clipping method, or the range of one block by hand."""
    if layer in plan.locks:
        return plan
    settings = plan.settings(layer)
    if settings.kind.integer and move.bits != settings.bits:
        plan = plan.with_cells([layer], {"bits": move.bits})
    if move.method is not None:
        method = METHODS[move.method]
        plan = plan.without_range(layer, block)
        return plan if settings.clipping is method else plan.with_cells([layer], {"clipping": method})
    if move.range is None:
        return plan
    return plan.with_range(layer, block, *_ends(settings, *move.range))


def _ends(settings: PlaygroundState, lo: float, hi: float) -> tuple[float, float]:
    """Return the ends of a range as a spec has them: a symmetric one has the other end from β."""
    if not settings.symmetric:
        return lo, hi
    return (-hi if settings.signed else 0.0), hi
