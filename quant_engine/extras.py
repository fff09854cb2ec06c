"""Packages that only some uses need."""

from __future__ import annotations

import importlib
from typing import Any

from quant_engine.errors import QuantError


def imported(package: str, extra: str) -> Any:
    """Return an optional package's module.

    Raises:
        QuantError: if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.split(".")[0]:
            raise
        raise QuantError(
            f'{error.name} is not installed; install it with: pip install "quant-explorer[{extra}]"'
        ) from error
