"""The commands that work on a model: by the same functions as the app, on the same numbers."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

import quant_engine as qe
from explorer import access, compute
from explorer.cli import program
from explorer.commands.common import FELL, STOPPED, followed
from explorer.given import open_given
from explorer.measured import kept_of
from quant_engine.export import EXPORTERS
from quant_engine.network import Accuracy, Network, load
from quant_engine.studies import attribute, compare_paired, culprits, measured_front
from tests.models import CNN_KEY

PLAN = {"*": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(3), qe.PerChannel()))}


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(program, [str(one) for one in arguments])


def told(*arguments: object) -> dict:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a file of 120 images with their labels."""
    images, labels = load("fashion-cnn").data("search")
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, x=images[:120], y=labels[:120])
    return path


@pytest.fixture(scope="module")
def network(data: pathlib.Path) -> Network:
    return open_given("fashion-cnn", data).network


@pytest.fixture
def plan(network: Network, tmp_path: pathlib.Path) -> pathlib.Path:
    qe.QuantizationPlan.of(network.layers(), PLAN).save(tmp_path / "three.json")
    return tmp_path / "three.json"


def test_every_command_has_help_with_examples_and_a_model_needs_none() -> None:
    listed = run("--help").output
    for name in ("inspect", "attribute", "plan", "tune", "sweep", "compare", "apply", "report", "open", "models"):
        assert name in listed
        assert name == "models" or "quant-explorer" in run(name, "--help").output
    assert "--port" in run("fashion-cnn", "--help").output


def test_inspect_lists_the_tensors_hardest_first(network: Network) -> None:
    found = told("inspect", "fashion-cnn", "--bits", 4)["tensors"]
    spec = qe.QuantizerSpec(qe.IntFormat(4))
    for row in found:
        weight = network.weight(row["name"])
        assert row["sqnr_db"] == pytest.approx(qe.measure(weight, qe.fake_quantize(weight, spec)).sqnr_db)
    assert [row["sqnr_db"] for row in found] == sorted(row["sqnr_db"] for row in found)
    assert "conv2" in run("inspect", "fashion-cnn").stdout


def test_attribute_says_what_the_study_says(network: Network, data: pathlib.Path, plan: pathlib.Path) -> None:
    given = "attribute", "fashion-cnn", "--data", data, "--plan", plan, "--culprits"
    record, chosen = told(*given), qe.QuantizationPlan.load(plan)
    *_, found = attribute(network, chosen)
    *_, blamed = culprits(network, chosen)
    assert record["together"]["score"]["value"] == found.together.score.value
    assert {layer: one["measure"]["value"] for layer, one in record["alone"].items()} == pytest.approx(
        {layer: one.measure.value for layer, one in found.alone.items()}
    )
    assert record["culprits"]["order"] == list(blamed.order)
    assert [one["value"] for one in record["culprits"]["curve"]] == [one.score.value for one in blamed.curve]
    assert record["culprits"]["verdict"] == blamed.verdict
    shown = run(*given)
    assert shown.exit_code == 0
    assert all(layer in shown.stdout for layer in network.layers())
    assert run(*given, "--max-drop", 0).exit_code == (FELL if found.together.lost.value > 0 else 0)
    assert run(*given, "--max-drop", 1).exit_code == 0


def test_plan_says_of_layers_what_the_tuners_patterns_say(tmp_path: pathlib.Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    assert run("plan", "fashion-cnn", "--bits", 8, "--sharing", "layer", "-o", a).exit_code == 0
    assert run("plan", "fashion-cnn", "--plan", a, "--set", "conv* -> int4, channel", "-o", b).exit_code == 0
    one, other = qe.QuantizationPlan.load(a), qe.QuantizationPlan.load(b)
    assert {layer.weight for layer in one.layers.values()} == {qe.QuantizerSpec(qe.IntFormat(8))}
    assert other["conv2"].weight == qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel())
    assert other["fc1"].weight == one["fc1"].weight
    assert "matches none" in run("plan", "fashion-cnn", "--set", "x* -> int4", "-o", tmp_path / "c.json").output


def test_tune_writes_the_plan_that_the_study_picks(
    network: Network, data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "plan.json"
    given = (
        "tune",
        "fashion-cnn",
        "--data",
        data,
        "--budget",
        4.2,
        "--bits",
        "2,4,8",
        "--sharing",
        "channel",
        "-o",
        path,
    )
    assert run(*given, "--dry-run").exit_code == 0
    assert not path.exists()
    record = told(*given, "--test")
    specs = [qe.QuantizerSpec(qe.IntFormat(bits), qe.PerChannel(), clipping=qe.MinMSE()) for bits in (2, 4, 8)]
    *_, front = measured_front(network, specs, [0.8 * 4.2, 0.9 * 4.2, 4.2])
    best = front.best_within(4.2)
    assert qe.QuantizationPlan.load(path).key == best.plan.key
    assert [one["measured"]["value"] for one in record["points"]] == [p.measured.score.value for p in front.points]
    assert record["test"]["plan"]["value"] == network.evaluate(best.plan).value
    assert run(*given).exit_code == 2  # the file is there
    shown = run(*given, "--overwrite")
    assert shown.exit_code == 0
    assert all(len(line) <= 80 for line in shown.stdout.splitlines() if "mixed" in line)
    quantized = told(*given[:-1], tmp_path / "inputs.json", "--activations", 8)
    plan = qe.QuantizationPlan.load(tmp_path / "inputs.json")
    assert {layer.activation.spec.format for layer in plan.layers.values()} == {qe.IntFormat(8, signed=False)}
    assert (
        next(one for one in quantized["points"] if one["picked"])["measured"]["value"]
        == network.evaluate(plan, "search").value
    )
    tight = (*given[:-1], tmp_path / "other.json", "--max-drop", 0, "--bits", "2,3", "--budget", 2.3)
    assert run(*tight).exit_code == FELL


def test_a_page_goes_on_from_what_a_command_has_measured_on_a_machine_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("QUANT_EXPLORER_CACHE", str(tmp_path))
    key = "search", "fc2", "a plan", None
    kept_of(compute.network(CNN_KEY))[key] = {"accuracy": Accuracy(9, 10)}
    for naming, there in ((access.ANYTHING, True), (access.CLASS, False)):
        monkeypatch.setenv(access.NAMING, naming)
        compute.CACHE.clear()
        assert (key in compute.attributions(CNN_KEY)) == there
    compute.CACHE.clear()


def test_compare_puts_two_plans_on_the_same_samples(network: Network, data: pathlib.Path, plan: pathlib.Path) -> None:
    record = told("compare", "fashion-cnn", plan, "--data", data)
    found = compare_paired(network, None, qe.QuantizationPlan.load(plan))
    assert record["flips"] == {"fixed": len(found.fixed), "broken": len(found.broken), "p_value": found.p_value}
    assert record["scores"]["accuracy"]["after"]["value"] == found.after["accuracy"].value
    assert {one["name"] for one in record["weights"]} == set(network.layers())
    both = run("compare", plan, plan, "--model", "fashion-cnn", "--data", data)
    assert both.exit_code == 0
    assert "All weights are the same" in both.stdout
    assert "name the model" in run("compare", plan, plan).output


def test_a_plan_is_applied_and_reported(data: pathlib.Path, plan: pathlib.Path, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "again.json"
    assert run("apply", plan, "fashion-cnn", "--to", "plan", "-o", target, "--dry-run").exit_code == 0
    assert not target.exists()
    record = told("apply", plan, "fashion-cnn", "--to", "plan", "-o", target, "--verify", "--data", data)
    assert record["paths"][0] == str(target)
    assert all(one["exact"] for one in record["verified"])
    assert record["bits_per_weight"]["codes"] == 3
    shown = run("apply", plan, "fashion-cnn", "--to", "plan", "-o", target, "--overwrite").stdout
    assert f"{record['bits_per_weight']['plan']:.3f} bits a weight" in shown
    assert "choose one of onnx" in " ".join(run("apply", plan, "fashion-cnn", "--to", "nothing").output.split())
    page = tmp_path / "report.html"
    assert run("report", plan, "fashion-cnn", "--data", data, "-o", page).exit_code == 0
    assert "three" in page.read_text("utf-8")
    assert run("report", plan, "fashion-cnn", "-o", page).exit_code == 2


@pytest.mark.parametrize("target", ["aimet2", "ort", "onnx"])
@pytest.mark.choice(3)
def test_a_file_of_another_tool_is_applied_and_goes_back_byte_for_byte(target: str, tmp_path: pathlib.Path) -> None:
    network = load("fashion-cnn")
    plan = qe.QuantizationPlan({"fc2": qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel()))})
    given = tmp_path / f"given{EXPORTERS[target].ending}"
    EXPORTERS[target].write(network, plan, given)
    if target == "aimet2":
        given.write_text(json.dumps({**json.loads(given.read_text()), "by": "another tool"}))
    again = tmp_path / f"again{given.suffix}"
    assert run("apply", given, "fashion-cnn", "--to", target, "-o", again).exit_code == 0
    assert again.read_bytes() == given.read_bytes()
    saved = run("apply", given, "fashion-cnn", "--to", "plan", "-o", tmp_path / "plan.json")
    assert saved.exit_code == 0, saved.output
    scale = qe.QuantizationPlan.load(tmp_path / "plan.json")["fc2"].weight.scale
    np.testing.assert_array_equal(scale, network.freeze(plan)["fc2"].weight.scale)


def test_the_seed_draws_the_splits(data: pathlib.Path) -> None:
    tasks = [open_given("fashion-cnn", data, seed).network.given_task for seed in (0, 0, 7)]
    assert tasks[0].key == tasks[1].key != tasks[2].key


def test_mistakes_say_what_to_give(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "p.json"
    for arguments, word in (
        (("tune", "fashion-cnn", "--budget", 1, "-o", out), "raise it"),
        (("tune", "fashion-cnn", "--budget", 4, "-o", out, "--bits", "a"), "3,4,8"),
        (("tune", "nowhere", "--budget", 4, "-o", out), "organisation/model"),
        (("attribute", "fashion-cnn", "--sharing", "row"), "channel"),
        (("attribute", "fashion-cnn", "--plan", tmp_path / "no.json"), "JSON"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert word in result.output


def test_a_stop_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    class Step:
        done, total = 3, 9

    def stopped() -> Iterator[Step]:
        yield Step()
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as left:
        followed(stopped(), "measuring", str)
    assert left.value.exit_code == STOPPED
    assert "3 measurements" in capsys.readouterr().err
