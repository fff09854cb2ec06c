"""A report of plans: what it says is what the engine measures, and names are text."""

from __future__ import annotations

import html.parser
import json
import pathlib
import re

import numpy as np
import pytest
import torch
from torch import nn

from explorer.report_page import html_of
from explorer.reports import Report, measure
from quant_engine import IntFormat, LayerPlan, PerChannel, QuantizationPlan, QuantizerSpec
from quant_engine.network import from_module, load

HOSTILE = "<script>alert(1)</script> ' \" & </script>"
FOUR = LayerPlan(QuantizerSpec(IntFormat(4), PerChannel()))


class Tags(html.parser.HTMLParser):
    """The scripts of a page and all of its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.said: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.said.append(data)


def whole(*steps: Report) -> Report:
    return steps[-1]


def test_a_report_says_what_the_engine_measures_and_holds_each_plan_as_a_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = load("fashion-cnn")
    plan = QuantizationPlan(dict.fromkeys(network.layers(), FOUR))
    report = whole(*measure(network, {"four bits": plan}))
    found = report.plans[1]
    assert found.scores["accuracy"] == network.evaluate(plan)
    layer = next(layer for layer in found.layers if layer.name == "fc1")
    weight = network.weight("fc1").astype(np.float64)
    scale = np.abs(weight).max(axis=1, keepdims=True) / 7
    x_hat = np.rint(weight / scale) * scale
    assert abs(layer.sqnr_db - 10 * np.log10((weight**2).sum() / ((weight - x_hat) ** 2).sum())) < 1e-3
    assert layer.bits_per_value == 4 + 32 / weight.shape[1]
    np.testing.assert_allclose(layer.ends, (x_hat.min(), x_hat.max()), rtol=1e-6)
    (tmp_path / "plan.json").write_text(found.document)
    assert QuantizationPlan.load(tmp_path / "plan.json").key == plan.key
    said = " ".join(Tags(html_of(report)).said)
    shown = (
        said[said.index("from quant_engine import QuantizationPlan") :].partition("print(score)")[0] + "print(score)"
    )
    monkeypatch.chdir(tmp_path)
    exec(shown, {})
    assert str(found.scores["accuracy"]) in capsys.readouterr().out
    assert network.digest in said
    assert f"{found.scores['accuracy'].value:.3g}" in said


def test_names_of_layers_plans_and_models_stay_text() -> None:
    module = nn.ModuleDict({HOSTILE.replace(".", ""): nn.Linear(8, 4)})
    module.forward = lambda x: next(iter(module.values()))(x)  # type: ignore[method-assign]
    network = from_module(module, example=torch.zeros(1, 8))
    plan = QuantizationPlan(dict.fromkeys(network.layers(), FOUR))
    page = html_of(whole(*measure(network, {HOSTILE: plan}, source=HOSTILE)))
    found = Tags(page)
    assert not [script for script in found.scripts if "alert(1)" in script and not script.lstrip().startswith("{")]
    figures = [json.loads(script) for script in found.scripts if script.startswith("{")]
    assert len(figures) == 2  # nothing is scored
    assert not re.search("<script>alert", json.dumps(figures))
    assert " ".join(found.said).count("alert(1)") > 4


def test_a_report_asks_for_nothing_from_the_network() -> None:
    page = html_of(whole(*measure(load("fashion-cnn"), {})))
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
