"""One way to put a table on a page: its cells are shown as they are, as Streamlit reads markdown in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from explorer.sentences import verbatim


def table(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], **special: Any) -> None:
    """Draw records, or columns by their names; a cell that is a sentence may hold markdown.

    `special` arguments are those of Streamlit's table.
    """
    st.table(_cells(rows), **special)


def _cells(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {_cells(name): _cells(cell) for name, cell in part.items()}
    if isinstance(part, list | tuple):
        return [_cells(each) for each in part]
    return "".join((verbatim(part),)) if isinstance(part, str) else part  # of the very type: pandas knows it best
