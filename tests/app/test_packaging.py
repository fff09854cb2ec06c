"""What is declared agrees with what is imported, and no module hides another."""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import pathlib
import re
import subprocess
import sys
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from quant_engine.network.images import SPLITS
from tests.syntax import syntax_of

ROOT = pathlib.Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BROUGHT_BY = {"lazy_loader": "lazy-loader", "llvmlite": "numba", "PIL": "pillow"}  # by what is declared


def imported(folder: str) -> set[str]:
    """Return the top-level modules that a folder's sources import, wherever in the file."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(syntax_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {name.split(".")[0] for name in names}
    return found


def test_every_import_is_a_declared_dependency() -> None:
    extras = (
        line for extra in ("onnx", "transformers", "sweep", "dask") for line in PROJECT["optional-dependencies"][extra]
    )
    declared = {re.split(r"[<>=!~ ]", line)[0] for line in (*PROJECT["dependencies"], *extras)}
    outside = set().union(*(imported(folder) for folder in ("quant_engine", "explorer", "pages")))
    outside -= {*sys.stdlib_module_names, "quant_engine", "explorer"}
    assert {BROUGHT_BY.get(name, name) for name in outside} <= declared
    assert outside  # the walk found something


def test_the_constraints_have_a_version_of_each_dependency_within_its_bounds() -> None:
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            one = Requirement(line)
            pinned.setdefault(canonicalize_name(one.name), []).append(next(iter(one.specifier)).version)
    lines = [*PROJECT["dependencies"], *itertools.chain.from_iterable(PROJECT["optional-dependencies"].values())]
    for asked in map(Requirement, lines):
        versions = pinned[canonicalize_name(asked.name)]
        assert all(asked.specifier.contains(version) for version in versions), asked


def test_torch_has_an_upper_bound() -> None:
    assert any(line.startswith("torch") and "<" in line for line in PROJECT["dependencies"])


def test_no_module_of_the_app_is_named_like_another() -> None:
    """`streamlit run` puts explorer/ itself on the path, where a module would hide one of the same name."""
    ours = {path.stem for path in (ROOT / "explorer").glob("*.py")} | {
        path.name for path in (ROOT / "explorer").iterdir() if path.is_dir()
    }
    others = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    assert not (ours - {"__init__", "__pycache__", "explorer"}) & others


def test_no_folder_named_pages_lies_beside_the_entry() -> None:
    assert not (ROOT / "explorer" / "pages").exists()


def test_every_file_of_images_lies_in_a_folder_that_the_wheel_takes() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert "quant_engine" in packages["targets"]["wheel"]["packages"]
    for name in set(SPLITS.values()):
        path = ROOT / "quant_engine" / "network" / "builtin" / name
        assert 0 < path.stat().st_size < 3_000_000
        ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
        assert ignored.returncode != 0  # what git ignores, the build leaves out


def test_the_server_answers_before_the_engine_is_imported() -> None:
    listed = "import sys, explorer.cli, explorer.served_app; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", listed], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"numba", "torch", "quant_engine.quantizer"}.isdisjoint(found.stdout.split())
