"""Mounting the instrument on a page, and what it tells the page."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from explorer import charts
from explorer.fields import spoken
from explorer.figures import theme
from explorer.figures.weights import weights_figure
from explorer.instrument.words import describe_values
from explorer.language import language, one, read_words, several
from explorer.notation import short
from explorer.payloads import InstrumentSetting, Mark, Statistics, pack
from explorer.results import BlockView
from explorer.teaching import drawn

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = ("notation.js", "statistics.js", "pen.js", "figure.js", "curve.js", "instrument.js")
RECORD_HEIGHT = 320  # pixels of the figure that a lecture's record has of it
CURVE_BITS = (2, 3, 4, 5, 6, 8)
PALETTE = {
    "original": theme.ORIGINAL,
    "quantized": theme.QUANTIZED,
    "error": theme.ERROR,
    "errorFill": theme.ERROR_FILL,
    "clippedFill": theme.CLIPPED_FILL,
    "neutral": theme.NEUTRAL,
    "faint": theme.FAINT,
}


@dataclass(frozen=True)
class Move:
    """What a hand has set: bits, and where it moved it the range; `method` is the calibrator it let go on, if any."""

    bits: int
    range: tuple[float, float] | None
    method: str | None


def script() -> str:
    """Return the component's JavaScript, all files as one module."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)


_component = st.components.v2.component(
    "quant_explorer_instrument",
    html=(HERE / "instrument.html").read_text(encoding="utf-8"),
    css=(HERE / "instrument.css").read_text(encoding="utf-8"),
    js=script(),
)


def instrument(
    key: str,
    source: Statistics,
    setting: InstrumentSetting,
    marks: Sequence[Mark],
    on_move: Callable[[Move], None],
    *,
    view: BlockView,
    unit: str,
    curve_alt: str,
    note: str,
    bits: tuple[int, int] = (2, 16),
    veiled: bool = False,
    plain: bool = False,
    compact: bool = False,
    hint: str = "",
) -> None:
    """Draw the instrument; `on_move` is called (as a callback, before the page runs) when a hand lets go.

    `view` is what the engine finds of the values, and `unit` names them ("weight"); `curve_alt` describes the curve,
    and `note` stands under it; `bits` are the fewest and most of the stepper. While `veiled`, error, curve and marks
    are not shown: a question may ask for them. A `plain` one shows the histogram alone, with the numbers under it; a
    `compact` one leaves out the numbers, too. `hint` stands over the histogram; without it, what a hand can do there.
    A lecture's record has a figure of the same values: the canvas stays in the browser.
    """
    answered, words = f"{key}_answered", read_words("panels")["instrument"]
    histogram = describe_values(view, unit, "histogram")
    if drawn.is_drawing():
        said = read_words("panels")["component"]
        title = said["record_axis"].format(unit=one(unit), setting=_setting_said(setting, marks, said))
        figure = weights_figure(view, charts.canvas("record"), unit, RECORD_HEIGHT, title)
        drawn.note_figure(key, figure, histogram)

    shown = () if veiled else marks

    def moved() -> None:
        if (commit := st.session_state[key].get("commit")) is not None:
            st.session_state[answered] = commit["id"]
            on_move(Move(commit["bits"], commit["range"] and tuple(commit["range"]), commit["method"]))

    _component(
        key=key,
        data=pack(
            source,
            setting,
            shown,
            language=language(),
            unit=one(unit),
            units=several(unit),
            labels={mark.name: spoken(mark.name) for mark in shown},
            words=read_words("panels")["component"],
            alt=histogram if veiled else describe_values(view, unit),
            curve_alt=curve_alt,
            note=note,
            hint=hint or words["no_range" if setting.fixed else "press" if shown else "drag"],
            widths=CURVE_BITS,
            bits=bits,
            veiled=veiled,
            plain=plain,
            compact=compact,
            answered=st.session_state.get(answered),
            palette={**PALETTE, "ink": charts.ink()},
        ),
        on_commit_change=moved,
    )


def _setting_said(setting: InstrumentSetting, marks: Sequence[Mark], words: Mapping[str, str]) -> str:
    """Say the format, the calibrator whose range it is, if any's, and the range."""
    said = [setting.name or words["width"].format(n=setting.bits)]
    if not setting.fixed:
        said += [spoken(mark.name) for mark in marks if (mark.lo, mark.hi) == (setting.lo, setting.hi)][:1]
        said.append(f"α = {short(setting.lo)}, β = {short(setting.hi)}")
    return ", ".join(said)
