"""A vector format in the playground: vectors and codewords, and what an index costs."""

from __future__ import annotations

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer import charts, compute, formulas, notation
from explorer.caches import ResultKey
from explorer.figures.coordinates import coordinates_figure, describe_coordinates
from explorer.language import read_words
from explorer.results import Outcome
from explorer.sources import ModelKey
from quant_engine import QuantizerSpec


def vectors_panel(model: ModelKey, layer: str, result: Outcome) -> None:
    """Draw the tensor's vectors with what comes back for them, and write out the rate."""
    spec, report, said = result.spec, result.report, read_words("panels")["vectors"]
    vectors, back = compute.kept(ResultKey("vectors", model, layer, spec), lambda: _vectors(model, layer, spec))
    left, right = st.columns([57, 43], gap="medium")
    with left:
        canvas = charts.canvas(model, layer, spec)
        charts.show(coordinates_figure(vectors, back, canvas), "coordinates", describe_coordinates(vectors, back))
    with right:
        with st.container(horizontal=True, gap="medium"):
            st.metric(said["mse"], notation.short(report.mse))
            st.metric(said["sqnr"], notation.decibels(report.sqnr_db))
            used, total = notation.count(result.codes_used), notation.count(result.codes_total)
            st.metric(said["used"], said["of"].format(n=used, total=total))
        st.latex(formulas.rate_formula(spec, result.storage))
        st.caption(said["rate"])
        learned = compute.fitted(model, layer, spec).learned
        assert learned is not None
        there, stored = int(np.isfinite(learned[..., 0]).sum()), learned[..., 0].size
        if there < stored:
            told = {"there": there, "stored": stored, "n": len(vectors)}
            text = said["few"].format(**{name: notation.count(number) for name, number in told.items()})
            st.info(text, icon=":material/info:")


def _vectors(model: ModelKey, layer: str, spec: QuantizerSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a weight's vectors (n, dim) under a vector format, rows filled up with zeros, and what comes back."""
    values, dim = compute.matrix(model, layer), spec.format.dim
    back = compute.fitted(model, layer, spec).fake_quantize(values)
    short = ((0, 0), (0, -values.shape[1] % dim))
    return np.pad(values, short).reshape(-1, dim), np.pad(back, short).reshape(-1, dim)
