"""What every exporter must hold: `check_exporter` runs over every line of the table, on two unlike networks."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine.export import EXPORTERS, Exporter
from quant_engine.network import Network, from_module, load
from tests.engine.foreign import foreign_models

WEIGHT = qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel(0))


def networks() -> dict[str, Network]:
    module, inputs = foreign_models()["residual"]
    return {"fashion-cnn": load("fashion-cnn"), "residual": from_module(module, example=inputs)}


def plan_of(network: Network) -> qe.QuantizationPlan:
    return qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(WEIGHT)))


def check_exporter(exporter: Exporter, network: Network, folder: pathlib.Path) -> None:
    """Files are written whole, replace nothing unasked, and its own reader finds what the plan says."""
    plan, path = plan_of(network), folder / f"model{exporter.suffix}"
    findings = exporter.check(network, plan)
    assert all(finding.text and finding.layer in (None, *network.layers()) for finding in findings)
    if any(finding.severity == "refused" for finding in findings):
        with pytest.raises(qe.QuantError, match="cannot take this plan"):
            exporter.write(network, plan, path)
        assert not list(folder.iterdir())
        return
    written = exporter.write(network, plan, path)
    assert written.paths
    assert written.size_bytes > 0
    assert {place for place in folder.rglob("*") if place.is_file()} == set(written.paths)
    before = {place: place.read_bytes() for place in written.paths}
    with pytest.raises(qe.QuantError, match="exists"):
        exporter.write(network, plan, path)
    assert {place: place.read_bytes() for place in written.paths} == before
    again = exporter.write(network, plan, path, overwrite=True)
    assert {place: place.read_bytes() for place in again.paths} == before, "the same plan gives the same bytes"
    found = exporter.verify(network, plan, path)
    assert found.by
    assert found.exact or found.max_abs >= 0


@pytest.mark.parametrize("key", EXPORTERS)
@pytest.mark.parametrize("name", ["fashion-cnn", "residual"])
def test_every_exporter_holds_what_it_promises(key: str, name: str, tmp_path: pathlib.Path) -> None:
    check_exporter(EXPORTERS[key], networks()[name], tmp_path)


def test_a_path_that_takes_no_file_is_refused_and_nothing_is_left(tmp_path: pathlib.Path) -> None:
    network = load("fashion-cnn")
    with pytest.raises(qe.QuantError, match="a folder that takes files"):
        EXPORTERS["plan"].write(network, plan_of(network), tmp_path / "nowhere" / "plan.json")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "note.txt").write_text("mine")
    with pytest.raises(qe.QuantError, match="exists"):
        EXPORTERS["plan"].write(network, plan_of(network), tmp_path / "taken")
    assert [place.name for place in tmp_path.rglob("*")] == ["taken", "note.txt"]


def test_a_plan_file_read_back_gives_the_same_outputs(tmp_path: pathlib.Path) -> None:
    torch.manual_seed(0)
    module, inputs = foreign_models()["decoder"]
    network = from_module(module, example=inputs)
    EXPORTERS["plan"].write(network, plan_of(network), tmp_path / "plan.json")
    read = qe.QuantizationPlan.load(tmp_path / "plan.json")
    np.testing.assert_array_equal(network.run(inputs.numpy(), read), network.run(inputs.numpy(), plan_of(network)))
