"""A disk that is full and folders that take no files: what was asked is done or refused, and nothing kept is lost."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

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
