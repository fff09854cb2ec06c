"""An address as a picture that phones read, drawn as SVG from segno's matrix: dark on white on every theme."""

from __future__ import annotations

import segno

BORDER = 4  # modules, as the standard asks for


def qr_svg(text: str) -> str:
    """Return the picture, one unit a module.

    >>> qr_svg("http://192.168.1.5:8501/join/ACDEFG").startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    True
    """
    rows = [*segno.make(text, error="m", micro=False).matrix]
    size = len(rows) + 2 * BORDER
    dark = "".join(
        f"M{x + BORDER} {y + BORDER}h1v1h-1z" for y, row in enumerate(rows) for x, module in enumerate(row) if module
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" shape-rendering="crispEdges">'
        f'<path fill="#fff" d="M0 0h{size}v{size}H0z"/><path d="{dark}"/></svg>'
    )


def qr_text(text: str) -> str:
    """Return the picture for a terminal: two modules in a character, light ones drawn, as terminals are dark."""
    matrix = [[bool(module) for module in row] for row in segno.make(text, error="l", micro=False).matrix]
    width = len(matrix[0]) + 4
    rows = [[False] * width] * 2 + [[False, False, *row, False, False] for row in matrix] + [[False] * width] * 2
    if len(rows) % 2:
        rows.append([False] * width)
    return "\n".join(
        "".join(HALVES[upper, lower] for upper, lower in zip(*rows[place : place + 2], strict=True))
        for place in range(0, len(rows), 2)
    )


HALVES = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
