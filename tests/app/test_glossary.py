"""The glossary: its entries hold, its links lead somewhere, and text links each term once."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from explorer.fields import faults
from explorer.figures.sketches import svg
from explorer.frame import CONVENTION
from explorer.lessons import LESSONS
from explorer.lessons.framework.glossary import TERM_KEY, linked, search, terms, topics
from explorer.page_table import PAGES
from explorer.state import PlaygroundState
from quant_engine.methods import METHODS

SCRIPTS = {entry.script.removesuffix(".py") for entries in PAGES.values() for entry in entries}
FIELDS = [CONVENTION, *PlaygroundState.fields().values(), *(f for each in LESSONS.values() for f in each.all_fields)]


@pytest.mark.parametrize("slug", terms())
def test_an_entry_is_whole_and_leads_to_what_exists(slug: str) -> None:
    term = terms()[slug]
    assert term.topic in topics()
    assert term.text.endswith(".")
    assert not term.see or term.see in SCRIPTS
    assert set(term.settings) <= {field.key for field in FIELDS}
    assert faults(FIELDS, term.settings) == []
    assert term.formula.count("{") == term.formula.count("}")
    ElementTree.fromstring(svg(ink="#000", **term.sketch))


def test_no_two_terms_share_a_name() -> None:
    names = [name for term in terms().values() for name in term.names]
    assert len(names) == len(set(names))


def test_what_the_screen_and_the_vocabulary_name_is_in_it() -> None:
    names = {name for term in terms().values() for name in (term.title, *term.names)}
    assert names >= {"KL", "ACIQ", "LSQ", "PACT", "SQNR", "E4M3", "W3A8", "GPTQ", "STE", "NF4", "MX", "codeword"}
    for method in ("gptq", "adaround", "awq", "smoothquant", "zeroq", "pact"):
        assert any(name in METHODS[method].title for name in names), method


def test_a_search_finds_names_before_explanations_in_any_case() -> None:
    found = [term.slug for term in search("kl")]
    assert found[:2] == ["kl-calibration", "kl"]
    assert [term.slug for term in search(" Half Precision")] == ["fp16"]
    assert search("no such term") == []
    assert search("") == list(terms().values())


def test_text_links_the_first_use_of_a_term_and_nothing_in_code_formulas_or_links() -> None:
    text = "# KL\n`KL` and $KL$ and [KL](here) and {KL}: KL, then KL; codes, a code. W3A8, AWQ."
    found = linked(text)
    assert found.startswith("# KL\n`KL` and $KL$ and [KL](here) and {KL}: [KL](glossary?glossary_term=kl), then KL; ")
    assert re.findall(rf"\[(\w+)\]\(glossary\?{TERM_KEY}=([\w-]+)\)", found) == [
        ("KL", "kl"),
        ("codes", "code"),
        ("W3A8", "w3a8"),
        ("AWQ", "awq"),
    ]
    assert linked("PTQ") == "[PTQ](glossary?glossary_term=ptq)"
    assert linked("barcodes, encode, post-scale-law") == "barcodes, encode, post-scale-law"
