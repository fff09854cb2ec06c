"""Glossary: every term of the course and of the screen, with its formula, a sketch, and where to see it."""

import streamlit as st

from explorer import charts, controls
from explorer.figures.sketches import sketch
from explorer.language import read_words
from explorer.lessons.framework.glossary import TERM_KEY, search, term_field, topics
from explorer.page_table import entry_of

LIST_HEIGHT = 430  # pixels: entry and list are in sight together
words = read_words("glossary")["page"]
term = controls.unshown(term_field())
st.header(words["title"])
left, right = st.columns([3, 2], gap="large")
with left:
    asked = st.text_input(
        words["search"], key="glossary_search", placeholder=words["example"], icon=":material/search:"
    )
    found = search(asked)
    with st.container(height=LIST_HEIGHT, key="glossary_list"):
        for topic, title in topics().items():
            members = [each for each in found if each.topic == topic]
            if members:
                st.markdown(f"**{title}**")
            with st.container(horizontal=True, gap="xsmall"):
                for each in members:
                    st.button(
                        each.title,
                        key=f"glossary_open_{each.slug}",
                        type="primary" if each == term else "tertiary",
                        on_click=controls.assign,
                        args=({TERM_KEY: each.slug},),
                    )
        if not found:
            st.caption(words["none"].format(asked=asked))
with right.container(border=True, key="glossary_entry"):
    st.subheader(term.title)
    st.markdown(term.text)
    if term.formula:
        st.latex(term.formula)
    if term.sketch:
        st.html(sketch(alt=words["sketch"].format(title=term.title), ink=charts.ink(), **term.sketch))
    if term.other_names:
        st.caption(words["names"].format(names=", ".join(term.other_names)))
    if term.source:
        st.caption(words["source"].format(source=term.source))
    if term.see:
        entry = entry_of(term.see)
        st.page_link(
            entry.path,
            label=words["see"].format(page=entry.title),
            icon=":material/visibility:",
            query_params=term.settings,
        )
