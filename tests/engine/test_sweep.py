"""A sweep finds in every cell what the engine says of it, whoever does the work and however often it is stopped."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import fsspec
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save, save_file

import quant_engine as qe
from quant_engine.kernels.parallel import one_thread, thread_count
from quant_engine.network import Network, from_module, load
from quant_engine.readers import ReaderError, open_file, open_url
from quant_engine.studies import attribute
from quant_engine.sweep import CELL_COLUMNS, Chunk, estimate, plan_sweep, process_map, read_sweep, sweep, work
from quant_engine.tasks import Agreement

SHORT = qe.PerGroup(32, remainder="short")
SPECS = [
    qe.QuantizerSpec(qe.IntFormat(4)),
    qe.QuantizerSpec(qe.IntFormat(3), symmetric=False, clipping=qe.MinMSE()),
    qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel()),
    qe.QuantizerSpec(qe.IntFormat(4), SHORT, clipping=qe.MinMSE()),
    qe.QuantizerSpec(qe.E2M1, SHORT, scale_format=qe.E8M0),
]
MEASURED = ("mse", "sqnr_db", "max_abs", "cosine", "clipped_share")
FOUND = [name for name in CELL_COLUMNS if "seconds" not in name]


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(4, shape).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a file of five tensors, one of them with a NaN."""
    bad = drawn(8, 8, seed=4)
    bad[3, 2] = np.nan
    tensors = {"a.weight": drawn(16, 96), "a.bias": drawn(16, seed=1), "b.weight": drawn(600, 500, seed=2), "bad": bad}
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_file(tensors | {"conv": drawn(4, 3, 3, 3, seed=5).astype(np.float16), "ids": np.arange(4)}, path)
    return path


def found_in(path: str | os.PathLike[str]) -> list[dict]:
    return [{name: row[name] for name in FOUND} for row in read_sweep(path).rows()]


@pytest.fixture(scope="module")
def expected(model: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Return what a sweep finds that nothing disturbs."""
    out = tmp_path_factory.mktemp("results") / "results.parquet"
    *_, last = sweep(model, SPECS, out)
    assert (last.done, last.failed, last.out) == (25, 5, out)
    assert [path.name for path in out.parent.iterdir()] == ["results.parquet"]
    return found_in(out)


def test_each_cell_is_what_fit_and_measure_say(model: pathlib.Path, expected: list[dict]) -> None:
    file, cells = open_file(model), itertools.product(("a.bias", "a.weight", "b.weight", "bad", "conv"), SPECS)
    for row, (name, spec) in zip(expected, cells, strict=True):
        assert (row["tensor"], row["spec"]) == (name, spec.key)
        if name == "bad":
            assert row["error_kind"] == "refused"
            assert "(3, 2)" in row["error"]
            assert row["mse"] is None
            continue
        x = file.load(name).astype(np.float32)
        x = x.reshape(len(x), -1) if x.ndim > 1 else x[None]
        with one_thread():
            report = qe.fit(x, spec).measure(x)
        assert {key: row[key] for key in MEASURED} == {key: getattr(report, key) for key in MEASURED}
        assert row["bits_per_value"] == spec.storage(x.shape).bits_per_value


def test_a_thread_that_works_alone_leaves_the_others_their_cores() -> None:
    before = thread_count()
    with one_thread():
        assert thread_count() == 1
        elsewhere: list[int] = []
        other = threading.Thread(target=lambda: elsewhere.append(thread_count()))
        other.start()
        other.join()
    assert elsewhere == [before] == [thread_count()]


KINDS = [
    *SPECS,
    qe.QuantizerSpec(qe.IntFormat(8), symmetric=False),
    qe.QuantizerSpec(qe.IntFormat(4), clipping=qe.Percentile(99.9)),
    qe.QuantizerSpec(qe.IntFormat(4), qe.PerBlock(32, 32, remainder="short")),
    qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(1)),
    qe.QuantizerSpec(qe.E2M1, SHORT, scale_format=qe.E4M3),
    qe.QuantizerSpec(qe.IntFormat(4), rounding="stochastic"),
    qe.QuantizerSpec(qe.BF16),
    qe.QuantizerSpec(qe.KMeans(4)),
    qe.QuantizerSpec(qe.BlockFormat("Q4_0")),
]
CHOSEN_BY_COUNTS = (1, 6)  # ranges that come from a histogram


@pytest.mark.parametrize("shape", [(1500, 320), (20, 30, 3, 7)])
def test_a_tensor_in_blocks_of_rows_has_the_error_of_the_whole(shape: tuple[int, ...], tmp_path: pathlib.Path) -> None:
    save_file({"x": drawn(*shape)}, tmp_path / "model.safetensors")
    found = []
    for name, max_values in (("whole", 1 << 30), ("blocks", 1 << 12)):
        list(sweep(tmp_path / "model.safetensors", KINDS, tmp_path / name, max_values=max_values))
        found.append(read_sweep(tmp_path / name).rows())
    for place, (whole, blocks) in enumerate(zip(*found, strict=True)):
        assert whole["error_kind"] == blocks["error_kind"]
        if whole["error"]:
            assert (shape[-1], KINDS[place].format) == (7, qe.BlockFormat("Q4_0"))  # 630 values in blocks of 32
            continue
        tolerance = 2e-3 if place in CHOSEN_BY_COUNTS else 1e-12
        for name in MEASURED if place not in CHOSEN_BY_COUNTS else ("mse", "cosine"):
            assert blocks[name] == pytest.approx(whole[name], rel=tolerance), KINDS[place]
        assert blocks["bits_per_value"] == whole["bits_per_value"]
    assert {row["blocks"] for row in found[0] if row["blocks"]} == {1}
    assert found[1][0]["blocks"] == (6 if len(shape) == 2 else 1)  # of 256 rows and more


def test_a_block_reads_its_own_rows_alone(model: pathlib.Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    path = model.with_name("bf16.safetensors")
    values = torch.from_numpy(drawn(64, 6)).bfloat16()
    save_torch({"x": values, "other": values[:2].clone()}, path)
    file = open_file(path)
    assert file.load_rows("x", 10, 13).tolist() == values[10:13].float().tolist()
    with pytest.raises(qe.QuantError, match="no rows"):
        file.load_rows("x", 60, 65)


class Stopped(Exception):  # noqa: N818
    pass


def counting(calls: Counter, stop_after: int = 1 << 30):
    """Return a map that counts what it works on, and breaks off."""

    def over(function, chunks):
        for chunk in chunks:
            if sum(calls.values()) >= stop_after:
                raise Stopped
            calls[chunk.tensor] += len(chunk.specs)
            yield function(chunk)

    return over


@pytest.mark.parametrize("stop_after", [0, 5, 20])
def test_a_sweep_that_was_stopped_goes_on_and_does_nothing_twice(
    stop_after: int, model: pathlib.Path, expected: list[dict], tmp_path: pathlib.Path
) -> None:
    calls: Counter = Counter()
    with pytest.raises(Stopped):
        list(sweep(model, SPECS, tmp_path / "out", counting(calls, stop_after)))
    assert not (tmp_path / "out").exists()
    first, *_, last = sweep(model, SPECS, tmp_path / "out", counting(calls))
    assert (first.done, last.done) == (stop_after, 25)
    assert set(calls.values()) == {5}
    assert found_in(tmp_path / "out") == expected
    assert [step.done for step in sweep(model, SPECS, tmp_path / "out", counting(calls))] == [25]
    assert sum(calls.values()) == 25


def test_a_journal_cut_at_any_byte_loses_no_whole_line(
    model: pathlib.Path, expected: list[dict], tmp_path: pathlib.Path
) -> None:
    journal = tmp_path / "out.journal"
    with pytest.raises(Stopped):
        list(sweep(model, SPECS, tmp_path / "out", counting(Counter(), 15)))
    whole = journal.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    for cut in [0, 7, ends[0], ends[1] - 1, ends[1] + 100, len(whole)]:
        calls: Counter = Counter()
        journal.write_bytes(whole[:cut] + b"00000000 {" * (cut % 2))
        list(sweep(model, SPECS, tmp_path / "out", counting(calls)))
        assert sum(calls.values()) == 25 - 5 * max(sum(end <= cut for end in ends) - 1, 0)
        assert found_in(tmp_path / "out") == expected
        (tmp_path / "out").unlink()


def test_results_of_another_plan_are_left_alone(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        list(sweep(model, SPECS, out, counting(Counter(), 5)))
    with pytest.raises(qe.QuantError, match="another sweep"):
        list(sweep(model, SPECS[:2], out))
    list(sweep(model, SPECS, out))
    before = out.read_bytes()
    with pytest.raises(qe.QuantError, match="another sweep"):
        list(sweep(model, SPECS[:2], out))
    assert out.read_bytes() == before
    (tmp_path / "text").write_text("mine")
    with pytest.raises(qe.QuantError, match="no file of results"):
        list(sweep(model, SPECS, tmp_path / "text"))


def test_two_sweeps_do_not_write_one_result(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    running = sweep(model, SPECS, tmp_path / "out")
    next(running)
    with pytest.raises(qe.QuantError, match="another process"):
        list(sweep(model, SPECS, tmp_path / "out"))
    running.close()


def test_a_model_that_changes_is_told_from_what_was_planned(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, x=drawn(8, 8))
    plan = plan_sweep(path, SPECS)
    np.savez(path, x=drawn(8, 8, seed=1))
    os.utime(path, ns=(1, 1))
    assert {row["error_kind"] for chunk in plan.chunks() for row in work(chunk)} == {"refused"}
    assert plan_sweep(path, SPECS).record != plan.record


def test_what_the_machine_fails_at_is_tried_again(
    model: pathlib.Path, expected: list[dict], tmp_path: pathlib.Path
) -> None:
    def short_of_memory(function, chunks):
        for chunk in chunks:
            rows = function(chunk)
            short = chunk.tensor == "b.weight"
            yield [row | {"error_kind": "failed", "error": "MemoryError: "} for row in rows] if short else rows

    *_, last = sweep(model, SPECS, tmp_path / "out", short_of_memory)
    assert (last.done, last.failed) == (25, 10)
    calls: Counter = Counter()
    *_, last = sweep(model, SPECS, tmp_path / "out", counting(calls))
    assert (last.failed, dict(calls)) == (5, {"b.weight": 5})
    assert found_in(tmp_path / "out") == expected


def test_processes_find_the_same_bits_and_one_that_is_killed_takes_nothing_with_it(
    model: pathlib.Path, expected: list[dict], tmp_path: pathlib.Path
) -> None:
    with process_map(2) as over_processes:
        killed = [future.exception() for future in over_processes(_kill, plan_sweep(model, SPECS[:1]).chunks()[:1])]
        list(sweep(model, SPECS, tmp_path / "out", over_processes))
    assert "was killed" in str(killed[0])
    assert found_in(tmp_path / "out") == expected


def _kill(chunk: Chunk) -> list[dict]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_chunk_that_kills_its_process_twice_is_a_row(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    def deadly(function, chunks):
        return [_Broken() for _ in chunks] if len(chunks) == 1 else map(function, chunks)

    plan = plan_sweep(model, SPECS, tensors="conv")
    *_, last = sweep(plan, out=tmp_path / "out", map=deadly)
    assert (last.done, last.failed) == (5, 5)
    assert {row["error_kind"] for row in read_sweep(tmp_path / "out").rows()} == {"failed"}


class _Broken:
    """A future whose worker has died."""

    def add_done_callback(self, told) -> None:
        told(self)

    def result(self) -> list:
        raise RuntimeError("the worker died")

    def cancel(self) -> None:
        raise AssertionError("it is done")


PARENT = """
import sys, time
from quant_engine.sweep import process_map
def main():
    with process_map(1) as over_processes:
        print(over_processes(abs, [-7])[0].result(), flush=True)
        import multiprocessing
        print(multiprocessing.active_children()[0].pid, flush=True)
        time.sleep(600)
if __name__ == "__main__":
    main()
"""


@pytest.mark.full
def test_processes_end_with_the_one_that_began_them_even_if_that_is_killed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "7\n"
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    for _ in range(600):
        try:
            os.kill(child, 0)
            time.sleep(0.1)
        except ProcessLookupError:
            return
    pytest.fail("the process goes on alone")


@pytest.fixture
def served(model: pathlib.Path):
    """Serve a folder over HTTP, ranges of bytes too."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            content = (model.parent / self.path.lstrip("/")).read_bytes()
            first, last = 0, len(content) - 1
            if span := self.headers.get("Range"):
                first, last = (int(end) for end in span.removeprefix("bytes=").split("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.write(content[first : last + 1])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def urls(model: pathlib.Path, served: str) -> list[str]:
    fsspec.filesystem("memory").pipe("/bucket/model.safetensors", model.read_bytes())
    return [f"file://{model}", "memory://bucket/model.safetensors", f"{served}/model.safetensors"]


def test_tensors_behind_a_url_are_those_of_the_file(
    urls: list[str], expected: list[dict], tmp_path: pathlib.Path
) -> None:
    for place, url in enumerate(urls):
        list(sweep(url, SPECS, tmp_path / f"{place}"))
        assert found_in(tmp_path / f"{place}") == expected
    assert open_url(urls[1]).digest == open_url(urls[1]).version


def test_an_index_behind_a_url_names_the_files_beside_it() -> None:
    store = fsspec.filesystem("memory")
    x = drawn(4, 8)
    index = {"weight_map": {"one": "1.safetensors", "two": "2.safetensors"}}
    for name, content in {
        "1.safetensors": save({"one": x}),
        "2.safetensors": save({"two": x + 1}),
        "model.safetensors.index.json": json.dumps(index).encode(),
    }.items():
        store.pipe(f"/shards/{name}", content)
    file = open_url("memory://shards/model.safetensors.index.json")
    assert file.load("two").tolist() == (x + 1).tolist()
    assert file.load_rows("one", 1, 3).tolist() == x[1:3].tolist()
    before = file.version
    store.pipe("/shards/2.safetensors", save({"two": x + 2}))
    assert open_url("memory://shards/model.safetensors.index.json").version != before


@pytest.mark.parametrize("damage", [b"", b"\x08", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]"])
def test_a_url_of_another_file_is_refused(damage: bytes) -> None:
    fsspec.filesystem("memory").pipe("/bad/model.safetensors", damage)
    with pytest.raises(ReaderError):
        open_url("memory://bad/model.safetensors")


@pytest.mark.parametrize("url", ["memory://nothing/there", "nowhere://model", "http://127.0.0.1:9/model.safetensors"])
def test_a_url_where_there_is_nothing_is_refused(url: str) -> None:
    with pytest.raises(qe.QuantError):
        open_url(url)


def test_pandas_reads_the_results_as_the_docs_say(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    list(sweep(model, SPECS, tmp_path / "results.parquet"))
    page = (pathlib.Path(__file__).parents[2] / "docs" / "sweep.md").read_text()
    snippet = page.split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(snippet.replace("results.parquet", str(tmp_path / "results.parquet")), names)
    frame, best = names["cells"], names["best"]
    assert isinstance(frame, pd.DataFrame)
    assert list(best.index) == ["a.bias", "a.weight", "b.weight", "conv"]
    for name, row in best.iterrows():
        known = frame[(frame.tensor == name) & (frame.bits_per_value <= 5)]
        assert row.sqnr_db == known.sqnr_db.max()


@pytest.mark.full
def test_a_process_that_ends_as_soon_as_it_has_read_the_results_is_not_aborted(
    model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    list(sweep(model, SPECS, tmp_path / "out"))
    script = f"from quant_engine.sweep import read_sweep; read_sweep({str(tmp_path / 'out')!r})"
    for _ in range(50):  # of which one or two were, by a thread of Arrow's that held a Python file
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def fashion():
    return load("fashion-cnn")


def test_a_model_that_runs_is_measured_with_each_layer_alone(tmp_path: pathlib.Path) -> None:
    network = fashion()
    spec = qe.QuantizerSpec(qe.IntFormat(2), qe.PerChannel())
    *_, last = sweep(fashion, [spec], tmp_path / "out", attribute=True)
    *_, known = attribute(network, qe.QuantizationPlan.of(network.layers(), {"*": qe.LayerPlan(spec)}))
    for row in read_sweep(tmp_path / "out").rows():
        alone = known.alone[row["tensor"]]
        assert row["score"] == alone.score.value
        assert row["score_change"] == alone.change.value
        assert row["damage"] == pytest.approx(alone.measure.value, rel=1e-4)
    assert last.done == len(network.layers())


def test_what_cannot_be_planned_is_refused(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for given, choices in (
        ([], {}),
        (SPECS[:1] * 2, {}),
        (SPECS, {"tensors": "nothing*"}),
        (SPECS, {"attribute": True}),
        (SPECS, {"max_values": 0}),
    ):
        with pytest.raises(qe.QuantError):
            plan_sweep(model, given, **choices)


def small() -> Network:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    return from_module(layers, Agreement(np.random.default_rng(0).standard_normal((32, 8), np.float32)))


def test_an_estimate_with_attribution_counts_runs_of_the_model_for_every_cell() -> None:
    plan = plan_sweep(small, SPECS[:1], attribute=True)
    found = estimate(plan, [1, 2], read_rate=1e9)
    assert 0 < found.run_seconds < found.work_seconds
    assert found.seconds[1] == pytest.approx(found.work_seconds)


def test_an_estimate_counts_what_is_read_and_shares_it_out(model: pathlib.Path) -> None:
    plan = plan_sweep(model, SPECS)
    found = estimate(plan, [1, 2, 100])
    assert found.values == sum(plan.sizes.values())
    assert found.chunks == 5
    assert found.read_bytes == 4 * found.values - 2 * 4 * 3 * 3 * 3  # one is float16
    assert found.seconds[1] == pytest.approx(found.work_seconds)
    assert found.seconds[1] / 2 <= found.seconds[2] <= found.seconds[1]
    assert found.seconds[100] <= found.seconds[2]
