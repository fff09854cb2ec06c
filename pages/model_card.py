"""Model card: what the built-in networks score, measured once and checked by a test."""

import streamlit as st

from explorer import charts, compute, tables
from explorer.cards import (
    activations_table,
    as_table,
    by_method,
    compensation_explained,
    compensation_surprises,
    compensation_table,
    formats_explained,
    methods_table,
    mixed_table,
    pack_table,
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
from explorer.language import read_words
from explorer.notation import accuracy, count
from explorer.refusals import refusals_said
from explorer.sentences import verbatim

model = choose_model()
st.header(verbatim(compute.network(model).title))
if (scores := compute.pack_card(model)) is not None:
    st.markdown(read_words("card")["pack"].format(name=compute.name(model), made_with=scores.made_with))
    tables.table(pack_table(scores))
    st.stop()
card = None
with refusals_said():
    card = compute.card(model)
if card is None:
    st.stop()
rows = by_method(card)
full, plain, said = card.full, card.plain, read_words("card")
st.markdown(
    said["float32"].format(
        full=accuracy(full.value),
        total=count(full.total),
        unit=compute.sample_unit(model),
        data=card.data,
        correct=count(full.correct),
        plain=accuracy(plain.value),
        held=count(plain.total),
    )
)
charts.show(card_figure(rows, plain, charts.canvas(model)), "card_figure", describe_card(rows, plain))
tables.table(as_table(rows))
st.subheader(said["formats_title"])
st.markdown(formats_explained())
charts.show(
    methods_figure(card.about_four_bits, plain, charts.canvas(model)),
    "methods_figure",
    describe_methods(card.about_four_bits, said["formats_alt"]),
)
tables.table(methods_table(card.about_four_bits))
if card.granularity:
    st.subheader(said["granularity_title"])
    st.markdown(said["granularity"])
    charts.show(
        methods_figure(card.granularity, plain, charts.canvas(model)),
        "granularity_figure",
        describe_methods(card.granularity, said["granularity_alt"]),
    )
    tables.table(methods_table(card.granularity, "one_scale"))
st.subheader(said["activations_title"])
st.markdown(said["activations"])
tables.table(activations_table(card))
st.subheader(said["mixed_title"])
st.markdown(said["mixed"])
tables.table(mixed_table(card))
st.subheader(said["compensation_title"])
st.markdown(compensation_explained(plain))
charts.show(
    compensation_figure(titled(card.compensation), plain, charts.canvas(model)),
    "compensation_figure",
    describe_compensation(titled(card.compensation)),
)
tables.table(compensation_table(card.compensation))
st.markdown(compensation_surprises(card.compensation))
st.caption(said["measured"].format(data=card.data, licence=card.licence))
