"""Run what `deploy/Dockerfile` runs to build its image, without Docker, in a folder, and start what it made.

    python tools/run_image_steps.py [FOLDER] [--torch-index URL]

COPY, RUN and ENV are carried out one by one, with the folder in place of the image's root; then the app is started as
CMD says and asked whether it is well, as HEALTHCHECK does. Who may write what is for Docker to say.
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
import urllib.request
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
LEFT_OUT = ("chown",)  # needs root
PATIENCE = 180.0  # seconds until the app answers


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile, each on one line."""
    for line in re.sub(r"\\\n", "", text).splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, rest


def build(folder: pathlib.Path, torch_index: str = "") -> dict[str, str]:
    """Carry out what builds the image, and return the variables that it sets."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    passed = {name: text for name, text in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    variables = {**kept, **passed, "TORCH_INDEX": torch_index, "HOME": str(folder)}
    for name, rest in instructions(DOCKERFILE.read_text(encoding="utf-8")):
        if name == "ENV":
            variables |= {key: _placed(text, folder) for key, text in re.findall(r'(\w+)=("[^"]*"|\S+)', rest)}
        elif name == "COPY":
            *sources, target = _filled(rest, variables).split()
            _copy(sources, target)
        elif name == "RUN":
            steps = [step for step in rest.split(" && ") if not step.startswith(LEFT_OUT)]
            print("$", *steps, flush=True)
            subprocess.run(["sh", "-ec", " && ".join(steps)], env=variables, cwd=folder, check=True)
    return variables


def start(variables: dict[str, str], folder: pathlib.Path) -> str:
    """Start the app as the image would, at a free port; return what it answers to whether it is well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(folder / "app/venv/bin/quant-explorer"), "--no-local-files", "--headless", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=variables, cwd=folder, stdout=log, stderr=log)
    try:
        return _health(f"http://127.0.0.1:{port}/_stcore/health", server)
    finally:
        server.terminate()
        server.wait(20)


def _health(address: str, server: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(address, timeout=4) as answer:
                return str(answer.read().decode())
        except OSError:
            time.sleep(0.2)
    return "no answer"


def _copy(sources: list[str], target: str) -> None:
    place = pathlib.Path(target)
    for source in sources:
        given = ROOT / source
        if given.is_dir():
            shutil.copytree(given, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(given, place)


def _placed(text: str, folder: pathlib.Path) -> str:
    """Return a value of a variable, with a path below the folder."""
    plain = text.strip('"')
    return f"{folder}{plain}" if plain.startswith("/") else plain


def _filled(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda name: variables.get(name[1], ""), text)


def main() -> None:
    """Build and start."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", nargs="?", type=pathlib.Path)
    ask.add_argument("--torch-index", default="")
    args = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="image-") as made:
        folder = (args.folder or pathlib.Path(made)).resolve()
        answer = start(build(folder, args.torch_index), folder)
    print(f"the app answers: {answer}")
    sys.exit(answer != "ok")


if __name__ == "__main__":
    main()
