"""Try the Pythons and the versions of dependencies that `pyproject.toml` allows: the newest and the oldest of each.

    python tools/versions.py [--pythons 3.11 3.12 3.13] [--resolutions highest lowest-direct] [--tests tests/engine/…]

Needs uv (`python -m pip install uv`), which finds or fetches the Pythons. Each pair has an environment of its own in a
folder that goes at the end: the project with its test extra is installed from what the resolution gives, the app is
imported, and the tests are run. Prints a line for each pair; fails if one of them does.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
QUICK = (
    *("tests/engine/test_quantizer.py", "tests/engine/test_formats.py", "tests/engine/test_readers.py"),
    *("tests/engine/test_plan.py", "tests/engine/test_store.py", "tests/engine/test_network.py"),
    "tests/app/test_pages.py",
)
IMPORT = "import quant_engine, explorer.cli, explorer.compute"


def attempt(python: str, resolution: str, tests: list[str], folder: pathlib.Path) -> str:
    """Install and test in a new environment, and return what has failed, if anything."""
    home = folder / f"{python}-{resolution}"
    environment = {**os.environ, "VIRTUAL_ENV": str(home), "NUMBA_CACHE_DIR": str(home / "kernels")}
    environment.pop("PYTHONPATH", None)
    run = str(home / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    steps = {
        "environment": ["uv", "venv", "--quiet", "--python", python, str(home)],
        "installation": ["uv", "pip", "install", "--quiet", "--resolution", resolution, "-e", f"{ROOT}[test]"],
        "import": [run, "-c", IMPORT],
        "tests": [run, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
    }
    for name, command in steps.items():
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{name}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return ""


def main() -> None:
    """Try every pair."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--pythons", nargs="+", default=["3.11", "3.12", "3.13"])
    ask.add_argument("--resolutions", nargs="+", default=["highest", "lowest-direct"])
    ask.add_argument("--tests", nargs="+", default=[*QUICK])
    args = ask.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="versions-") as made:
        for python in args.pythons:
            for resolution in args.resolutions:
                said = attempt(python, resolution, args.tests, pathlib.Path(made))
                print(f"Python {python}, {resolution}: {said or 'passes'}", flush=True)
                failed += bool(said)
    sys.exit(min(failed, 1))


if __name__ == "__main__":
    main()
