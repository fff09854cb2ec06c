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
    for label, value, note, explanation in (
        (
            "Bits per value",
            notation.short(storage.bits_per_value, 4),
            f"{notation.count(scales)} {'scale' if scales == 1 else 'scales'}{zero_points}",
            "Everything counted: codes, a 32-bit scale a block and, if asymmetric, a zero point of as many bits as a "
            "code, divided by the number of values.",
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
            f"{notation.ratio(report.max_abs, result.largest_scale)} scale",
            "The largest |r̃ − r| in the tensor. Without clipping it is at most half a scale.",
        ),
    ):
        st.metric(label, value, note, delta_color="off", delta_arrow="off", help=explanation, width=METRIC_WIDTH)


def tensor_panel(model: str, layer: str, result: Outcome) -> None:
    """Say what the whole tensor loses, beside min–max and with the size of the whole model."""
    report = result.report
    plain = compute.reference_report(model, layer, result.spec)
    before, after = compute.model_bytes(model, result.spec)
    st.caption(
        f"Whole tensor, exact: SQNR {notation.decibels(report.sqnr_db)} (min-max "
        f"{notation.decibels(plain.sqnr_db)}); MSE {notation.short(report.mse)} = rounding "
        f"{notation.short(report.rounding_mse)} + clipping {notation.short(report.clipping_mse)}; "
        f"{notation.share(report.clipped_share)} of the values are clipped; "
        f"{notation.count(result.codes_used)} of {notation.count(result.codes_total)} codes are used. "
        f"The whole model, every layer so: {notation.sizes(before, after)}."
    )
