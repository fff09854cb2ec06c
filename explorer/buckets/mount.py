"""Mounting the centroids on a page, and what they tell the page."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer.figures import elements
from explorer.instrument.mount import HERE as INSTRUMENT
from explorer.instrument.mount import PALETTE
from explorer.language import language, one, read_words, several
from explorer.payloads import InstrumentSetting, Statistics, pack

HERE = pathlib.Path(__file__).resolve().parent
SHARED = ("notation.js", "statistics.js", "pen.js", "figure.js")  # of the instrument
SCRIPTS = (*(INSTRUMENT / name for name in SHARED), HERE / "drawing.js", HERE / "buckets.js")


@dataclass(frozen=True)
class Shift:
    """What a hand has done: where it left the centroids (None if it moved none), and which one it has touched."""

    centroids: tuple[float, ...] | None
    bucket: int


def script() -> str:
    """Return the component's JavaScript, all files as one module."""
    return "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)


_component = st.components.v2.component(
    "quant_explorer_buckets",
    html=(HERE / "buckets.html").read_text(encoding="utf-8"),
    css=(HERE / "buckets.css").read_text(encoding="utf-8"),
    js=script(),
)


def buckets(
    key: str,
    source: Statistics,
    centroids: NDArray[np.float64],
    bucket: int,
    on_shift: Callable[[Shift], None],
    *,
    unit: str,
    alt: str,
    words: Mapping[str, str],
    ink: str,
    veiled: bool,
) -> None:
    """Draw centroids (k,), ascending, over the histogram, the one of `bucket` picked out.

    `on_shift` is called (as a callback, before the page runs) when a hand lets go. `unit` names what the values are,
    `alt` describes the figure, `words` are what it says, by name. While `veiled`, error and shares are not shown: a
    question may ask for them.
    """
    answered = f"{key}_answered"

    def shifted() -> None:
        if (commit := st.session_state[key].get("commit")) is not None:
            st.session_state[answered] = commit["id"]
            on_shift(Shift(commit["centroids"] and tuple(commit["centroids"]), commit["bucket"]))

    levels = centroids.tolist()
    bits = (len(levels) - 1).bit_length()
    _component(
        key=key,
        data=pack(
            source,
            InstrumentSetting(bits, True, False, True, levels[0], levels[-1], "centroids", levels, fixed=True),
            [],
            bucket=bucket,
            language=language(),
            unit=one(unit),
            units=several(unit),
            alt=alt,
            words={**read_words("panels")["component"], **words},
            veiled=veiled,
            answered=st.session_state.get(answered),
            palette={**PALETTE, "cell": elements.CELL_FILL, "chosen": elements.CHOSEN_FILL, "ink": ink},
        ),
        on_commit_change=shifted,
    )
