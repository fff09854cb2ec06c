"""Folders of a process that go with it; those of a process that was killed go when the next server starts."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

PREFIX = "quant-explorer"
OURS = re.compile(rf"{PREFIX}-(\d+)-[^-]+")  # with the number of the process that made it

_held: dict[Path, int] = {}


def make_folder() -> Path:
    """Return a new folder, which this process holds until `delete_folder`."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-"))
    if sys.platform != "win32":  # which opens no folders
        _held[folder] = os.open(folder, os.O_RDONLY)
        _hold(_held[folder])
    return folder


def delete_folder(folder: Path) -> None:
    """Delete a folder that `make_folder` has made, if it is still there."""
    shutil.rmtree(folder, ignore_errors=True)
    if (opened := _held.pop(folder, None)) is not None:
        os.close(opened)


def clear_abandoned() -> None:
    """Delete the folders of processes of this user that are no more: none runs by their number, none holds them."""
    if sys.platform == "win32":  # where a process cannot be asked whether it is there
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        named = OURS.fullmatch(folder.name)
        if named and not _runs(int(named[1])):
            _delete_unheld(folder)


def _delete_unheld(folder: Path) -> None:
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # no folder, another user's, or gone meanwhile
        return
    try:
        if os.fstat(opened).st_uid == os.getuid() and _hold(opened):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(opened)


def _hold(opened: int) -> bool:
    """Hold an open folder until its descriptor is closed; False if another process does."""
    import fcntl  # which Windows has not

    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _runs(process: int) -> bool:
    """Say whether a process is there, another user's among them."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
