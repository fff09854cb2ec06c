"""Small schematic pictures for the glossary, as SVG images: they show what a term means, not a tensor."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from explorer.figures import theme

WIDTH, HEIGHT, MARGIN = 320, 120, 12
BLUE, ORANGE, GREY = theme.ORIGINAL, theme.QUANTIZED, theme.NEUTRAL
GROUPS = {"S": GREY, "E": BLUE, "M": ORANGE}
PLANE = ((0.16, 0.18), (0.34, 0.3), (0.3, 0.62), (0.52, 0.5), (0.62, 0.76), (0.72, 0.55), (0.86, 0.84), (0.5, 0.2))


def sketch(kind: str, alt: str, ink: str, **settings: Any) -> str:
    """Return a picture of a kind with its description, as the HTML of an image; `ink` colours lines and text."""
    drawn = base64.b64encode(svg(kind, ink, **settings).encode()).decode()
    return f'<img alt="{escape(alt)}" width="100%" style="max-width:{WIDTH}px" src="data:image/svg+xml;base64,{drawn}">'


def svg(kind: str, ink: str, **settings: Any) -> str:
    """Return a picture of a kind."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'color="{ink}" fill="none" stroke="currentColor" font-family="sans-serif">{KINDS[kind](**settings)}</svg>'
    )


def _at(x: float) -> float:
    """Return where a value of −1 … 1 lies across the picture."""
    return round(MARGIN + (x + 1) / 2 * (WIDTH - 2 * MARGIN), 1)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "currentColor", dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="1.5"{dashed}/>'


def _box(x: float, y: float, width: float, height: float, colour: str, fill: float = 0.25) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="3" '
        f'fill="{colour}" fill-opacity="{fill:g}" stroke="{colour}"/>'
    )


def _text(x: float, y: float, words: str, size: int = 14) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="middle" fill="currentColor" stroke="none">'
        f"{escape(words)}</text>"
    )


def _levels(levels: Sequence[float], range: Sequence[float] = (), thresholds: bool = False) -> str:
    """Draw codewords under a bell of values, with the ends of a range or the thresholds between codewords."""
    base = HEIGHT - 28
    bell = " ".join(f"{_at(x / 50):g},{base - 76 * math.exp(-((x / 50) ** 2) * 6):.1f}" for x in _steps(-50, 50))
    drawn = f'<polygon points="{bell}" fill="{BLUE}" fill-opacity="0.25" stroke="none"/>'
    drawn += _line(_at(-1), base, _at(1), base)
    if thresholds:
        drawn += "".join(
            _line(_at((one + other) / 2), 12, _at((one + other) / 2), base, GREY, "3 3")
            for one, other in pairwise(levels)
        )
    drawn += "".join(_line(_at(end), 8, _at(end), base, ORANGE) for end in range)
    return drawn + "".join(
        f'<path d="M{_at(x):g} {base + 3} l5 10 h-10 z" fill="{ORANGE}" stroke="none"/>' for x in levels
    )


def _staircase(levels: int) -> str:
    """Draw what a uniform quantizer makes of every value, over the diagonal."""
    low, high, step = HEIGHT - MARGIN, MARGIN, 2 / levels
    path = ""
    for number in _steps(0, levels - 1):
        left, height = -1 + number * step, low + (number + 0.5) / levels * (high - low)
        path += f"{'L' if path else 'M'}{_at(left):g} {height:.1f} H{_at(left + step):g} "
    return _line(_at(-1), low, _at(1), high, GREY, "3 3") + f'<path d="{path}" stroke="{ORANGE}" stroke-width="2.5"/>'


def _boxes(cells: Sequence[str], groups: str) -> str:
    """Draw the fields or bits of a stored number."""
    width = (WIDTH - 2 * MARGIN) / len(cells)
    return "".join(
        _box(MARGIN + at * width + 1, 40, width - 2, 40, GROUPS.get(group, GREY))
        + _text(MARGIN + (at + 0.5) * width, 65, cell)
        for at, (cell, group) in enumerate(zip(cells, groups, strict=True))
    )


def _grid(rows: int, columns: int, block: Sequence[int]) -> str:
    """Draw a matrix whose blocks share a scale, neighbouring blocks in other shades."""
    width, height = (WIDTH - 2 * MARGIN) / columns, (HEIGHT - 2 * MARGIN) / rows
    drawn = ""
    for row in _steps(0, rows - 1):
        for column in _steps(0, columns - 1):
            odd = (row // block[0] + column // block[1]) % 2
            drawn += _box(
                MARGIN + column * width + 1,
                MARGIN + row * height + 1,
                width - 2,
                height - 2,
                ORANGE if odd else BLUE,
            )
    return drawn


def _flow(steps: Sequence[str]) -> str:
    """Draw what becomes of what."""
    width = (WIDTH - 2 * MARGIN) / len(steps)
    drawn = ""
    for at, step in enumerate(steps):
        left = MARGIN + at * width
        drawn += _box(left + 6, 40, width - 22, 40, ORANGE if at == 1 else BLUE)
        drawn += _text(left + width / 2 - 5, 65, step, 13)
        if at < len(steps) - 1:
            drawn += _line(left + width - 14, 60, left + width + 2, 60)
            drawn += f'<path d="M{left + width + 4:.1f} 60 l-7 -4 v8 z" fill="currentColor" stroke="none"/>'
    return drawn


def _bars(heights: Sequence[float]) -> str:
    """Draw numbers beside each other."""
    width, base = (WIDTH - 2 * MARGIN) / len(heights), HEIGHT - MARGIN
    unit = (HEIGHT - 2 * MARGIN) / max(heights)
    return _line(MARGIN, base, WIDTH - MARGIN, base) + "".join(
        _box(MARGIN + (at + 0.2) * width, base - height * unit, 0.6 * width, height * unit, BLUE)
        for at, height in enumerate(heights)
    )


def _plane(cells: str) -> str:
    """Draw codewords of two values, on a grid or wherever pairs are."""
    side = HEIGHT - 2 * MARGIN
    left = (WIDTH - side) / 2
    grid = [((column + 0.5) / 4, (row + 0.5) / 4) for column in _steps(0, 3) for row in _steps(0, 3)]
    frame = _box(left, MARGIN, side, side, BLUE, 0.08)
    if cells == "square":
        for part in (0.25, 0.5, 0.75):
            frame += _line(left + part * side, MARGIN, left + part * side, MARGIN + side, GREY, "3 3")
            frame += _line(left, MARGIN + part * side, left + side, MARGIN + part * side, GREY, "3 3")
    points = grid if cells == "square" else PLANE
    return frame + "".join(
        f'<circle cx="{left + x * side:.1f}" cy="{MARGIN + (1 - y) * side:.1f}" r="4" fill="{ORANGE}" stroke="none"/>'
        for x, y in points
    )


def _steps(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


KINDS: Mapping[str, Callable[..., str]] = {
    "levels": _levels,
    "staircase": _staircase,
    "boxes": _boxes,
    "grid": _grid,
    "flow": _flow,
    "bars": _bars,
    "plane": _plane,
}
