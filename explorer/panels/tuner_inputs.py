"""What the chosen layer receives, under the instrument, and what a hand on it plans."""

from __future__ import annotations

from functools import partial

import streamlit as st

from explorer import tuner_session
from explorer.background import Task, live
from explorer.instrument import Move
from explorer.language import read_words
from explorer.panels.instrument import draw_instrument
from explorer.payloads import InstrumentSetting
from explorer.playground_table import CALIBRATIONS
from explorer.sentences import verbatim
from explorer.sources import ModelKey
from explorer.tuner_inputs import InputView, input_task
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import MinMax, PerTensor, QuantError, Quantizer

KEY = "tuner_input_instrument"
BITS = (2, 8)
EIGHT = {"activation_bits": 8}
STATIC = {"calibration": MinMax()}


def input_words(plan: TunedPlan, layer: str) -> str:
    """Return what is done to a layer's inputs, in words."""
    said, found = read_words("tuner")["inputs"], plan.setting(layer)
    if found.settings.activation_bits is None:
        return str(said["float"])
    how = found.settings.spoken("calibration")
    if found.inputs is not None:
        how = said["loaded" if isinstance(plan.layer_plan(layer).activation, Quantizer) else "by_hand"]
    return str(said["setting"].format(bits=found.settings.activation_bits, how=how))


def inputs_panel(model: ModelKey, plan: TunedPlan, layer: str) -> None:
    """Draw the instrument on the inputs of a layer, or say why there is no range to set."""
    said, planned = read_words("tuner")["inputs"], plan.layer_plan(layer)
    activation = planned.activation
    if activation is None or planned.dynamic:
        st.info(said["is_float" if activation is None else "is_dynamic"])
        args = (model, plan.with_cells([layer], EIGHT if activation is None else STATIC))
        if layer not in plan.locks:
            label = said["quantize" if activation is None else "calibrate"]
            st.button(label, key="tuner_quantize_inputs", on_click=tuner_session.change, args=args)
        return
    spec = activation.spec if isinstance(activation, Quantizer) else activation
    if not isinstance(spec.granularity, PerTensor):
        st.info(said["is_split"])
        return
    task = input_task(model, layer, activation)
    live(partial(_draw, model, plan, layer, task), lambda: task.active)


def _draw(model: ModelKey, plan: TunedPlan, layer: str, task: Task) -> None:
    """Draw the instrument once the values are captured."""
    if not task.ended:
        st.caption(read_words("tuner")["inputs"]["capturing"])
        return
    try:
        found: InputView = task.result()
    except QuantError as error:
        st.error(verbatim(error), icon=":material/error:")
        return
    bits, view = plan.settings(layer).activation_bits or BITS[1], found.view
    setting = InstrumentSetting(bits, False, False, False, view.lo, view.hi)
    moved = partial(_moved, model, layer)
    name = read_words("tuner")["inputs"]["name"].format(bits=bits)
    draw_instrument(
        KEY, found.source, setting, found.marks, view, found.min_error, name, moved, unit="activation", bits=BITS
    )
    tuner_session.follow()


def _moved(model: ModelKey, layer: str, move: Move) -> None:
    """Take over what a hand has set on a layer's inputs (a callback)."""
    plan = tuner_session.history(model).now
    tuner_session.change(model, moved_inputs(plan, layer, move))


def moved_inputs(plan: TunedPlan, layer: str, move: Move) -> TunedPlan:
    """Return a plan with what a hand has set of a layer's inputs: bits, a calibration, or the range by hand."""
    before = plan.setting(layer)
    if move.bits != before.settings.activation_bits:
        plan = plan.with_cells([layer], {"activation_bits": move.bits})
        if move.range is None:
            return plan if before.inputs is None else plan.with_input_range(layer, *before.inputs)
    if move.method is not None:
        return plan.with_cells([layer], {"calibration": CALIBRATIONS[move.method]})
    return plan if move.range is None else plan.with_input_range(layer, *move.range)
