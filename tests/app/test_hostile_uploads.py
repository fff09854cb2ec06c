"""Plans, lectures, projects, results and models given to the running app to do harm: taken or refused in words.

Files that somebody wrote, and damaged ones, of which there are ten times as many with `--full`.
"""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable
from functools import partial

import pytest
from streamlit.testing.v1 import AppTest

from explorer import access, data_folder
from explorer.sweep_specs import specs_of
from explorer.teaching import shelf
from quant_engine import IntFormat, LayerPlan, PerChannel, QuantizationPlan, QuantizerSpec
from quant_engine.export import to_aimet
from quant_engine.network import load
from quant_engine.store import Store
from quant_engine.sweep import sweep
from tests.app.waiting import await_answers
from tests.engine.tensor_files import WRITERS
from tests.engine.test_hostile_files import TEXTS
from tests.engine.test_reader_fuzz import mutated

ROOT = pathlib.Path(__file__).parents[2]
LONGEST = 4500  # characters of what is said
DAMAGED, FULL = 6, 60  # files of each place
NAMES = ("a", "../../etc/passwd", "<img src=x onerror=alert(1)>", "![a](//evil.example/x)", "\u202egnp", "a" * 200)
CRAFTED = {
    **TEXTS,
    "nothing": b"",
    "zeros": bytes(5000),
    "a database's head": b"SQLite format 3\0" + b"\xff" * 5000,
    "columns' head and end": b"PAR1" + b"\xff" * 5000 + b"PAR1",
    "a lecture of no slides' names": b'{"schema": 1, "title": 5, "slides": {"a": [1e999, null, {"link": [[]]}]}}',
    "slides without end": b'{"schema": 1, "title": "a", "slides": [' + b"{}," * 20_000 + b"{}]}",
}


def plan(folder: pathlib.Path) -> bytes:
    network = load("fashion-cnn")
    made = QuantizationPlan.of(network.layers(), {"*": LayerPlan(QuantizerSpec(IntFormat(4), PerChannel(0)))})
    to_aimet(network, made, folder / "given.encodings")
    return (folder / "given.encodings").read_bytes()


def lecture(_: pathlib.Path) -> bytes:
    return shelf.examples()["ten_minutes"].write().encode()


def project(folder: pathlib.Path) -> bytes:
    Store(folder / "given.sqlite").save(
        "mine", "fashion-cnn", load("fashion-cnn").digest, '{"base":{"bits":3},"schema":1}', ""
    )
    return (folder / "given.sqlite").read_bytes()


def results(folder: pathlib.Path) -> bytes:
    list(sweep(partial(load, "fashion-cnn"), specs_of("3-4", "layer", "minmax", "int")[0], folder / "given.parquet"))
    return (folder / "given.parquet").read_bytes()


def model(folder: pathlib.Path) -> bytes:
    WRITERS["arrays.npz"](folder / "arrays.npz")
    return (folder / "arrays.npz").read_bytes()


PLACES: dict[str, tuple[str, str, str, Callable[[pathlib.Path], bytes]]] = {
    "plan": ("tuner", "export", "encodings", plan),
    "lecture": ("teach", "", "json", lecture),
    "project": ("tuner", "projects", "sqlite", project),
    "results": ("sweep", "", "parquet", results),
    "model": ("open", "", "npz", model),
}


def visitor() -> AppTest:
    return AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_given_is_taken_or_refused_in_words(
    place: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path / "projects.sqlite"))
    monkeypatch.setenv(access.NAMING, access.ANYTHING)
    page, tool, ending, write = PLACES[place]
    content, draw = write(tmp_path), random.Random(place)
    damaged = [mutated(content, draw) for _ in range(FULL if pytestconfig.getoption("--full") else DAMAGED)]
    at = visitor()
    for number, given in enumerate([*CRAFTED.values(), *damaged, content]):
        at.session_state["tuner_tool"] = tool
        at = await_answers(at.switch_page(str(ROOT / "pages" / f"{page}.py")).run())
        name = f"{NAMES[number % len(NAMES)]}.{ending}"
        at.file_uploader[-1].set_value((name, given, "application/octet-stream")).run()
        assert not at.exception, number
        refused = [one.value for one in (*at.error, *at.warning)]
        said = [*refused, *(one.value for one in at.toast)]
        assert all(len(one) < LONGEST for one in said), number
        assert said or number >= len(CRAFTED), (number, given[:80])
        at = await_answers(at) if said else visitor()
    assert not refused
