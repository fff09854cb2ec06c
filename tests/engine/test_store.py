"""The store: what was committed is there after a kill, two processes write at once, and other files are left alone."""

from __future__ import annotations

import math
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from quant_engine import QuantError
from quant_engine.network import Accuracy
from quant_engine.store import Store, digest_of, read_score, result_key, write_score
from quant_engine.store.schema import APPLICATION, MIGRATIONS

ROOT = pathlib.Path(__file__).parents[2]
WRITER = """
import sys
from quant_engine.store import Store
store = Store(sys.argv[1])
for number in range(int(sys.argv[3])):
    store.save(sys.argv[2], "model", "digest", f"plan {number}")
    print(number, flush=True)
"""


def begin(path: pathlib.Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.choice(10)
@pytest.mark.parametrize("seed", range(50))
def test_what_was_committed_is_there_after_a_kill_at_a_random_moment(seed: int, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "store.sqlite"
    process = begin(path, "killed", 1_000_000)
    assert process.stdout is not None
    for _ in range(5):
        said = int(process.stdout.readline())
    time.sleep(random.Random(seed).random() / 20)
    process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    rest = process.stdout.read().split()
    process.wait()
    said = max([said, *map(int, rest)])
    found = [plan.document for plan in Store(path).plans("killed")]
    assert found == [f"plan {number}" for number in range(len(found))]
    assert len(found) in (said + 1, said + 2)  # the last may have been committed and not said
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_two_processes_and_threads_write_at_once_and_nothing_is_lost(tmp_path: pathlib.Path) -> None:
    path, each = tmp_path / "store.sqlite", 15
    processes = [begin(path, "shared", each) for _ in range(2)]
    store = Store(path)
    threads = [
        threading.Thread(target=lambda name=name: [store.save(name, "m", "d", f"{n}") for n in range(each)])
        for name in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        assert process.communicate()[0].count("\n") == each
    assert [plan.document for plan in store.plans("one")] == [f"{n}" for n in range(each)]
    shared = [plan.document for plan in store.plans("shared")]
    assert {f"plan {n}" for n in range(each)} == set(shared)


def test_a_project_is_named_searched_renamed_exported_and_imported(tmp_path: pathlib.Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.save("Erste", "ocr", "d1", "a")
    time.sleep(0.01)
    store.save("second", "minilm", "d2", "b", label="A")
    store.save("second", "minilm", "d2", "b", label="A")
    assert [project.name for project in store.projects()] == ["second", "Erste"]
    assert [project.name for project in store.projects("OCR")] == ["Erste"]
    assert [project.name for project in store.projects(digest="d2")] == ["second"]
    assert len(store.plans("second")) == 1
    store.export("second", tmp_path / "out.sqlite")
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out.sqlite"]
    with pytest.raises(QuantError, match="exists"):
        store.export("second", tmp_path / "out.sqlite")
    before = (tmp_path / "out.sqlite").read_bytes()
    assert store.import_from(tmp_path / "out.sqlite") == ["second (2)"]
    assert (tmp_path / "out.sqlite").read_bytes() == before
    assert store.plans("second (2)")[0].document == "b"
    store.rename("Erste", "first")
    with pytest.raises(QuantError, match="another name"):
        store.rename("first", "second")
    store.delete("second")
    assert {project.name for project in store.projects()} == {"first", "second (2)"}
    for call in (store.plans, store.delete):
        with pytest.raises(QuantError, match="no project 'second'"):
            call("second")


def test_what_is_attached_to_plans_is_kept_once_goes_with_the_project_and_is_checked(tmp_path: pathlib.Path) -> None:
    path, scales, codes = tmp_path / "store.sqlite", b"scales" * 1000, b"codes" * 1000
    names = digest_of(scales), digest_of(codes)
    store = Store(path)
    store.save("p", "m", "d", "a", attached=[scales])
    store.save("p", "m", "d", "b", attached=[scales, codes])
    store.save("q", "m", "d", "a", attached=[codes])
    assert [set(plan.attached) for plan in store.plans("p")] == [{names[0]}, {*names}]
    store.export("p", tmp_path / "out.sqlite")
    other = Store(tmp_path / "other.sqlite")
    other.import_from(tmp_path / "out.sqlite")
    assert [other.attachment(name) for name in names] == [scales, codes]
    store.delete("p")
    assert store.attachment(names[1]) == codes
    with pytest.raises(QuantError, match="load another plan"):
        store.attachment(names[0])
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM attachment").fetchone() == (1,)
        connection.execute("UPDATE attachment SET content = x'00'")
    with pytest.raises(QuantError, match="load another plan"):
        store.attachment(names[1])


def test_what_another_window_has_saved_meanwhile_is_told(tmp_path: pathlib.Path) -> None:
    one, other = Store(tmp_path / "store.sqlite"), Store(tmp_path / "store.sqlite")
    first = one.save("p", "m", "d", "a")
    assert one.save("p", "m", "d", "a", since=first.number).others == 0
    other.save("p", "m", "d", "b")
    other.save("q", "m", "d", "c")
    second = one.save("p", "m", "d", "d", since=first.number)
    assert second.others == 1
    assert one.save("p", "m", "d", "e", since=second.number).others == 0
    assert [plan.document for plan in one.plans("p")] == ["a", "b", "d", "e"]


def test_a_name_belongs_to_one_model(tmp_path: pathlib.Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.save("mine", "ocr", "d1", "a")
    with pytest.raises(QuantError, match="another model, ocr"):
        store.save("mine", "minilm", "d2", "b")
    for name in ("", " ", "x" * 201):
        with pytest.raises(QuantError, match="characters"):
            store.save(name, "ocr", "d1", "a")
    assert [plan.document for plan in store.plans("mine")] == ["a"]


def test_results_are_found_again_by_what_they_depend_on(tmp_path: pathlib.Path) -> None:
    key, score = result_key("score", "model", "plan"), Accuracy(1830, 2000)
    Store(tmp_path / "store.sqlite").keep(key, [write_score(score), {"nan": math.nan}])
    found = Store(tmp_path / "store.sqlite").result(key)
    assert found is not None
    again = read_score(found[0])
    assert (again.name, again.value, again.interval, again.n) == (score.name, score.value, score.interval, 2000)
    assert Store(tmp_path / "store.sqlite").result(result_key("score", "model", "other")) is None
    with pytest.raises(QuantError, match="cannot be kept"):
        Store(tmp_path / "store.sqlite").keep(key, {1j: 2})


def test_a_file_of_an_older_version_is_migrated_and_keeps_what_it_has(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(MIGRATIONS[0])
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO project VALUES (1, 'old', 'ocr', 'd', '2026', '2026')")
        connection.execute("INSERT INTO plan VALUES (1, 1, 'kept', '', '2026')")
    store = Store(path)
    assert [plan.document for plan in store.plans("old")] == ["kept"]
    store.keep("key", 1)
    assert store.result("key") == 1


@pytest.mark.parametrize("kind", ["text", "foreign", "later", "trigger", "cut", "folder", "nowhere"])
def test_what_is_no_store_is_refused_and_left_alone(kind: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file.sqlite"
    if kind == "text":
        path.write_text("my notes, which nobody else has")
    elif kind == "folder":
        path.mkdir()
    elif kind == "nowhere":
        path = tmp_path / "nowhere" / "file.sqlite"
    elif kind == "trigger":
        Store(path).save("a", "m", "d", "x")
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("CREATE TRIGGER trap AFTER INSERT ON plan BEGIN DELETE FROM project; END")
    elif kind == "cut":
        Store(path).save("a", "m", "d", "x" * 100_000)
        path.write_bytes(path.read_bytes()[:5000] + b"\0" * 3000)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE mine (x)")
            if kind == "later":
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(QuantError, match=r"give|move"):
        Store(path).save("a", "m", "d", "y")
    assert (path.read_bytes() if path.is_file() else b"") == before
