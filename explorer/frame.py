"""The frame around every page: which model, which tensor, how formulas are written, and notices about the link."""

from __future__ import annotations

import streamlit as st

from explorer import compute, controls
from explorer.compiling import await_first_picture
from explorer.fields import Choice, faults, named
from explorer.formulas import CONVENTIONS, Convention
from explorer.lessons import LESSONS
from explorer.lessons.glossary import term_field
from explorer.notation import count, shape, short
from explorer.notices import PAGE_MEMORY, still_said
from explorer.pins import PINS
from explorer.sources import MODELS, ModelKey, is_model_given, opening_model
from explorer.state import PlaygroundState

MODEL_KEY, TENSOR_KEY = "model", "tensor"
CONVENTION = Choice(
    "convention",
    "Formulas as in",
    CONVENTIONS,
    default="tools",
    help="Tools (ONNX, PyTorch): Q = round(r/S) + zp, r̃ = S(Q − zp). Articles: Q = Int(r/S) − Z, r̃ = S(Q + Z). "
    "The codes are the same: Z = −zp.",
)


def selected() -> tuple[ModelKey, str]:
    """Return the chosen model and layer; the frame has drawn their controls."""
    return MODELS.key(st.session_state[MODEL_KEY]), st.session_state[TENSOR_KEY]


def convention() -> Convention:
    """Return how formulas are to be written; the frame has drawn its control."""
    return CONVENTION.meaning(st.session_state.get(CONVENTION.key) or CONVENTION.default)


def shared_frame(page: str) -> None:
    """Draw the sidebar's choice of model and tensor, and say what in a link could not be used."""
    await_first_picture()
    compute.open_page(page)
    _open_on_story(page)
    _open_by_link(page)
    model = model_field()
    asked = st.query_params.get(MODEL_KEY, st.session_state.get(MODEL_KEY, model.default))
    tensor = tensor_field(asked if asked in model.options else model.default)
    lesson_fields = (field for lesson in LESSONS.values() for field in lesson.all_fields)
    playground_fields = PlaygroundState.fields().values()
    said = faults((model, tensor, CONVENTION, *playground_fields, PINS, term_field(), *lesson_fields), st.query_params)
    with st.sidebar:
        name = controls.show(model)
        network = compute.network(MODELS.key(name))
        layers = network.layers()
        st.caption(f"{network.title} · {count(sum(info.parameters for info in layers.values()))} weights")
        layer = controls.show(tensor_field(name))
        info, weight = layers[layer], network.weight(layer)
        st.caption(
            f"{shape(info.shape)} · {'depthwise ' if info.depthwise else ''}{info.op} · "
            f"{count(info.parameters)} weights · "
            f"{short(float(weight.min()))} … {short(float(weight.max()))}"
        )
        controls.show(CONVENTION)
    for fault in still_said("link", said):
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


def _open_by_link(page: str) -> None:
    """Forget what the playground had before where a link opens it from another page: Streamlit keeps it otherwise."""
    before, st.session_state[PAGE_MEMORY] = st.session_state.get(PAGE_MEMORY, page), page
    keys = {field.key for field in PlaygroundState.fields().values()}
    if before != page and page in ("", "playground") and keys & set(st.query_params):
        for key in keys & set(st.session_state):
            del st.session_state[key]


def model_field() -> Choice[str]:
    """Return the field of the network whose tensors are shown."""
    return Choice(MODEL_KEY, "Model", named(MODELS.names()), default=opening_model(), menu=True)


def tensor_field(model: str) -> Choice[str]:
    """Return the field of the layer of a model whose weight is shown."""
    layers = compute.network(MODELS.key(model)).layers()
    return Choice(TENSOR_KEY, "Tensor", named(layers), default=MODELS.opening_layer(model), menu=True)
