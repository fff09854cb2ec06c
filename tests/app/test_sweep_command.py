"""The command that sweeps: the words it takes, what it writes, and how it goes on."""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import quant_engine as qe
from explorer.cli import program
from explorer.given import Given, swept
from explorer.sweep_results import results_of, summaries
from explorer.sweep_specs import FORMATS, SHARED, name_of, specs_of
from quant_engine.sweep import plan_sweep, read_sweep, sweep


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(program, ["sweep", *(str(one) for one in arguments)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("model") / "model.npz"
    np.savez(path, **{name: rng.standard_normal((32, 64)).astype(np.float32) for name in ("a.proj", "b.proj", "norm")})
    return path


GIVEN = "--bits", "3-4", "--clipping", "minmax,kl", "--formats", "int,NF4,MXFP4", "--workers", 1


def test_the_command_writes_what_the_engine_finds(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out.parquet"
    result = run(model, *GIVEN, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    specs, _ = specs_of("3-4", "layer,channel", "minmax,kl", "int,NF4,MXFP4")
    list(sweep(model, specs, tmp_path / "own"))
    columns, own = read_sweep(out).columns, read_sweep(tmp_path / "own").columns
    assert columns["spec"] == [spec.key for spec in specs] * 3
    assert columns["mse"] == own["mse"]
    record = json.loads(result.stdout)
    assert (record["cells"], record["failed"]) == (33, 0)
    assert [one["name"] for one in record["specs"]] == [one.name for one in summaries(results_of(read_sweep(out)))]
    assert "NF4, KL" in result.stderr
    before = out.read_bytes()
    shown = run(model, *GIVEN, "-o", out)
    assert (shown.exit_code, out.read_bytes()) == (0, before)
    assert "int3, channel" in shown.stdout
    other = run(model, "--workers", 1, "-o", out)
    assert other.exit_code == 2
    assert out.read_bytes() == before


def test_a_dry_run_says_what_it_takes_and_writes_nothing(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out.parquet"
    given = (model, "--bits", "4", "--tensors", "*proj", "--dry-run", "--workers", 3, "--read-rate", 100, "-o", out)
    assert run(*given).exit_code == 0
    record = json.loads(run(*given, "--json").stdout)
    assert (record["cells"], record["values"], record["read_bytes"]) == (4, 2 * 32 * 64, 8 * 32 * 64)
    assert record["read_rate"] == 1e8
    assert record["seconds"]["3"] <= record["seconds"]["1"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        ("--bits", "1"),
        ("--bits", "4-"),
        ("--bits", "8-2"),
        ("--bits", ""),
        ("--granularity", "rows"),
        ("--clipping", "none"),
        ("--formats", "int,FP64"),
        ("--tensors", "nothing"),
        ("--attribute",),
        ("--dask", "no address"),
    ],
)
def test_what_there_is_not_is_refused(wrong: tuple[str, ...], model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    result = run(model, *wrong, "--workers", 1, "-o", tmp_path / "out.parquet")
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "out.parquet").exists()


def test_every_format_has_specs_that_go_together_and_names_of_their_own() -> None:
    for word in FORMATS:
        specs, _ = specs_of("4", ",".join(SHARED), "minmax,mse,kl", word)
        assert specs, word
        assert len({name_of(spec) for spec in specs}) == len(specs)


def test_a_model_that_runs_is_opened_by_each_worker_and_a_file_is_read_as_it_is(model: pathlib.Path) -> None:
    opener = swept("fashion-cnn", None)
    assert isinstance(opener, Given)
    assert pickle.loads(pickle.dumps(opener)) == opener
    assert plan_sweep(opener, [qe.QuantizerSpec(qe.IntFormat(4))]).name == "fashion-cnn"
    assert swept(str(model), None) == str(model)
    assert swept("s3://bucket/model.safetensors", None) == "s3://bucket/model.safetensors"
    with pytest.raises(qe.QuantError, match="leave the data out"):
        swept("s3://bucket/model.safetensors", model)


def test_all_tensors_together_are_weighed_by_their_values(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    specs = [qe.QuantizerSpec(qe.IntFormat(bits), qe.PerChannel()) for bits in (8, 2, 4)]
    tensors = {"one": np.ones((2, 8), np.float32) * 3, "two": np.load(model)["norm"]}
    np.savez(tmp_path / "model.npz", **tensors, bad=np.full((4, 4), np.nan, np.float32))
    list(sweep(tmp_path / "model.npz", specs, tmp_path / "out"))
    found = summaries(results_of(read_sweep(tmp_path / "out")))
    assert [one.name for one in found] == ["int2, channel", "int4, channel", "int8, channel"]
    for one, spec in zip(found, (specs[1], specs[2], specs[0]), strict=True):
        errors = [qe.fake_quantize(x, spec) - x for x in tensors.values()]
        total = sum(float(np.square(error, dtype=np.float64).sum()) for error in errors)
        assert one.mse == pytest.approx(total / (16 + 32 * 64))
        assert (one.tensors, one.failed, one.on_front) == (2, 1, True)


@pytest.mark.full
def test_a_command_that_is_killed_goes_on_where_it_was(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(1)
    large = {f"{n}": rng.standard_normal((256, 1024)).astype(np.float32) for n in range(12)}
    np.savez(tmp_path / "model.npz", **large)
    out = tmp_path / "out.parquet"
    words = ["sweep", tmp_path / "model.npz", "--clipping", "mse", "--workers", "2", "-o", out]
    command = [sys.executable, "-m", "explorer.cli", *map(str, words)]
    journal = tmp_path / "out.parquet.journal"
    with subprocess.Popen(command, env=os.environ) as process:
        while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 4):
            time.sleep(0.01)
        process.kill()
    kept = journal.read_bytes().count(b"\n") - 1
    assert 3 <= kept < 12
    assert subprocess.run(command, check=True, env=os.environ, capture_output=True).returncode == 0
    columns = read_sweep(out).columns
    assert len(set(zip(columns["tensor"], columns["spec"], strict=True))) == len(columns["tensor"]) == 12 * 14
    assert not journal.exists()
