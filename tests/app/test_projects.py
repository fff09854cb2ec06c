"""The tuner saves as it goes, in a file that another session finds; a server for others keeps nothing."""

from __future__ import annotations

import pathlib

import pytest
from streamlit.testing.v1 import AppTest

from explorer import access, compute, data_folder, projects
from explorer.tuning.fitted import with_block
from explorer.tuning.tuned_plan import tuned_of
from quant_engine import IntFormat, LayerPlan, PerChannel, QuantError, QuantizationPlan, QuantizerSpec
from quant_engine.export import import_plan, to_aimet
from quant_engine.store import Store
from tests.app.waiting import await_answers
from tests.models import CNN_KEY

ROOT = pathlib.Path(__file__).parents[2]
FIRST = '{"base":{"bits":3},"schema":1}'
SECOND = '{"base":{"bits":5},"schema":1}'


@pytest.fixture(autouse=True)
def kept(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path / "projects.sqlite"))
    monkeypatch.setenv(access.NAMING, access.ANYTHING)
    return Store(tmp_path / "projects.sqlite")


def tuner(plan: str, at: AppTest | None = None) -> AppTest:
    at = at or AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["tuner_plan"] = plan
    at.switch_page(str(ROOT / "pages" / "tuner.py")).run()
    assert not at.exception
    return await_answers(at)


def shown(at: AppTest) -> AppTest:
    at.session_state["tuner_tool"] = "projects"
    return await_answers(at.run())


def test_each_edit_is_saved_and_another_session_goes_on_from_it(kept: Store) -> None:
    at = tuner(FIRST)
    tuner(SECOND, at)
    tuner(SECOND, at)
    assert [plan.document for plan in kept.plans("fashion-cnn")] == [FIRST, SECOND]
    other = shown(tuner(FIRST))
    assert [one.name for one in kept.projects()] == ["fashion-cnn"]
    saved = next(box for box in other.selectbox if box.key.startswith("tuner_project_plan_"))
    assert len(saved.options) == 3
    saved.set_value(1).run()
    other.button(key="tuner_project_load").click()
    await_answers(other.run())
    assert not other.exception
    assert kept.plans("fashion-cnn")[-1].document == SECOND


def test_a_window_is_told_that_another_has_saved_meanwhile(kept: Store) -> None:
    at = tuner(FIRST)
    tuner(SECOND)
    tuner('{"base":{"bits":6},"schema":1}', at)
    assert any("Another window" in one.value for one in shown(at).info)
    assert [plan.document for plan in kept.plans("fashion-cnn")] == [FIRST, SECOND, '{"base":{"bits":6},"schema":1}']


def test_a_project_is_renamed_and_a_new_one_begun(kept: Store) -> None:
    at = shown(tuner(FIRST))
    name = next(box for box in at.text_input if box.key.startswith("tuner_project_name_"))
    name.set_value("for the phone")
    at = await_answers(at.run())
    assert [one.name for one in kept.projects()] == ["for the phone"]
    at.button(key="tuner_project_new").click()
    at = await_answers(at.run())
    assert {one.name for one in kept.projects()} == {"for the phone", "fashion-cnn"}


def test_an_imported_project_is_opened_under_a_free_name(kept: Store, tmp_path: pathlib.Path) -> None:
    at = shown(tuner(FIRST))
    kept.export("fashion-cnn", tmp_path / "out.sqlite")
    at.file_uploader[0].upload("out.sqlite", (tmp_path / "out.sqlite").read_bytes(), "application/octet-stream")
    at = await_answers(at.run())
    assert {one.name for one in kept.projects()} == {"fashion-cnn", "fashion-cnn (2)"}
    at.file_uploader[0].upload("notes.sqlite", b"my notes are no database", "application/octet-stream")
    at = await_answers(at.run())
    assert any("no database" in one.value for one in at.warning)
    assert not at.exception


def test_scales_of_a_file_are_kept_to_the_bit_with_the_file_and_an_edit_adds_its_layer_alone(
    kept: Store, tmp_path: pathlib.Path
) -> None:
    model = CNN_KEY
    network = compute.network(model)
    plan = QuantizationPlan.of(network.layers(), {"*": LayerPlan(QuantizerSpec(IntFormat(4), PerChannel(0)))})
    to_aimet(network, plan, tmp_path / "cnn.encodings")
    given = import_plan(network, tmp_path / "cnn.encodings")
    tuned = tuned_of(given.plan, network.layers())
    projects.save(kept, model, "mine", tuned, original=given)
    fitted = given.plan["fc2"].weight
    moved = with_block(fitted, compute.block_values(model, "fc2", PerChannel(0), 3), 3, (-0.25, 0.25))
    edited = tuned.with_plan("fc2", LayerPlan(moved)).with_cells(["conv1"], {"bits": 6})
    projects.save(kept, model, "mine", edited, original=given)
    kept.export("mine", tmp_path / "out.sqlite")
    first, second = kept.plans("mine")
    assert len({*second.attached} - {*first.attached}) == 2  # of the layer that was moved, JSON and arrays
    for store in (kept, Store(tmp_path / "out.sqlite")):
        for saved, wanted in zip(store.plans("mine"), (tuned, edited), strict=True):
            found, original = projects.load(store, model, saved.document)
            assert found.to_plan(network.layers()).key == wanted.to_plan(network.layers()).key
            assert original is not None
            assert original.files == given.files
    with pytest.raises(QuantError, match="weight of"):
        projects.load(kept, model, first.document.replace('"fc1"', '"other"').replace('"fc2"', '"fc1"'))
    with pytest.raises(QuantError, match="cannot be read"):
        projects.load(kept, model, "no plan")


def test_a_server_for_others_keeps_nothing(monkeypatch: pytest.MonkeyPatch, kept: Store) -> None:
    monkeypatch.setenv(access.NAMING, access.CLASS)
    at = shown(tuner(FIRST))
    assert kept.projects() == []
    assert any("keeps no projects" in one.value for one in at.caption)


def test_a_file_that_is_no_store_is_said_and_left(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    monkeypatch.setenv(data_folder.VARIABLE, str(notes))
    at = shown(tuner(FIRST))
    assert any("no database" in one.value for one in at.warning)
    assert notes.read_text() == "mine"
