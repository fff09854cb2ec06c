"""The numbers beside the figure."""

from __future__ import annotations

import streamlit as st

from explorer import compute, notation
from explorer.results import Outcome

Metric = tuple[str, str, str, str]  # label, value, note, explanation


def metrics_panel(model: str, layer: str, result: Outcome) -> None:
    """Draw error, codes, bits and size of the whole tensor, three in a row."""
    report = result.report
    before, after = compute.model_bytes(model, result.spec)
    for row in (_error(model, layer, result), _storage(result)):
        for column, (label, value, note, explanation) in zip(st.columns(3), row, strict=True):
            column.metric(label, value, note, delta_color="off", delta_arrow="off", help=explanation)
    st.caption(
        f"MSE {notation.short(report.mse)} = rounding {notation.short(report.rounding_mse)} + clipping "
        f"{notation.short(report.clipping_mse)}; {notation.share(report.clipped_share)} of the values are clipped. "
        f"The whole model, every layer so: {notation.sizes(before, after)}."
    )


def _error(model: str, layer: str, result: Outcome) -> tuple[Metric, ...]:
    report = result.report
    plain = compute.reference_report(model, layer, result.spec)
    return (
        (
            "SQNR",
            notation.decibels(report.sqnr_db),
            f"min-max {notation.decibels(plain.sqnr_db).removesuffix(' dB')}",
            "Signal to quantization noise: 10·log₁₀ of signal power over error power; about 6 dB a bit.",
        ),
        (
            "MSE",
            notation.short(report.mse),
            f"{notation.split(report.clipping_mse, report.mse)} clipping",
            "Mean squared error. Clipping is the part from values outside the outermost codewords, rounding the rest.",
        ),
        (
            "Greatest error",
            notation.short(report.max_abs),
            f"{notation.ratio(report.max_abs, result.largest_scale)} scale",
            "The largest |r̃ − r| in the tensor. Without clipping it is at most half a scale.",
        ),
    )


def _storage(result: Outcome) -> tuple[Metric, ...]:
    storage, scales = result.storage, result.quantizer.scale.size
    zero_points = "" if result.spec.symmetric else " + zero"
    return (
        (
            "Codes used",
            f"{notation.count(result.codes_used)} of {notation.count(result.codes_total)}",
            f"{notation.count(result.codes_total - result.codes_used)} unused",
            "Codes that at least one value of the tensor is given, of those the format has.",
        ),
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
    )
