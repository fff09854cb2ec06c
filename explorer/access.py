"""What the people at a server may name: files and models of its own machine, or only what they bring."""

from __future__ import annotations

import os
from pathlib import Path

from explorer.memory import available_bytes
from quant_engine import QuantError

NAMING, ROOT = "QUANT_EXPLORER_NAMING", "QUANT_EXPLORER_ROOT"  # set by the command line
UPLOAD = "QUANT_EXPLORER_UPLOAD_GB"
GB = 10**9
UPLOAD_GB, CLASS_UPLOAD_GB = 32.0, 2.0  # of one session's streamed files together, unless said otherwise
TENSOR_GB = 2  # that one tensor of a model may take on a server for others
ANYTHING, BELOW_ROOT, UPLOADS, CLASS = "anything", "below the root", "uploads", "class"
PASSED_ON = ("X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "Via")  # headers that proxies add
ALONE = ("localhost", "127.0.0.1", "::1")  # addresses at which nobody else reaches a server


def allow(host: str, no_local_files: bool, root: Path | None, upload_gb: float | None = None) -> None:
    """Settle what people may name, for this process and those it starts.

    Anything on a server for its own machine alone; on others nothing, unless a root folder is given.
    """
    os.environ[NAMING] = CLASS if no_local_files else BELOW_ROOT if root else _by_address(host)
    os.environ[ROOT] = str(root.resolve()) if root else ""
    os.environ[UPLOAD] = "" if upload_gb is None else str(upload_gb)


def upload_bytes() -> int:
    """Return how much one session may stream to the disk, all its files together."""
    usual = UPLOAD_GB if may_name_anything() else CLASS_UPLOAD_GB
    return int(float(os.environ.get(UPLOAD) or usual) * GB)


def require_memory(largest: int) -> None:
    """Refuse a model on a server for others whose largest tensor has too many values for all who are there.

    Raises:
        QuantError: for one that takes, as float32, more than `TENSOR_GB` or a quarter of the memory that is free.
    """
    most, takes = TENSOR_GB * GB, 4 * largest
    free = available_bytes()
    if free is not None:
        most = min(most, free // 4)
    if takes > most and not may_name_anything():
        raise QuantError(
            f"a tensor of {largest:,} values takes {takes / GB:.1f} GB of memory, and here is {most / GB:.1f} GB "
            "for one; open it with quant-explorer on a machine of your own"
        )


def may_add_packs() -> bool:
    """Say whether people may have packs fetched to the server's disk."""
    return _naming() != CLASS


def may_name_paths() -> bool:
    """Say whether people may open files of the server's machine by their paths."""
    return _naming() in (ANYTHING, BELOW_ROOT)


def may_name_anything() -> bool:
    """Say whether people may have models fetched, and files of Python run: on their own machine only."""
    return _naming() == ANYTHING


def root_folder() -> Path | None:
    """Return the folder that paths must lie in, if there is one."""
    root = os.environ.get(ROOT, "")
    return Path(root) if root else None


def allowed_path(text: str) -> Path:
    """Return the path that a person names, below the root if there is one.

    Raises:
        QuantError: where paths may not be named, for one outside of the root, and one that is not there.
    """
    if not may_name_paths():
        raise QuantError("this server opens no files of its own machine; upload the file")
    root = root_folder()
    try:
        path = Path(text).expanduser() if root is None else (root / text).resolve()
        if root is not None and not path.is_relative_to(root):
            raise QuantError(
                f"{text!r} lies outside of the folder that this server opens; give a path below {root.name}"
            )
        if not path.exists():
            raise QuantError(f"there is no file or folder {text!r}; give its path")
    except (OSError, RuntimeError, ValueError) as error:
        raise error if isinstance(error, QuantError) else QuantError(f"{text!r} is no path: {error}") from error
    return path


def _naming() -> str:
    """Return what people may name; without our command line, by the address that Streamlit was given.

    A request that a proxy passes on is somebody else's, also at an address that this machine alone reaches.
    """
    import streamlit as st  # here, since the command line imports this, and warms up while Streamlit is imported
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    naming = os.environ.get(NAMING) or _by_address(str(st.get_option("server.address")))
    if naming != ANYTHING or get_script_run_ctx(suppress_warning=True) is None:
        return naming
    return UPLOADS if any(name in st.context.headers for name in PASSED_ON) else naming


def _by_address(host: str) -> str:
    return ANYTHING if host in ALONE else UPLOADS
