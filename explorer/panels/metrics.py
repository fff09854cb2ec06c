"""The numbers of the whole tensor, exact."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from explorer import compute, notation
from explorer.presenting import presenting
from explorer.results import Outcome
from explorer.sources import ModelKey

METRIC_WIDTH, LONG = 130, 14  # of a text with more characters than that, its own width
ENTRY_BITS = 32  # of a learned codebook
EXPLAINED = {
    "Bits per value": "Everything counted: codes, the scale of each block, zero points of as many bits as a code if "
    "the range is asymmetric, and learned codebooks at 32 bits an entry; divided by the number of values.",
    "Size": "This tensor in float32, and as it is stored: codes, scales, zero points, learned codebooks.",
    "Greatest error": "The largest |r̃ − r| in the tensor. Of integers without clipping it is at most half a scale.",
    "All layers quantized": "Accuracy of the network with all layers like this, and its 95 % interval.",
}


def metrics_panel(result: Outcome) -> None:
    """Draw what quantizing costs and saves; call it where metrics may stand in a row."""
    report, storage, form = result.report, result.storage, result.spec.format
    for label, value, note in (
        (
            "Greatest error",
            notation.short(report.max_abs),
            f"{notation.ratio(report.max_abs, result.largest_scale)} scale" if form.even and form.scaled else "",
        ),
        (
            "Bits per value",
            notation.short(storage.bits_per_value, 4),
            _stored(result),
        ),
        (
            "Size",
            notation.sizes(4 * storage.values, storage.size_bytes),
            notation.growth(4 * storage.values, storage.size_bytes),
        ),
    ):
        width: int | Literal["content"] = METRIC_WIDTH if len(value) <= LONG and not presenting() else "content"
        st.metric(label, value, note, delta_color="off", delta_arrow="off", width=width)


def _stored(result: Outcome) -> str:
    """Say what is stored beside the codes."""
    storage, scales = result.storage, result.quantizer.scale.size
    if storage.codebook_bits:
        return f"{notation.count(storage.codebook_bits // ENTRY_BITS)} entries"
    if not storage.scale_bits:
        return ""
    zero_points = "" if result.spec.symmetric else " + zero"
    return f"{notation.count(scales)} {'scale' if scales == 1 else 'scales'}{zero_points}"


def tensor_panel(model: ModelKey, layer: str, result: Outcome) -> None:
    """Say what the whole tensor loses, beside min–max and with the size of the whole model."""
    report = result.report
    plain = compute.reference_report(model, layer, result.spec)
    beside = f" (min–max {notation.decibels(plain.sqnr_db)})" if plain is not None else ""
    before, after = compute.model_bytes(model, result.spec)
    info, values = compute.network(model).layers()[layer], compute.matrix(model, layer)
    st.caption(
        f"{layer}: {notation.shape(info.shape)} {'depthwise ' if info.depthwise else ''}{info.op}, "
        f"{notation.count(info.parameters)} weights, {notation.short(float(values.min()))} … "
        f"{notation.short(float(values.max()))}."
    )
    st.caption(
        f"Whole tensor, exact: SQNR {notation.decibels(report.sqnr_db)}{beside}; MSE {notation.short(report.mse)} = "
        f"rounding {notation.short(report.rounding_mse)} + clipping {notation.short(report.clipping_mse)}; "
        f"{notation.share(report.clipped_share)} of the values are clipped; "
        f"{notation.count(result.codes_used)} of {notation.count(result.codes_total)} codes are used. "
        f"The whole model, all layers quantized: {notation.sizes(before, after)}."
    )
