"""Model card: what the built-in networks score, measured once and checked by a test."""

import streamlit as st

from explorer import charts, compute
from explorer.cards import (
    GRANULARITY_EXPLAINED,
    METHODS_EXPLAINED,
    MIXED_EXPLAINED,
    activations_table,
    as_table,
    by_method,
    compensation_explained,
    compensation_surprises,
    compensation_table,
    methods_table,
    mixed_table,
    titled,
)
from explorer.figures.card import (
    card_figure,
    compensation_figure,
    describe_card,
    describe_compensation,
    describe_methods,
    methods_figure,
)
from explorer.frame import choose_model
from explorer.notation import accuracy, count
from explorer.refusals import refusals_said

model = choose_model()
st.header(compute.network(model).title)
card = None
with refusals_said():
    card = compute.card(model)
if card is None:
    st.stop()
rows = by_method(card)
full, plain = card.full, card.plain
st.markdown(
    f"Float32: **{accuracy(full.value)}** on all {count(full.total)} test {compute.sample_unit(model)}s of {card.data} "
    f"({count(full.correct)} right), **{accuracy(plain.value)}** on the {count(plain.total)} that come with the app. "
    "Below, every layer's weight is quantized to signed symmetric integers of the full range; activations stay in "
    "float32. Intervals are 95 %."
)
charts.show(card_figure(rows, plain, charts.canvas(model)), "card_figure", describe_card(rows, plain))
st.table(as_table(rows))
st.subheader("About four bits, by number format")
st.markdown(METHODS_EXPLAINED)
charts.show(
    methods_figure(card.about_four_bits, plain, charts.canvas(model)),
    "methods_figure",
    describe_methods(card.about_four_bits),
)
st.table(methods_table(card.about_four_bits))
if card.granularity:
    st.subheader("Granularity at 4 bits")
    st.markdown(GRANULARITY_EXPLAINED)
    charts.show(
        methods_figure(card.granularity, plain, charts.canvas(model)),
        "granularity_figure",
        describe_methods(card.granularity, "granularities at four bits"),
    )
    st.table(methods_table(card.granularity, "one scale for each"))
st.subheader("Weights and activations")
st.markdown(
    "W8A2: weights of 8 bits (per channel, symmetric, least MSE) and the input of every layer, also the first, of "
    "2 bits (per tensor, unsigned and asymmetric). The inputs' ranges are static: fixed on the calibration data "
    "by the method that heads the column."
)
st.table(activations_table(card))
st.subheader("Mixed precision")
st.markdown(MIXED_EXPLAINED)
st.table(mixed_table(card))
st.subheader("Compensation")
st.markdown(compensation_explained(plain))
charts.show(
    compensation_figure(titled(card.compensation), plain, charts.canvas(model)),
    "compensation_figure",
    describe_compensation(titled(card.compensation)),
)
st.table(compensation_table(card.compensation))
st.markdown(compensation_surprises(card.compensation))
st.caption(
    "Measured by tools/write_card.py on the committed weights; tests evaluate every cell again, of compensation "
    "those of quick methods and some others. The playground shows the same numbers under “All layers quantized”. "
    f"Data: {card.data}, {card.licence}."
)
