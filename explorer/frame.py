"""The frame around every page: which model, which tensor, how formulas are written, and notices about the link."""

from __future__ import annotations

import streamlit as st

from explorer import compute, controls
from explorer.compiling import await_first_picture
from explorer.fields import Choice, Field
from explorer.formulas import CONVENTIONS, Convention
from explorer.lessons import LESSONS
from explorer.notation import count, shape, short
from explorer.pins import PINS
from explorer.sources import MODELS, ModelKey, is_model_given, opening_model
from explorer.state import PLAYGROUND_FIELDS

MODEL_KEY, TENSOR_KEY = "model", "tensor"
CONVENTION = Choice(
    "convention",
    "Formulas as in",
    tuple(CONVENTIONS),
    "tools",
    "Tools (ONNX, PyTorch): Q = round(r/S) + zp, r̃ = S(Q − zp). Articles: Q = Int(r/S) − Z, r̃ = S(Q + Z). "
    "The codes are the same: Z = −zp.",
)


def selected() -> tuple[ModelKey, str]:
    """Return the chosen model and layer; the frame has drawn their controls."""
    return MODELS.key(st.session_state[MODEL_KEY]), st.session_state[TENSOR_KEY]


def convention() -> Convention:
    """Return how formulas are to be written; the frame has drawn its control."""
    return CONVENTIONS[st.session_state.get(CONVENTION.key) or CONVENTION.default]


def shared_frame(page: str) -> None:
    """Draw the sidebar's choice of model and tensor, and say what in a link could not be used."""
    await_first_picture()
    compute.open_page(page)
    _open_on_story(page)
    lesson_fields = (field for lesson in LESSONS.values() for field in lesson.all_fields)
    faults = controls.link_faults((*_frame_fields(), *PLAYGROUND_FIELDS, PINS, *lesson_fields))
    with st.sidebar:
        names = MODELS.names()
        name = st.selectbox("Model", names, index=names.index(opening_model()), key=MODEL_KEY, bind="query-params")
        network = compute.network(MODELS.key(name))
        layers = network.layers()
        st.caption(f"{network.title} · {count(sum(info.parameters for info in layers.values()))} weights")
        opening = list(layers).index(MODELS.opening_layer(name))
        layer = st.selectbox("Tensor", list(layers), index=opening, key=TENSOR_KEY, bind="query-params")
        info, weight = layers[layer], network.weight(layer)
        st.caption(
            f"{shape(info.shape)} · {'depthwise ' if info.depthwise else ''}{info.op} · "
            f"{count(info.parameters)} weights · "
            f"{short(float(weight.min()))} … {short(float(weight.max()))}"
        )
        controls.choice(CONVENTION)
    for fault in faults:
        st.warning(fault, icon=":material/link_off:")


def _open_on_story(page: str) -> None:
    """Choose the model and tensor of a lesson's story on its first visit, unless a person has chosen others."""
    lesson = LESSONS.get(page.removeprefix("lesson_"))
    if lesson is None or lesson.story is None or st.session_state.get(visited := f"{lesson.slug}_visited"):
        return
    st.session_state[visited] = True
    plain = opening_model(), MODELS.opening_layer(opening_model())
    now = st.session_state.get(MODEL_KEY, plain[0]), st.session_state.get(TENSOR_KEY, plain[1])
    asked = {MODEL_KEY, TENSOR_KEY} & set(st.query_params)
    if now == plain and not asked and not is_model_given() and lesson.story[0] in MODELS.names():
        st.session_state[MODEL_KEY], st.session_state[TENSOR_KEY] = lesson.story


def _frame_fields() -> tuple[Field, ...]:
    """Return the frame's fields as the present link sees them: the tensors are those of the model it names."""
    names = MODELS.names()
    wanted = st.query_params.get(MODEL_KEY, st.session_state.get(MODEL_KEY, opening_model()))
    layers = tuple(compute.network(MODELS.key(wanted if wanted in names else opening_model())).layers())
    return (
        Choice(MODEL_KEY, "Model", names, opening_model(), "The network whose tensors are shown."),
        Choice(TENSOR_KEY, "Tensor", layers, layers[0], "The layer whose weight is shown."),
        CONVENTION,
    )
