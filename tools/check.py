"""Install what the tests need, a browser included, and pass them.

    python3 tools/check.py            everything: lint, types, import rules, doctests, tests, browser tests
    python3 tools/check.py --here     in the environment at hand, without installing anything

Makes the virtual environment .venv-check, with the versions of constraints.txt, and on Debian installs Chromium and its
fonts with apt-get where no browser is found. Ends with exit status 0 only if all passed and nothing was skipped that
this system can run.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-check"
SCRIPTS = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SLOWEST = "--durations=15"
AGAIN = ("--reruns=1", "-rR", "--only-rerun=imeout", "--only-rerun=^Error: ")  # a fault of the browser, once
CHECKS = (  # one after the other, those of a line at once
    [("ruff", "check", ".")],
    [("ruff", "format", "--check", ".")],
    [("lint-imports",)],
    [("python", "-m", "benchmarks", "--quick"), ("mypy",)],  # first, so that all tests find kernels compiled
    [("pytest", "--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder", "--ignore=tests/browser", SLOWEST)],
    [("pytest", "tests/browser", "--numprocesses=4", "--dist=worksteal", *AGAIN, SLOWEST)],  # they wait more than work
)


def run(*command: str | pathlib.Path, **options: object) -> None:
    """Run a command, showing it; leave with its status if it fails."""
    print("$", *command, flush=True)
    status = subprocess.run([str(part) for part in command], cwd=ROOT, **options).returncode  # type: ignore[call-overload]
    if status:
        sys.exit(status)


def install() -> None:
    """Make the environment, with the project and its test extra, and find or install a browser."""
    if not (SCRIPTS / "pip").exists() and not (SCRIPTS / "pip.exe").exists():
        run(sys.executable, "-m", "venv", ENVIRONMENT)
    run(SCRIPTS / "python", "-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", ".[test]")
    if os.environ.get("CHROMIUM") or any(map(shutil.which, BROWSERS)):
        return
    if not shutil.which("apt-get"):
        sys.exit("No Chromium or Chrome was found: install one, or set CHROMIUM to its path.")
    root = [] if os.geteuid() == 0 else ["sudo"]
    run(*root, "apt-get", "update", "--quiet", stdout=subprocess.DEVNULL)
    packages = ("chromium", "fonts-dejavu-core")
    run(*root, "apt-get", "install", "--quiet", "--yes", *packages, stdout=subprocess.DEVNULL)


def check(scripts: pathlib.Path | None) -> None:
    """Run every check, with the scripts of an environment first on the path."""
    environment = dict(os.environ)
    if scripts is not None:
        environment["PATH"] = os.pathsep.join([str(scripts), environment.get("PATH", "")])
        environment.pop("PYTHONPATH", None)
    for commands in CHECKS:
        started = [begin(command, environment) for command in commands]
        for command, process in zip(commands, started, strict=True):
            follow(command, process)
    print("All checks passed.")


def begin(command: tuple[str, ...], environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command whose output is read later."""
    program = shutil.which(command[0], path=environment["PATH"]) or command[0]
    return subprocess.Popen(
        [program, *command[1:]],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def follow(command: tuple[str, ...], process: subprocess.Popen[str]) -> None:
    """Show what a command prints until it ends; leave if it failed or skipped tests."""
    print("$", *command, flush=True)
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line if re.search(r"\d+ passed", line) else last
    if process.wait():
        sys.exit(process.returncode)
    if sys.platform == "linux" and re.search(r"\d+ (skipped|deselected|xfailed)", last):
        sys.exit("Some tests were skipped that should have run here.")


def main() -> None:
    """Parse the command line, install, check."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--here", action="store_true", help="use the environment at hand")
    if ask.parse_args().here:
        check(None)
    else:
        install()
        check(SCRIPTS)


if __name__ == "__main__":
    main()
