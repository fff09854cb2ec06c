"""Links that nobody has checked: what they say is taken or refused in words on every page, and nothing else happens.

Links of every page's fields are read, 2,200 for each page with `--full`; pages are opened by a few of them here, and by
all with `python -m tools.fuzz_links`.
"""

from __future__ import annotations

import random
import time
import urllib.parse
from collections.abc import Iterator

import numpy as np
import pytest

from explorer.fields import faults
from explorer.page_table import PAGES
from explorer.state import PlaygroundState
from quant_engine import QuantError
from tools.fuzz_links import crafted, drawn, fields_of, opened
from tools.session import Session
from tools.soak import begin, logged

SCRIPTS = [page.script for pages in PAGES.values() for page in pages]
DRAWN, CRAFTED = 2000, 200  # links of each page
LONGEST = 2.0  # seconds that reading a link may take: a bound on what a link costs, not a speed


def test_what_links_say_is_read_or_refused(pytestconfig: pytest.Config) -> None:
    refused, links = 0, DRAWN if pytestconfig.getoption("--full") else DRAWN // 10
    for script in SCRIPTS:
        fields, rng = fields_of(script), random.Random(script)
        known = {field.key: field for field in fields}
        for link in (*crafted(fields, CRAFTED, rng), *drawn(fields, links, rng)):
            began = time.monotonic()
            said = faults(fields, link)
            assert time.monotonic() - began < LONGEST, (script, str(link)[:300])
            assert all(len(one) < 2000 for one in said), (script, str(link)[:300])
            refused += bool(said)
            for key, text in link.items():
                if key in known and known[key].accepts(text):
                    known[key].meaning(known[key].parse(text))
    assert refused > len(SCRIPTS) * links / 10


def test_every_state_that_links_set_gives_a_quantizer_or_a_refusal() -> None:
    rng, fields, given = random.Random(1), [*PlaygroundState.fields().values()], 0
    for link in drawn(fields, DRAWN, rng):
        valid = {field.key: link[field.key] for field in fields if field.key in link and field.accepts(link[field.key])}
        try:
            state = PlaygroundState.read(valid)
            state.plans(state.spec(-1.0, 1.0))
            given += 1
        except QuantError:
            continue
    assert given > DRAWN / 2


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server, found = begin(folder := tmp_path_factory.mktemp("hostile"))
    yield found
    server.terminate()
    server.wait(30)
    assert not logged(folder)


@pytest.mark.parametrize("script", SCRIPTS)
def test_pages_open_by_such_links(url: str, script: str) -> None:
    fields, rng = fields_of(script), random.Random(f"pages {script}")
    for link in (*crafted(fields, 3, rng), *drawn(fields, 2, rng)):
        exception, _ = opened(url, script.removesuffix(".py"), link)
        assert not exception, link


@pytest.mark.parametrize("text", ["inf", "1e999", "4.5"])
@pytest.mark.parametrize(
    ("page", "key"),
    [("lesson_formats", "formats_int_image"), ("playground", "play_block"), ("playground", "play_bits")],
)
def test_a_number_that_is_refused_reaches_no_control(url: str, page: str, key: str, text: str) -> None:
    fields = {field.key: field for field in fields_of(f"{page}.py")}
    with Session(
        url, page, urllib.parse.urlencode({key: text, "play_granularity": "channel", "formats_part": "Integers"})
    ) as session:
        session.open()
    assert not session.exceptions
    assert any(text in said for said in session.warnings)
    shown = [proto for name, (_, proto) in session.controls.items() if name.endswith(f"-{key}")]
    assert [np.ravel(one.value if one.set_value else one.default).tolist() for one in shown] == [[fields[key].default]]


def test_a_link_opens_the_playground_after_other_pages_have_shown_its_controls(url: str) -> None:
    """Streamlit lists what a control of the same key said on a page before, and does not have it."""
    with Session(url, "playground") as session:
        for page in ("playground", "inspector"):
            session.go(page)
            session.slide("Bits")
        session.go("playground", "play_bits=5&play_format=GGUF")  # shows no bits
        session.go("home")
        session.go("playground", "play_bits=12")
        assert not session.exceptions
        shown = [proto for name, (_, proto) in session.controls.items() if name.endswith("-play_bits")]
        assert [list(one.value if one.set_value else one.default) for one in shown] == [[12]]
