"""One picture of a published run, as SVG: how many times as fast as a peer, and growth with the number of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log10

from benchmarks.comparison import figures

WIDTH, HEIGHT = 1200, 560
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")  # Okabe and Ito's
INK, GRID = "#222222", "#dddddd"
BARS = 330, 640  # from where to where the bars' axis goes, in px
GROWTH = 760, 930
TOP, BOTTOM = 60, 500
LINE = 18  # px between names that would lie on one another

Bar = tuple[str, Mapping[str, float]]  # a name, and times as fast by vector extension
Line = tuple[str, Sequence[int], Sequence[float]]  # a name, sizes, milliseconds


def svg(bars: Sequence[Bar], lines: Sequence[Line], alt: str) -> str:
    """Return the picture, both panels with logarithmic axes, on white."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alt)}"'
        ' font-family="sans-serif" font-size="14">',
        f"<title>{escape(alt)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_bars(bars),
        *_lines(lines),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bars(bars: Sequence[Bar]) -> list[str]:
    extensions = list(dict.fromkeys(name for _, values in bars for name in values))
    most = max((value for _, values in bars for value in values.values()), default=10.0)
    decades = max(1, -int(-log10(most) // 1))
    parts = [_text(BARS[0], TOP - 36, "Times as fast as the peer", weight="bold")]
    parts += _decades(range(decades + 1), BARS, "×")
    step = (BOTTOM - TOP) / max(len(bars), 1)
    thick = 0.8 * step / max(len(extensions), 1)
    for row, (name, values) in enumerate(bars):
        top = TOP + row * step + 0.1 * step
        parts.append(_text(BARS[0] - 8, top + 0.4 * step + 5, name, "end"))
        for extension, value in values.items():
            at = extensions.index(extension)
            end = _scaled(max(value, 1.0), range(decades + 1), BARS)
            parts.append(
                f'<rect x="{BARS[0]}" y="{top + at * thick:.1f}" width="{max(end - BARS[0], 1):.1f}"'
                f' height="{thick - 1:.1f}" fill="{COLOURS[at]}"/>'
            )
            parts.append(_text(end + 4, top + (at + 0.5) * thick + 5, figures(value)))
    for at, extension in enumerate(extensions):
        x = BARS[0] + 170 * at
        parts.append(f'<rect x="{x}" y="{BOTTOM + 38}" width="14" height="14" fill="{COLOURS[at]}"/>')
        parts.append(_text(x + 20, BOTTOM + 50, extension))
    return parts


def _lines(lines: Sequence[Line]) -> list[str]:
    sizes = range(*_whole([size for _, given, _ in lines for size in given]))
    times = range(*_whole([time for _, _, given in lines for time in given]))
    parts = [_text(GROWTH[0], TOP - 36, "Milliseconds over values", weight="bold")]
    parts += _decades(sizes, GROWTH, "")
    for power in times:
        y = _scaled(10.0**power, times, (BOTTOM, TOP))
        parts.append(f'<line x1="{GROWTH[0]}" x2="{GROWTH[1]}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
        parts.append(_text(GROWTH[0] - 8, y + 5, f"{10.0**power:g}", "end"))
    lowest = BOTTOM + LINE
    for at, (name, given, found) in enumerate(sorted(lines, key=lambda line: line[2][-1])):
        points = [
            (_scaled(size, sizes, GROWTH), _scaled(time, times, (BOTTOM, TOP)))
            for size, time in zip(given, found, strict=True)
        ]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        colour = COLOURS[at % len(COLOURS)]
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        lowest = min(points[-1][1], lowest - LINE)
        parts.append(f'<circle cx="{GROWTH[1] + 10}" cy="{lowest:.1f}" r="5" fill="{colour}"/>')
        parts.append(_text(GROWTH[1] + 20, lowest + 5, name))
    return parts


def _whole(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten around values, the last one excluded."""
    low, high = min(values, default=1.0), max(values, default=10.0)
    return int(log10(low) // 1), max(-int(-log10(high) // 1), int(log10(low) // 1) + 1) + 1


def _scaled(value: float, powers: range, ends: tuple[int, int]) -> float:
    """Return where a value lies on a logarithmic axis."""
    share = (log10(value) - powers[0]) / (powers[-1] - powers[0])
    return ends[0] + share * (ends[1] - ends[0])


def _decades(powers: range, ends: tuple[int, int], unit: str) -> list[str]:
    parts = []
    for power in powers:
        x = _scaled(10.0**power, powers, ends)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}" stroke="{GRID}"/>')
        if unit or power % 2 == 0:
            parts.append(_text(x, BOTTOM + 20, f"{10**power:,} {unit}" if unit else f"10{_raised(power)}", "middle"))
    return parts


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))


def _text(x: float, y: float, words: str, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{INK}">'
        f"{escape(words)}</text>"
    )
