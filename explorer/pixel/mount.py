"""Mounting the steps on a page."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

HERE = pathlib.Path(__file__).resolve().parent


@dataclass(frozen=True)
class PixelRow:
    """One step: what is done, with which numbers, what comes out, in how many bits, and the real number beside it.

    `part` names the colour of the bits; `lost` are bits that the register does not hold.
    """

    title: str
    text: str
    value: str
    bits: str
    real: str
    part: str = "sum"
    lost: str = ""


@dataclass(frozen=True)
class Term:
    """One product: where its code lies, code, weight, product, and their bits; the real numbers beside them."""

    place: str
    code: str
    code_bits: str
    weight: str
    weight_bits: str
    product: str
    product_bits: str
    real: str
    inside: bool = True


def bits(number: int, width: int) -> str:
    """Return the two's complement of a number in so many bits.

    >>> bits(-3, 8), bits(5, 4)
    ('11111101', '0101')
    """
    return format(number & (1 << width) - 1, f"0{width}b")


_component = st.components.v2.component(
    "quant_explorer_pixel",
    html=(HERE / "pixel.html").read_text(encoding="utf-8"),
    css=(HERE / "pixel.css").read_text(encoding="utf-8"),
    js=(HERE / "pixel.js").read_text(encoding="utf-8"),
)


def pixel(
    key: str, terms: Sequence[Term], rest: str, rows: Sequence[PixelRow], step: int, *, words: Mapping[str, str]
) -> None:
    """Draw the first `step` of three columns of terms and of the rows that follow them.

    `rest` says what the terms leave out, and `words` are headings by name.
    """
    _component(
        key=key,
        data={
            "terms": [asdict(term) for term in terms],
            "rest": rest,
            "rows": [asdict(row) for row in rows],
            "step": step,
            "words": dict(words),
        },
    )
