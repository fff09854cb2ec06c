"""What people may open at a server: on their own machine anything, in a class what they bring."""

from __future__ import annotations

import contextlib
import json
import pathlib

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer import access
from explorer.compute import SESSION_KEY
from explorer.given import open_dropped, open_named
from explorer.own_files import KEY
from quant_engine import QuantError
from tests.app.test_open import page
from tests.app.waiting import LIMIT
from tests.engine.tensor_files import write_npz

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back afterwards what a test settles."""
    for name in (access.NAMING, access.ROOT):
        monkeypatch.setenv(name, "")


def fields(at: AppTest) -> list[str]:
    return [field.key for field in at.text_input]


def adding(at: AppTest) -> list[str]:
    return [button.key for button in at.button if button.key and button.key.startswith("pack_add")]


@pytest.mark.parametrize(
    ("host", "no_local_files", "named", "added"),
    [("localhost", False, True, True), ("0.0.0.0", False, False, True), ("localhost", True, False, False)],
)
def test_paths_are_for_ones_own_machine_and_a_class_adds_no_packs(
    host: str, no_local_files: bool, named: bool, added: bool
) -> None:
    access.allow(host, no_local_files, None)
    at = page("open")
    assert ("open_given" in fields(at), bool(adding(at))) == (named, added)
    if not named:
        with pytest.raises(QuantError, match="upload the file"):
            open_named(__file__)


def test_a_root_confines_paths_and_allows_neither_names_on_the_hub_nor_python(tmp_path: pathlib.Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.npz"
    root.mkdir()
    write_npz(outside)
    write_npz(root / "inside.npz")
    (root / "link.npz").symlink_to(outside)
    (root / "score.py").write_text("raise SystemExit", encoding="utf-8")
    access.allow("0.0.0.0", False, root)
    assert open_named("inside.npz").network.name == "inside.npz"
    for bad in ("../outside.npz", str(outside), "link.npz", "org/model", "\0"):
        with pytest.raises(QuantError, match=r"lies outside|there is no file|is no path"):
            open_named(bad)
    with pytest.raises(QuantError, match="runs no file of Python"):
        open_named("fashion-cnn", "score.py")


def test_a_path_is_opened_on_the_page_with_its_data_and_refused_there(tmp_path: pathlib.Path) -> None:
    access.allow("localhost", False, None)
    at = page("open")
    at.text_input(key="open_given").set_value(str(tmp_path / "missing.npz"))
    at = ended(submit(at))
    assert "missing.npz was not opened" in at.error[0].value
    np.savez(tmp_path / "x.npz", x=np.zeros((16, 1, 28, 28), np.float32))
    at.text_input(key="open_given").set_value("fashion-cnn")
    at.text_input(key="open_data").set_value(str(tmp_path / "x.npz"))
    at = ended(submit(at))
    assert not at.exception
    [name] = at.session_state[KEY].names
    models = at.session_state[KEY].models
    assert models.network(models.key(name)).evaluate().name == "top-1 agreement"
    assert at.selectbox(key="model").value == name


def ended(at: AppTest) -> AppTest:
    """Run again when all has ended, well or not."""
    for task in [*at.session_state[SESSION_KEY].places.values()]:
        with contextlib.suppress(QuantError):
            task.result(LIMIT)
    at.run()
    assert not at.exception
    return at


def submit(at: AppTest) -> AppTest:
    return next(button for button in at.button if button.proto.form_id).click().run()


def test_a_pack_that_cannot_be_fetched_says_why_and_can_be_tried_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("QUANT_EXPLORER_CACHE", str(tmp_path))
    at = page("open")
    at = ended(at.button(key="pack_add_ocr").click().run())
    assert "pip cannot fetch rapidocr-onnxruntime" in at.error[0].value
    assert "pack_add_ocr" in adding(at)


def test_a_tensor_that_takes_the_memory_of_all_is_refused_on_a_server_for_others(tmp_path: pathlib.Path) -> None:
    values, large = 600_000_000, tmp_path / "large.safetensors"
    header = json.dumps({"x": {"dtype": "F8_E4M3", "shape": [values // 1000, 1000], "data_offsets": [0, values]}})
    with large.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header.encode())
        file.truncate(8 + len(header) + values)  # holes: nothing of it is on the disk
    access.allow("0.0.0.0", True, None)
    with pytest.raises(QuantError, match=r"600,000,000 values takes 2\.4 GB.*machine of your own"):
        open_dropped([large])
    access.allow("localhost", False, None)
    assert open_dropped([large]).network.layers()["x"].parameters == values


def test_a_file_that_was_opened_meanwhile_is_shown_when_one_comes_back_to_the_page(tmp_path: pathlib.Path) -> None:
    access.allow("localhost", False, None)
    write_npz(tmp_path / "mine.npz")
    at = page("open")
    at.text_input(key="open_given").set_value(str(tmp_path / "mine.npz"))
    submit(at)
    for name in ("inspector", "open"):
        at.switch_page(str(ROOT / "pages" / f"{name}.py")).run()
        assert not at.exception, at.exception[0].message
    at = ended(at)
    assert at.selectbox(key="model").value == "mine.npz"
