"""The fields of the page on sweeps: which column its map shows, and which tensors and formats are left."""

from __future__ import annotations

from typing import Any

from explorer.fields import Choice, Field, Text, named
from explorer.sweep_results import MEASURED

MAX_SEARCH, MAX_FORMATS = 80, 64  # characters; names
MAX_BITS = 1024.0
BETWEEN = "|"

Bits = tuple[float, float] | None


def read_search(text: str) -> str:
    """Return a pattern of tensors' names.

    Raises:
        ValueError: for one that is too long.
    """
    if len(text) > MAX_SEARCH:
        raise ValueError(text)
    return text


def read_formats(text: str) -> tuple[str, ...]:
    """Read names of formats; none are all.

    Raises:
        ValueError: for too many, for one without letters, and for one twice.
    """
    names = tuple(text.split(BETWEEN)) if text else ()
    if len(names) > MAX_FORMATS or not all(name.strip() for name in names) or len(set(names)) < len(names):
        raise ValueError(text)
    return names


def read_bits(text: str) -> Bits:
    """Read the fewest and the most bits a value; None are all.

    >>> read_bits("2.5-4.25")
    (2.5, 4.25)

    Raises:
        ValueError: for what is no such pair.
    """
    if not text:
        return None
    low, high = (float(part) for part in text.split("-"))
    if not 0 <= low <= high <= MAX_BITS:
        raise ValueError(text)
    return low, high


def _bits_text(bits: Bits) -> str:
    return "" if bits is None else f"{bits[0]:g}-{bits[1]:g}"


COLUMN = Choice("sweep_column", named(MEASURED), default="sqnr_db", menu=True)
SEARCH: Text[str] = Text("sweep_search", read_search, str)
FORMATS: Text[tuple[str, ...]] = Text("sweep_formats", read_formats, BETWEEN.join)
BITS: Text[Bits] = Text("sweep_bits", read_bits, _bits_text)
FIELDS: tuple[Field[Any], ...] = (COLUMN, SEARCH, FORMATS, BITS)
