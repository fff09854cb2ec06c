"""Colours of the figures, legible in light and dark."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from explorer.figures.theme import ERROR, INK, NEUTRAL, ORIGINAL, QUANTIZED


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("color", [ORIGINAL, QUANTIZED, ERROR, NEUTRAL])
@pytest.mark.parametrize("background", ["#ffffff", "#11161d"])
def test_colours_have_a_contrast_of_three_to_one_on_both_backgrounds(color: str, background: str) -> None:
    light, dark = sorted((luminance(color), luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3.0


@pytest.mark.parametrize(("tone", "background"), [("light", "#ffffff"), ("dark", "#11161d")])
def test_text_in_figures_has_a_contrast_of_four_and_a_half_to_one(tone: str, background: str) -> None:
    light, dark = sorted((luminance(INK[tone]), luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_what_plotly_only_looks_up_is_whole_before_the_first_figure():
    """A table in another session's thread may be importing it at that moment."""
    found = "import explorer.figures.theme, sys; print(sys.modules['pandas'].Series, sys.modules['numpy'].ndarray)"
    subprocess.run([sys.executable, "-c", found], check=True)
