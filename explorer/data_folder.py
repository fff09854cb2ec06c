"""Where the data of the person at this machine are kept."""

from __future__ import annotations

import os
from pathlib import Path

from quant_engine import QuantError

VARIABLE = "QUANT_EXPLORER_PROJECTS"  # a path that takes the place of the usual one
USUAL = "~/.local/share/quant-explorer/projects.sqlite"


def projects_path() -> Path:
    """Return where projects are kept: `QUANT_EXPLORER_PROJECTS`, or else ~/.local/share/quant-explorer."""
    return Path(os.environ.get(VARIABLE) or USUAL).expanduser()


def made(path: Path) -> Path:
    """Return a path whose folder there is.

    Raises:
        QuantError: for a folder that cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QuantError(f"{path.parent} cannot be made: {error}; set {VARIABLE} to another path") from error
    return path
