"""The numbers of the whole tensor, exact."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from explorer import compute, model_scores, notation
from explorer.language import plural, read_words
from explorer.presenting import presenting
from explorer.results import Outcome
from explorer.sources import ModelKey

METRIC_WIDTH, LONG = 130, 14  # of a text with more characters than that, its own width
ENTRY_BITS = 32  # of a learned codebook
EXPLAINED = ("bits_per_value", "size", "max_error", "accuracy")  # among the words on numbers


def metrics_panel(result: Outcome) -> None:
    """Draw what quantizing costs and saves; call it where metrics may stand in a row."""
    report, storage, form = result.report, result.storage, result.spec.format
    said = read_words("panels")["numbers"]
    for label, value, note in (
        (
            said["max_error"],
            notation.short(report.max_abs),
            said["scales"].format(ratio=notation.ratio(report.max_abs, result.largest_scale))
            if form.even and form.scaled
            else "",
        ),
        (
            said["bits_per_value"],
            notation.short(storage.bits_per_value, 4),
            _stored(result),
        ),
        (
            said["size"],
            notation.sizes(4 * storage.values, storage.size_bytes),
            notation.growth(4 * storage.values, storage.size_bytes),
        ),
    ):
        width: int | Literal["content"] = METRIC_WIDTH if len(value) <= LONG and not presenting() else "content"
        st.metric(label, value, note, delta_color="off", delta_arrow="off", width=width)


def _stored(result: Outcome) -> str:
    """Say what is stored beside the codes."""
    storage, scales, said = result.storage, result.quantizer.scale.size, read_words("panels")["numbers"]
    if storage.codebook_bits:
        return str(said["entries"].format(n=notation.count(storage.codebook_bits // ENTRY_BITS)))
    if not storage.scale_bits:
        return ""
    zero_points = "" if result.spec.symmetric else said["zero_points"]
    text = plural(said["scales_stored"], scales).format(n=notation.count(scales))
    return f"{text}{zero_points}"


def tensor_panel(model: ModelKey, layer: str, result: Outcome) -> None:
    """Say what the whole tensor loses, beside min–max and with the size of the whole model."""
    report, said = result.report, read_words("panels")["tensor"]
    plain, sqnr = compute.reference_report(model, layer, result.spec), notation.decibels(report.sqnr_db)
    info, (low, high) = compute.network(model).layers()[layer], compute.value_range(model, layer)
    shape = said["shape"].format(
        layer=layer,
        shape=notation.shape(info.shape),
        op=said["depthwise"].format(op=info.op) if info.depthwise else info.op,
        n=notation.count(info.parameters),
        low=notation.short(low),
        high=notation.short(high),
    )
    exact = said["exact"].format(
        sqnr=sqnr if plain is None else said["min_max"].format(sqnr=sqnr, plain=notation.decibels(plain.sqnr_db)),
        mse=notation.short(report.mse),
        rounding=notation.short(report.rounding_mse),
        clipping=notation.short(report.clipping_mse),
        clipped=notation.share(report.clipped_share),
        used=notation.count(result.codes_used),
        total=notation.count(result.codes_total),
        sizes=notation.sizes(*model_scores.model_bytes(model, result.spec)),
    )
    st.caption(f"{shape}\n\n{exact}")
