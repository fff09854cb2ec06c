"""The tuner's plans in a session: one history a model, the layers that are chosen, and the link."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from explorer import compute, controls, frame
from explorer.sources import ModelKey
from explorer.tuner_results import engine_plan, size
from explorer.tuning.codec import MAX_LINK, PLAN, read_plan, write_plan
from explorer.tuning.history import History
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import QuantError
from quant_engine.export import Imported

HISTORIES, CHOSEN = "tuner_histories", "tuner_chosen"  # in the session's state, by model
TOUCHED = "tuner_touched"  # whether a hand has done something that the whole page has not shown yet
REFUSED = "tuner_refused"  # why the last edit was
TOOL, LOOKS = "tuner_tool", "range"  # the tool that is shown, and the one that shows a layer
ORIGINALS = "tuner_originals"  # the file that was loaded last, by model
READ = "tuner_link_read"  # the last plan that was taken from the address or written there


def present(model: ModelKey) -> TunedPlan:
    """Return the plan at hand; a link that has another one is followed, and can be undone."""
    text = st.query_params.get(PLAN.key)
    if text is not None and text != st.session_state.get(READ) and PLAN.accepts(text):
        st.session_state[READ] = text
        change(model, read_plan(text).fitting(compute.network(model).layers()))
    return history(model).now


def history(model: ModelKey) -> History[TunedPlan]:
    """Return what was planned for a model in this session."""
    histories: dict[ModelKey, History[TunedPlan]] = st.session_state.setdefault(HISTORIES, {})
    return histories.setdefault(model, History(TunedPlan()))


def original(model: ModelKey) -> Imported | None:
    """Return the file that was loaded last, of which plans of this session came."""
    found: Imported | None = st.session_state.get(ORIGINALS, {}).get(model)
    return found


def keep_original(model: ModelKey, found: Imported) -> None:
    """Keep the file that a plan came from.

    Raises:
        QuantError: for more than a session may hold.
    """
    compute.hold((ORIGINALS, model), found)
    st.session_state.setdefault(ORIGINALS, {})[model] = found


def change(model: ModelKey, plan: TunedPlan) -> None:
    """Take a next plan (also as a callback); one that there is not is refused, and the plan at hand stays."""
    st.session_state[REFUSED], st.session_state[TOUCHED] = "", True
    before = history(model)
    try:
        for one in (plan, TunedPlan(plan.base)):  # the page shows all layers alike, too
            size(model, engine_plan(model, one))
        after = before.then(plan)
        compute.hold((HISTORIES, model), after)
    except QuantError as error:
        st.session_state[REFUSED] = str(error)
        return
    st.session_state[HISTORIES][model] = after


def refuse(error: QuantError) -> None:
    """Have the page say why what a person has asked for is not done (a callback)."""
    st.session_state[REFUSED] = str(error)


def refused() -> str:
    """Return why the last edit was refused, if it was."""
    return str(st.session_state.get(REFUSED, ""))


def undo(model: ModelKey) -> None:
    """Go back to the plan before (a callback)."""
    st.session_state[REFUSED] = ""
    st.session_state[HISTORIES][model] = history(model).undo()


def redo(model: ModelKey) -> None:
    """Go on to the plan that was undone (a callback)."""
    st.session_state[REFUSED] = ""
    st.session_state[HISTORIES][model] = history(model).redo()


def write_link(plan: TunedPlan) -> bool:
    """Put the plan into the address, unless it is too long, or has what no link can say; return whether it is there."""
    text = write_plan(plan)
    opens = plan == TunedPlan()
    fits = len(text) <= MAX_LINK and not plan.given
    if fits and not opens:
        st.session_state[READ] = st.query_params[PLAN.key] = text
    elif PLAN.key in st.query_params:
        del st.query_params[PLAN.key]
    return fits


def chosen(model: ModelKey) -> list[str]:
    """Return the layers that are chosen, the one that is shown first; those that share a weight have one name."""
    layers = compute.network(model).layers()
    asked = controls.unshown(frame.tensor_field(controls.current(frame.model_field())))
    shown = layers[asked].tied_to or asked
    kept = [name for name in st.session_state.get(CHOSEN, ()) if name in layers]
    return kept if kept[:1] == [shown] else [shown]


def choose(layers: Sequence[str], look: bool = False) -> None:
    """Choose layers and show the first, in the tool that looks at it if one is to `look` (a callback)."""
    tool = {TOOL: LOOKS} if look else {}
    controls.assign({TOUCHED: True, CHOSEN: [*layers], frame.TENSOR_KEY: layers[0], **tool})


def shown() -> None:
    """Note that the whole page shows what a hand has done so far."""
    st.session_state[TOUCHED] = False


def follow() -> None:
    """Have the whole page run if a hand did something in the part of it that has just run alone."""
    if st.session_state.get(TOUCHED):
        st.rerun()
