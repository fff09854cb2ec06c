"""Pass the tests with other Pythons and other versions of what is depended on.

    python -m tools.versions                      every Python of 3.11 to 3.13 that is found, newest versions
    python -m tools.versions --lowest             with the lowest versions that pyproject.toml allows
    python -m tools.versions --python PATH …      with these interpreters

For each: a virtual environment in --folder (kept, and used again), the wheel built from the sdist and installed with
the extra [test], the app started outside the checkout and asked whether it is well, then again from the sdist alone,
and the tests without a browser: all of them, or those that are named after `--`. Ends with a table.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHONS = ("python3.11", "python3.12", "python3.13")
TESTS = ("quant_engine", "explorer", "tests/engine", "tests/app")
PATIENCE = 300.0  # seconds until the app answers
NAMED = re.compile(r"([A-Za-z0-9_.-]+)\s*>=\s*([\w.]+)")


@dataclass(frozen=True)
class Result:
    """What one environment came to: the versions of what matters most, and how each step ended."""

    python: str
    versions: str
    wheel: str
    sdist: str
    tests: str

    @property
    def good(self) -> bool:
        """Whether all steps ended well."""
        return self.wheel == self.sdist == "starts" and " failed" not in self.tests and "passed" in self.tests


def lowest(project: pathlib.Path = ROOT) -> list[str]:
    """Return constraints that hold what a project and its tests ask for at the lowest version allowed."""
    table = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*table["dependencies"], *table["optional-dependencies"]["test"]]
    bounds: dict[str, str] = {}
    for name, version in (found.groups() for found in map(NAMED.match, asked) if found):
        bounds[name] = max(bounds.get(name, "0"), version, key=_ordered)
    return [f"{name}=={version}" for name, version in sorted(bounds.items())]


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def found_pythons() -> Iterator[str]:
    """Yield the interpreters on the path that start."""
    for name in PYTHONS:
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            yield path


def build(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Build the sdist, and the wheel from it; return both."""
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def tried(python: str, folder: pathlib.Path, built: Sequence[pathlib.Path], low: bool, tests: Sequence[str]) -> Result:
    """Install, start and test with one interpreter."""
    number = subprocess.check_output([python, "-c", "import platform; print(platform.python_version())"], text=True)
    place = folder / f"{number.strip()}-{'lowest' if low else 'newest'}"
    scripts = place / ("Scripts" if os.name == "nt" else "bin")
    if not scripts.exists():
        run(python, "-m", "venv", place)
    held = place / "constraints.txt"
    held.write_text("\n".join(lowest() if low else []) + "\n", encoding="utf-8")
    pip = (scripts / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "install", "-c", held, f"quant-explorer[test] @ {built[0].as_uri()}")
    starts = []
    for one in built:
        run(*pip, "install", "--no-deps", "--force-reinstall", one)
        starts.append(started(scripts))
    command = [scripts / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    print("$", *command, flush=True)
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(ended.stdout[-20_000:], ended.stderr[-2_000:], flush=True)
    last = ended.stdout.strip().splitlines()[-1] if ended.stdout.strip() else f"status {ended.returncode}"
    return Result(number.strip(), versions(scripts), *starts, last.strip("= "))


def started(scripts: pathlib.Path) -> str:
    """Start the installed app in an empty folder and say whether it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as empty:
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        command = [scripts / "quant-explorer", "--headless", "--port", str(port)]
        process = subprocess.Popen(command, cwd=empty, env=environment, stdout=subprocess.DEVNULL)
        try:
            start = time.monotonic()
            while process.poll() is None and time.monotonic() - start < PATIENCE:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).close()
                    return "starts"
                except OSError:
                    time.sleep(0.5)
            return f"ended with status {process.poll()}" if process.poll() is not None else "did not answer"
        finally:
            process.terminate()
            process.wait(30)


def versions(scripts: pathlib.Path) -> str:
    """Return the versions of what matters most."""
    code = (
        "from importlib.metadata import version as v;"
        "print(', '.join(f'{n} {v(n)}' for n in ('numpy', 'numba', 'torch', 'streamlit', 'plotly', 'pandas', 'onnx')))"
    )
    return subprocess.check_output([scripts / "python", "-c", code], text=True).strip()


def run(*command: str | pathlib.Path) -> None:
    """Run a command, showing it; raise if it fails."""
    print("$", *command, flush=True)
    subprocess.run([*map(str, command)], cwd=ROOT, check=True)


def main() -> int:
    """Try each interpreter; return 1 unless all is well."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--python", action="append", help="an interpreter; may be given several times")
    ask.add_argument("--lowest", action="store_true", help="the lowest versions allowed, not the newest")
    ask.add_argument("--folder", type=pathlib.Path, default=ROOT / ".venv-versions", help="where environments are kept")
    ask.add_argument("tests", nargs="*", default=TESTS, help="what pytest is given")
    args = ask.parse_args()
    folder = args.folder.resolve()
    built = build(folder / "dist")
    results = []
    for python in args.python or found_pythons():
        try:
            results.append(tried(python, folder, built, args.lowest, args.tests))
        except subprocess.CalledProcessError as error:
            results.append(Result(python, "", f"{error}", "", ""))
    for result in results:
        print(f"Python {result.python}, {result.versions}: wheel {result.wheel}, sdist {result.sdist}; {result.tests}")
    return int(not results or not all(result.good for result in results))


if __name__ == "__main__":
    sys.exit(main())
