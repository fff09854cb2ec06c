"""A disk that is full and folders that take no files: what was asked is done or refused, and nothing kept is lost."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
from types import ModuleType

import numba
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of a process")
ROOT = pathlib.Path(__file__).parents[2]
FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails then, as on a disk that is full
def fill(most):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
"""
KERNEL = "from quant_engine.kernels.compile import kernel\n@kernel\ndef double(x):\n    return x + x\n"


def run(script: str, folder: pathlib.Path, **environment: str) -> list[str]:
    """The lines that a process prints which has its home in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder))), "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_kernels_run_where_no_folder_takes_their_code(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.py").write_text(KERNEL)
    for taken in ("__pycache__", ".cache", "cache"):  # root may write anywhere, but not into a file
        (tmp_path / taken).write_text("")
    said = run("import mine; print(mine.double(21))", tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert said == ["42"]


def test_kernels_run_on_a_full_disk(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.py").write_text(KERNEL)
    script = f"{FULL}\nimport sys\nsys.dont_write_bytecode = True\nimport mine\nfill(0)\nprint(mine.double(21))"
    assert run(script, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))[-1] == "42"
    assert run("import mine; print(mine.double(4))", tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == ["8"]


PLANS = f"""{FULL}
import pathlib
from quant_engine import IntFormat, LayerPlan, QuantizationPlan, QuantizerSpec, QuantError
from quant_engine.network import load
from quant_engine.store import Store
network = load("fashion-cnn")
small = QuantizationPlan({{"fc2": LayerPlan(QuantizerSpec(IntFormat(8)))}})
large = network.freeze(QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(QuantizerSpec(IntFormat(4))))))
store = Store("projects.sqlite")
store.save("mine", "fashion-cnn", "digest", "first")
small.save("plan.json")
before = sorted(path.name for path in pathlib.Path().iterdir())
fill(1024)
for work in (lambda: large.save("plan.json"), lambda: store.save("mine", "m", "digest", "x" * 500_000)):
    try:
        work()
        print("written")
    except QuantError as error:
        print(error)
fill(resource.RLIM_INFINITY)
print(QuantizationPlan.load("plan.json").key == small.key, [plan.document for plan in store.plans("mine")])
print(sorted(path.name for path in pathlib.Path().iterdir() if path.suffix not in (".sqlite-wal", ".sqlite-shm")))
store.save("mine", "m", "digest", "second")
print([plan.document for plan in store.plans("mine")])
"""


def test_a_full_disk_leaves_the_plan_and_the_project_that_were_there_and_is_said(tmp_path: pathlib.Path) -> None:
    plan, project, kept, files, after = run(PLANS, tmp_path)
    assert "cannot be written" in plan
    assert "with room" in project
    assert kept == "True ['first']"
    assert files == "['plan.json', 'projects.sqlite']"
    assert after == "['first', 'second']"


def opened(folder: pathlib.Path) -> ModuleType:
    """Return the module with a kernel as a process finds it that opens it now."""
    found = importlib.util.spec_from_file_location("mine", folder / "mine.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_code_that_another_process_has_kept_for_other_types_under_the_same_name_is_not_run(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    folders = (tmp_path / "one", tmp_path / "other")
    for folder, value in zip(folders, (21, 2.5), strict=True):
        folder.mkdir()
        (folder / "mine.py").write_text(KERNEL)
        os.utime(folder / "mine.py", (1e9, 1e9))
        opened(folder).double(value)
    kept = [next((folder / "__pycache__").glob("*.1.nbc")) for folder in folders]
    shutil.copy(kept[0], kept[1])  # as the last of two processes leaves it which both found no code of this kernel
    for _ in range(2):  # compiled anew, and kept
        assert opened(folders[1]).double(2.5) == 5.0


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_code_that_was_cut_when_the_power_failed_is_compiled_anew(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    (tmp_path / "mine.py").write_text(KERNEL)
    opened(tmp_path).double(1)
    for path in tmp_path.rglob(f"*.{ending}"):
        for content in (b"", path.read_bytes()[:-20]):
            path.write_bytes(content)
            assert opened(tmp_path).double(3) == 6
