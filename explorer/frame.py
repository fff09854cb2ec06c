"""The frame around every page: which model, which tensor, and notices about the link."""

from __future__ import annotations

import streamlit as st

from explorer import compute
from explorer.controls import link_faults
from explorer.notation import count, shape, short
from explorer.sources import OPENING_LAYERS, models, opening_model
from explorer.state import PLAYGROUND_FIELDS, Choice, Field

MODEL_KEY, TENSOR_KEY = "model", "tensor"


def selected() -> tuple[str, str]:
    """Return the chosen model and layer; the frame has drawn their controls."""
    return st.session_state[MODEL_KEY], st.session_state[TENSOR_KEY]


def shared_frame() -> None:
    """Draw the sidebar's choice of model and tensor, and say what in a link could not be used."""
    compute.prepare()
    faults = link_faults((*_frame_fields(), *PLAYGROUND_FIELDS))
    with st.sidebar:
        names = models()
        model = st.selectbox("Model", names, index=names.index(opening_model()), key=MODEL_KEY, bind="query-params")
        network = compute.network(model)
        layers = network.layers()
        st.caption(f"{network.title} · {count(sum(info.parameters for info in layers.values()))} weights")
        opening = list(layers).index(OPENING_LAYERS[model])
        layer = st.selectbox("Tensor", list(layers), index=opening, key=TENSOR_KEY, bind="query-params")
        info, weight = layers[layer], network.weight(layer)
        st.caption(
            f"{shape(info.shape)} · {info.kind} · {count(info.parameters)} weights · "
            f"{short(float(weight.min()))} … {short(float(weight.max()))}"
        )
    for fault in faults:
        st.warning(fault, icon=":material/link_off:")


def _frame_fields() -> tuple[Field, ...]:
    """Return the frame's fields as the present link sees them: the tensors are those of the model it names."""
    names = models()
    wanted = st.query_params.get(MODEL_KEY, st.session_state.get(MODEL_KEY, opening_model()))
    layers = tuple(compute.network(wanted if wanted in names else opening_model()).layers())
    return (
        Choice(MODEL_KEY, "Model", names, opening_model(), "The network whose tensors are shown."),
        Choice(TENSOR_KEY, "Tensor", layers, layers[0], "The layer whose weight is shown."),
    )
