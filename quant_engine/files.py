"""Files that are written beside their place and moved there, and that take the place of nothing but files like them."""

from __future__ import annotations

import os
import pathlib
import secrets
import shutil
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from quant_engine.errors import QuantError

Recognizer = Callable[[pathlib.Path], bool]  # whether a file may be replaced; a ValueError says that it may not


def write_file(path: str | pathlib.Path, content: bytes, is_ours: Recognizer) -> None:
    """Write a file whole or not at all: who reads it meanwhile, or after a crash, finds the old one or the new one.

    Raises:
        QuantError: as `validate_place`, and where the folder does not take the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "table.txt"
        ...     for line in (b"first", b"second"):
        ...         write_file(path, b"made by us: " + line, lambda file: file.read_bytes().startswith(b"made by us"))
        ...     path.read_bytes()
        b'made by us: second'
    """
    validate_place(path, is_ours)
    place(stage(path, content), path)


def validate_place(path: str | pathlib.Path, is_ours: Recognizer) -> None:
    """Check that a file may be written: there is none, it is empty, or `is_ours` recognizes it.

    Raises:
        QuantError: for a file of another kind, which is left alone, a write-protected one, and what is no file.
    """
    target = _real(path)
    try:
        if not target.exists():
            return
        good = target.is_file() and (target.stat().st_size == 0 or is_ours(target))
    except OSError as error:
        raise QuantError(f"{path} is not accessible: {error}; give another path") from error
    except ValueError:
        good = False
    if not good:
        raise QuantError(f"{path} exists and was not written by this function; give another name, or delete it first")
    if not os.access(target, os.W_OK):
        raise QuantError(f"{path} is write-protected; give another name, or make it writable first")


def stage(path: str | pathlib.Path, content: bytes) -> pathlib.Path:
    """Write what is to become the file `path`, under a name of its own in the same folder, and return that.

    Raises:
        QuantError: where the folder does not take it.
    """
    target = _real(path)
    staged = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with staged.open("xb") as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                if target.exists():
                    shutil.copymode(target, staged)
            except BaseException:
                staged.unlink()
                raise
    except OSError as error:
        raise QuantError(f"{path} cannot be written: {error}; give a path in a folder that takes files") from error
    return staged


def place(staged: pathlib.Path, path: str | pathlib.Path) -> None:
    """Move a staged file to its place, in one step.

    Raises:
        QuantError: where the folder does not take it; the staged file is then gone.
    """
    try:
        os.replace(staged, _real(path))
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise QuantError(f"{path} cannot be written: {error}; give a path in a folder that takes files") from error


def staged_for(path: str | pathlib.Path) -> list[pathlib.Path]:
    """Return the files staged for a path that were never placed, because a process was killed between the two."""
    target = _real(path)
    return sorted(
        found
        for found in target.parent.iterdir()
        if found.name.startswith(f".{target.name}.") and found.suffix == ".tmp"
    )


def begins_like(content: bytes, lines: int = 2) -> Recognizer:
    """Return what recognizes files by the first lines of their new content, such as the head of a table."""
    head = b"\n".join(content.split(b"\n")[:lines])
    return lambda path: path.read_bytes().startswith(head)


def has_metadata(key: str) -> Recognizer:
    """Return what recognizes safetensors files that have an entry of this name in their metadata."""
    return lambda path: key in metadata_of(path)


def metadata_of(path: str | pathlib.Path) -> dict[str, str]:
    """Return the metadata of a safetensors file.

    Raises:
        QuantError: for a file that is none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise QuantError(f"{path} is no safetensors file that can be read: {error}") from error


def pack(arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> bytes:
    """Return the content of a safetensors file.

    Raises:
        QuantError: for names that are no Unicode text.
    """
    from safetensors.numpy import save

    try:
        return bytes(save(arrays, metadata))
    except UnicodeEncodeError as error:
        raise QuantError(f"a name is no Unicode text, and no file can have it: {error}; give another name") from error


def arrays_of(content: bytes, path: str | pathlib.Path) -> dict[str, NDArray[Any]]:
    """Return the arrays in the content of a safetensors file.

    Raises:
        QuantError: for other content, and for types that numpy does not have.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(content))
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise QuantError(f"{path} is no safetensors file that can be read: {error!r}") from error


def _real(path: str | pathlib.Path) -> pathlib.Path:
    """Return where a path leads: a link stays, and what it points to is replaced.

    Raises:
        QuantError: for what is no path.
    """
    try:
        return pathlib.Path(os.path.realpath(path))
    except (TypeError, ValueError, OSError) as error:
        raise QuantError(f"{path!r} is no path of a file: {error}; give a string or a pathlib.Path") from error
