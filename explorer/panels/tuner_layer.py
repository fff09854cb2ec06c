"""The chosen layer on the tuner: its real weights under the instrument, and what a hand on it plans."""

from __future__ import annotations

from functools import partial

import streamlit as st

from explorer import compute, tuner_session
from explorer.instrument import Move
from explorer.language import read_words
from explorer.panels.instrument import instrument_panel
from explorer.panels.settings import block_field
from explorer.playground_table import METHODS
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from explorer.tuning.cells import spec_of
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import QuantError

KEY = "tuner_instrument"


def layer_panel(model: ModelKey, plan: TunedPlan) -> None:
    """Draw the instrument on the layer shown, or say why it has none."""
    said, layer = read_words("tuner"), tuner_session.chosen(model)[0]
    if layer in plan.plain or layer in plan.given:
        reason = "in_float" if layer in plan.plain else "is_given"
        st.info(said[reason].format(layer=layer))
        args = (model, plan.as_others([layer]))
        if layer not in plan.locks:
            st.button(said["like_others"], key="tuner_like_others", on_click=tuner_session.change, args=args)
        return
    settings = plan.settings(layer)
    try:
        spec = spec_of(settings, plan.ranges.get(layer, ()))
        with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key="tuner_layer"):
            setting = said["by_hand"] if layer in plan.ranges else "{setting}"
            setting = setting.format(setting=settings.description, n=len(plan.ranges.get(layer, ())))
            st.markdown(said["layer"].format(layer=layer, setting=setting))
            block = block_field(spec.granularity.blocks(compute.matrix(model, layer).shape).count)
        view = compute.block_view(model, layer, spec, block)
    except QuantError as error:
        st.error(read_words("frame")["refusals"]["setting"].format(error=error), icon=":material/error:")
        return
    moved = partial(_moved, model, layer, block)
    instrument_panel(model, layer, settings, spec, block, view, KEY, moved, plain=True)


def _moved(model: ModelKey, layer: str, block: int, move: Move) -> None:
    """Take over what a hand has set on a block of a layer (a callback)."""
    plan = tuner_session.history(model).now
    tuner_session.change(model, moved_plan(plan, layer, block, move))


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
