"""The numbers of the whole tensor, exact."""

from __future__ import annotations

import streamlit as st

from explorer import compute, notation
from explorer.results import Outcome

METRIC_WIDTH = 130


def metrics_panel(result: Outcome) -> None:
    """Draw what quantizing costs and saves; call it where metrics may stand in a row."""
    report, storage = result.report, result.storage
    scales = result.quantizer.scale.size
    zero_points = "" if result.spec.symmetric else " + zero"
    stored = ""
    if storage.scale_bits:
        stored = f"{notation.count(scales)} {'scale' if scales == 1 else 'scales'}{zero_points}"
    elif storage.codebook_bits:
        stored = f"codebook {notation.size(storage.codebook_bits / 8)}"
    for label, value, note, explanation in (
        (
            "Bits per value",
            notation.short(storage.bits_per_value, 4),
            stored,
            "Everything counted: codes, the scale of each block, zero points of as many bits as a code if the range is "
            "asymmetric, and learned codebooks at 32 bits an entry; divided by the number of values.",
        ),
        (
            "Size",
            notation.sizes(4 * storage.values, storage.size_bytes),
            f"÷ {notation.short(4 * storage.values / storage.size_bytes)}",
            "This tensor in float32, and with codes, scales and zero points.",
        ),
        (
            "Greatest error",
            notation.short(report.max_abs),
            f"{notation.ratio(report.max_abs, result.largest_scale)} scale" if result.spec.format.even else "",
            "The largest |r̃ − r| in the tensor. Of integers without clipping it is at most half a scale.",
        ),
    ):
        st.metric(label, value, note, delta_color="off", delta_arrow="off", help=explanation, width=METRIC_WIDTH)


def tensor_panel(model: str, layer: str, result: Outcome) -> None:
    """Say what the whole tensor loses, beside min–max and with the size of the whole model."""
    report = result.report
    plain = compute.reference_report(model, layer, result.spec)
    beside = f" (min-max {notation.decibels(plain.sqnr_db)})" if plain is not None else ""
    before, after = compute.model_bytes(model, result.spec)
    st.caption(
        f"Whole tensor, exact: SQNR {notation.decibels(report.sqnr_db)}{beside}; MSE {notation.short(report.mse)} = "
        f"rounding {notation.short(report.rounding_mse)} + clipping {notation.short(report.clipping_mse)}; "
        f"{notation.share(report.clipped_share)} of the values are clipped; "
        f"{notation.count(result.codes_used)} of {notation.count(result.codes_total)} codes are used. "
        f"The whole model, every layer so: {notation.sizes(before, after)}."
    )
