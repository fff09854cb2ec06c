"""A vector format in the playground: vectors and codewords, and what an index costs."""

from __future__ import annotations

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer import charts, compute, formulas, notation
from explorer.caches import ResultKey
from explorer.figures.coordinates import coordinates_figure, describe_coordinates
from explorer.results import Outcome
from explorer.sources import ModelKey
from quant_engine import QuantizerSpec


def vectors_panel(model: ModelKey, layer: str, result: Outcome) -> None:
    """Draw the tensor's vectors with what comes back for them, and write out the rate."""
    spec, report = result.spec, result.report
    vectors, back = compute.kept(ResultKey("vectors", model, layer, spec), lambda: _vectors(model, layer, spec))
    left, right = st.columns([57, 43], gap="medium")
    with left:
        canvas = charts.canvas(model, layer, spec)
        charts.show(coordinates_figure(vectors, back, canvas), "coordinates", describe_coordinates(vectors, back))
    with right:
        with st.container(horizontal=True, gap="medium"):
            st.metric("Mean squared error", notation.short(report.mse))
            st.metric("Signal to noise", notation.decibels(report.sqnr_db))
            st.metric("Codewords used", f"{notation.count(result.codes_used)} of {notation.count(result.codes_total)}")
        st.latex(formulas.rate_formula(spec, result.storage))
        st.caption(
            "Indices, and codebooks at 32 bits an entry. Rows that vectors do not divide are filled up with zeros, "
            "which are counted too."
        )
        learned = compute.fitted(model, layer, spec).learned
        assert learned is not None
        there, stored = int(np.isfinite(learned[..., 0]).sum()), learned[..., 0].size
        if there < stored:
            st.info(
                f"Only {notation.count(there)} of {notation.count(stored)} codewords can be learned from "
                f"{notation.count(len(vectors))} vectors: no codebook has more codewords than distinct vectors. The "
                "room for all of them is counted: take fewer.",
                icon=":material/info:",
            )


def _vectors(model: ModelKey, layer: str, spec: QuantizerSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a weight's vectors (n, dim) under a vector format, rows filled up with zeros, and what comes back."""
    values, dim = compute.matrix(model, layer), spec.format.dim
    back = compute.fitted(model, layer, spec).fake_quantize(values)
    short = ((0, 0), (0, -values.shape[1] % dim))
    return np.pad(values, short).reshape(-1, dim), np.pad(back, short).reshape(-1, dim)
