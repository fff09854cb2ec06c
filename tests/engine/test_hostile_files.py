"""Plans, encodings and projects that somebody wrote to do harm: read or refused, in time and in memory."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sqlite3
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from quant_engine import (
    Codebook,
    FixedPointFormat,
    FixedRange,
    FloatFormat,
    IntFormat,
    KMeans,
    MinKL,
    PerBlock,
    Percentile,
    PerChannelGroup,
    PerGroup,
    ProductCodebook,
    QuantError,
    Quantiles,
    QuantizationPlan,
    QuantizerSpec,
    VectorCodebook,
    quantize,
)
from quant_engine.export import import_plan
from quant_engine.network import load
from quant_engine.records import Record, from_record, to_record
from quant_engine.store import Store

SECONDS, BYTES = 30.0, 400 << 20  # bounds on what a hostile file may cost, not on speed
FORMATS = (
    *(IntFormat(4), FixedPointFormat(4, 4), FloatFormat(4, 3), Codebook((0.0, 1.0)), KMeans(4), Quantiles(4)),
    *(VectorCodebook(2, 4), ProductCodebook(4, 4, 2)),
)
PARTS: tuple[tuple[str, Record], ...] = (
    *(("format", one) for one in FORMATS),
    *(("granularity", one) for one in (PerChannelGroup(2), PerGroup(4), PerBlock(2, 2))),
    *(("clipping", one) for one in (Percentile(99.0), MinKL(), FixedRange(-1.0, 1.0))),
)
VALUES = (10**9, 10**18, 10**400, -1, 1.5, float("nan"), float("inf"), True, None, "4", [4], [[4]] * 9, {}, "\ud800")
SPEC = to_record(QuantizerSpec(IntFormat(4)))
MANY = 20_000
TEXTS = {
    "nesting": b"[" * 1_000_000,
    "objects in objects": b'{"layers":' * 100_000,
    "a number of a million digits": b'{"schema": ' + b"9" * 1_000_000 + b', "layers": {}}',
    "infinity": b'{"schema": 1e999, "layers": {}}',
    "not a number": b'{"schema": NaN, "layers": {}}',
    "a key twice": b'{"schema": 2, "layers": {"a": {}, "a": {}}}',
    "no text": bytes(range(256)) * 4000,
    "a lone surrogate": b'{"schema": 2, "layers": {"\\ud800": {"weight": 5}}}',
    "another schema": b'{"schema": 99, "layers": {}}',
    "an array that is not there": json.dumps(
        {"schema": 2, "layers": {"a": {"weight": {"spec": SPEC, "fitted": True}}}}
    ).encode(),
    "many unknown fields": json.dumps({"schema": 2, "layers": {"a": dict.fromkeys(map(str, range(MANY)), 1)}}).encode(),
    "encodings without end": json.dumps({"version": "1.0.0", "param_encodings": [[]] * MANY}).encode(),
    "encodings of huge widths": json.dumps(
        {
            "version": "1.0.0",
            "activation_encodings": [],
            "param_encodings": [
                {"name": "fc2.weight", "bw": 10**9, "dtype": "INT", "enc_type": "PER_TENSOR", "is_sym": True}
                | {"scale": [1e-400, float("nan")], "offset": [10**30]}
            ],
        }
    ).encode(),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("reader", ["plan", "encodings"])
def test_a_hostile_file_is_refused_in_time_and_memory(kind: str, reader: str, tmp_path: pathlib.Path) -> None:
    path, network = tmp_path / ("plan.json" if reader == "plan" else "given.encodings"), load("fashion-cnn")
    path.write_bytes(TEXTS[kind])
    began = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(QuantError) as refused:
            QuantizationPlan.load(path) if reader == "plan" else import_plan(network, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < BYTES
    assert time.monotonic() - began < SECONDS
    assert len(str(refused.value)) < 5000


@pytest.mark.parametrize(("role", "part"), PARTS)
def test_a_spec_with_hostile_numbers_is_refused_or_quantizes(role: str, part: Record) -> None:
    x = np.random.default_rng(0).standard_normal((8, 32)).astype(np.float32)
    record, refused = to_record(part), 0
    for field in record:
        for value in VALUES:
            try:
                found: Any = from_record({**record, field: value})
                spec = to_record(QuantizerSpec(IntFormat(4))) | {role: to_record(found)}
                assert quantize(x, from_record(spec)).shape == x.shape
            except QuantError:
                refused += 1
    assert refused > len(VALUES) / 2


def test_a_project_file_with_hostile_content_is_refused_or_read_as_text(tmp_path: pathlib.Path) -> None:
    hostile, mine = Store(tmp_path / "given.sqlite"), Store(tmp_path / "mine.sqlite")
    name = "'; DROP TABLE plan; -- ![a](//evil.example) <b>"
    hostile.save(name, name, "digest", "[" * 100_000, name)
    with contextlib.closing(sqlite3.connect(hostile.path)) as connection:
        connection.execute("UPDATE plan SET saved = ?, label = ?", ("no time", name))
        connection.commit()
    assert mine.import_from(hostile.path) == [name]
    assert [plan.document[:3] for plan in mine.plans(name)] == ["[[["]
    assert mine.plans(name)[0].saved != "no time"
    with contextlib.closing(sqlite3.connect(hostile.path)) as connection:
        connection.execute("CREATE TRIGGER evil AFTER INSERT ON plan BEGIN DELETE FROM project; END")
        connection.commit()
    with pytest.raises(QuantError, match="triggers"):
        mine.import_from(hostile.path)
    hostile.path.write_bytes(hostile.path.read_bytes()[:5000])
    with pytest.raises(QuantError):
        mine.import_from(hostile.path)
    assert [project.name for project in mine.projects()] == [name]
