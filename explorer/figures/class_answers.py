"""How a class has answered: a panel for each vote, and the truth as a line or a mark once it is revealed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from explorer.figures import elements, theme
from explorer.figures.theme import Canvas, LayoutPart, Trace
from explorer.language import read_words
from explorer.notation import count, short
from explorer.teaching.questions import Question
from explorer.teaching.spread import Spread

ROW, AROUND, HEIGHT = 42, 70, 264  # pixels: shown large they leave room for what is said at the reveal
FOOT = 52  # pixels for the axis of votes
GAP = 0.06  # of the width, between votes
TICKS = 5  # about, on the axis of votes
MAX_LABEL = 34  # characters of an option on a line
TRUTH = theme.QUANTIZED


def class_answers_figure(question: Question, votes: Mapping[int, Spread], told: bool, canvas: Canvas) -> go.Figure:
    """Draw each vote; without any, what can be answered: the options, or the tensor's values.

    Once it is told, the truth is a line, and a shade where more than one number is right.
    """
    shown = dict(votes) or {1: Spread((), (0,) * len(question.options))}
    if question.options:
        return _choices_figure(question, shown, told, canvas)
    return _numbers_figure(question, votes, told, canvas)


def describe_class_answers(question: Question, votes: Mapping[int, Spread], told: bool) -> str:
    """Say in words what the figure shows."""
    said = read_words("classroom")["figure"]
    parts = []
    if question.histogram is not None:
        edges, n = question.histogram.edges, count(round(sum(question.histogram.counts)))
        parts.append(said["described_tensor"].format(n=n, low=short(edges[0]), high=short(edges[-1])))
    for turn, spread in votes.items():
        if question.options:
            pairs = zip(question.options, spread.counts, strict=True)
            listed = [said["vote"].format(option=option, n=n) for option, n in pairs]
        else:
            bins = zip(spread.edges[:-1], spread.edges[1:], spread.counts, strict=True)
            listed = [said["between"].format(low=short(low), high=short(high), n=n) for low, high, n in bins if n]
        parts.append(said["described"].format(round=_name(turn), n=spread.n, listed="; ".join(listed)))
    if told and question.truth is not None:
        parts.append(_truth(question, said["described_truth"], said["described_range"]))
    return " ".join(parts) or question.text


def truth_text(question: Question) -> str:
    """Return the truth as it is read: an option, or a number with its unit; empty where there is none."""
    if question.truth is None:
        return ""
    if question.options:
        return question.options[int(question.truth)]
    return f"{short(question.truth)} {question.unit}".strip()


def _truth(question: Question, alone: str, within: str) -> str:
    """Say the truth, and from where to where an answer is right if that is more than one number."""
    low, high = question.right or (0.0, 0.0)
    words = within if high > low else alone
    return words.format(value=truth_text(question), low=short(low), high=short(high))


def _choices_figure(question: Question, votes: Mapping[int, Spread], told: bool, canvas: Canvas) -> go.Figure:
    right = {question.truth, *question.ties} if told else set()
    labels = [("✓ " if place in right else "") + _folded(text) for place, text in enumerate(question.options)]
    most = max(1, *(n for spread in votes.values() for n in spread.counts))
    traces, layout = [], {}
    for place, (turn, spread) in enumerate(votes.items()):
        end = "" if place == 0 else str(place + 1)
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "xaxis": f"x{end}",
                "y": [*range(len(labels))],
                "x": spread.counts,
                "text": [str(n) if spread.n else "" for n in spread.counts],
                "textposition": "outside",
                "textfont": {"size": 18},
                "cliponaxis": False,
                "marker": {"color": [TRUTH if option in right else theme.NEUTRAL for option in range(len(labels))]},
                "hoverinfo": "skip",
            }
        )
        title = _name(turn) if spread.n else ""
        layout[f"xaxis{end}"] = theme.axis(
            title, range=[0, 1.15 * most], domain=_domain(place, len(votes)), dtick=_tick(most)
        )
        layout[f"xaxis{end}"] |= {"showticklabels": bool(spread.n), "ticks": "outside" if spread.n else ""}
    ticks = {"tickvals": [*range(len(labels))], "ticktext": labels, "automargin": True, "ticks": ""}
    layout["yaxis"] = theme.axis("", range=[len(labels) - 0.5, -0.5], **ticks)
    margin = {**theme.MARGIN, "b": FOOT if any(spread.n for spread in votes.values()) else theme.MARGIN["b"]}
    figure = theme.figure(traces, AROUND + ROW * len(labels), canvas, margin=margin, bargap=0.35, **layout)
    figure.update_yaxes(tickfont={"size": 18})
    return figure


def _numbers_figure(question: Question, votes: Mapping[int, Spread], told: bool, canvas: Canvas) -> go.Figure:
    """Draw votes along the axis of what is asked for, before the tensor's values where it is about a tensor."""
    said = read_words("classroom")["figure"]
    shown = dict(votes) or {0: Spread((), ())}
    most = max([1, *(n for spread in votes.values() for n in spread.counts)])
    traces: list[Trace] = []
    layout: dict[str, LayoutPart] = {}
    shapes, notes = [], []
    for place, (turn, spread) in enumerate(shown.items()):
        end = "" if place == 0 else str(place + 1)
        low, high = _ends(question, bool(votes))
        if question.histogram is not None:
            traces.append(_tensor(question, f"x{end}", most))
        if spread.edges:
            traces.append(_votes(spread, f"x{end}"))
        title = said["beta" if question.histogram else "number"] + (f" ({question.unit})" if question.unit else "")
        layout[f"xaxis{end}"] = theme.axis(title, range=[low, high], domain=_domain(place, len(shown)), nticks=7)
        if spread.edges:
            notes.append(_heading(_name(turn), _domain(place, len(shown)), canvas))
        if told and question.truth is not None:
            shapes += [
                *_right(question, f"x{end}"),
                {**elements.line(question.truth, "y", TRUTH), "xref": f"x{end}", "yref": "paper", "y0": 0, "y1": 1},
            ]
            text = _truth(question, said["truth"], said["truth_range"])
            notes.append(
                elements.note(
                    f"<b>{text}</b>", question.truth, 1.02, TRUTH, xref=f"x{end}", yref="paper", yanchor="bottom"
                )
            )
    axis = theme.axis(said["votes"] if votes else "", range=[0, 1.08 * most], dtick=_tick(most))
    layout["yaxis"] = axis | ({} if votes else {"showticklabels": False, "ticks": ""})
    margin = {"l": 56, "r": 12, "t": 56, "b": 52}
    return theme.figure(traces, HEIGHT, canvas, margin=margin, shapes=shapes, annotations=notes, bargap=0.08, **layout)


def _right(question: Question, axis: str) -> list[LayoutPart]:
    """Return what shades the answers that are right, within the axis, where that is more than one."""
    low, high = question.right or (0.0, 0.0)
    if question.histogram is None:
        low, high = max(low, question.low), min(high, question.high)
    paper = {"xref": axis, "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "line": {"width": 0}}
    return [{"type": "rect", "x0": low, "x1": high, "fillcolor": TRUTH, "opacity": 0.2, **paper}] if high > low else []


def _votes(spread: Spread, axis: str) -> Trace:
    edges = np.asarray(spread.edges)
    return {
        "type": "bar",
        "xaxis": axis,
        "x": (edges[1:] + edges[:-1]) / 2,
        "width": 0.9 * np.diff(edges),
        "y": spread.counts,
        "marker": {"color": theme.ERROR},
        "hoverinfo": "skip",
    }


def _tensor(question: Question, axis: str, most: float) -> Trace:
    """Return the outline of the tensor's values, as high as the highest vote."""
    histogram = question.histogram
    assert histogram is not None
    heights = np.sqrt(histogram.counts)
    return {
        "type": "scatter",
        "xaxis": axis,
        "x": histogram.edges,
        "y": [*(most * heights / heights.max()), 0],
        "line": {"shape": "hv", "color": theme.ORIGINAL, "width": 1},
        "fill": "tozeroy",
        "fillcolor": theme.CLIPPED_FILL,
        "hoverinfo": "skip",
    }


def _ends(question: Question, voted: bool) -> tuple[float, float]:
    """Return what the axis shows: all values before the vote, then what could be answered."""
    if question.histogram is None:
        return question.low, question.high
    edges = question.histogram.edges
    return (0.0 if voted else edges[0]), edges[-1]


def _tick(most: float) -> int:
    """Return how far apart whole votes are marked.

    >>> _tick(3), _tick(100)
    (1, 20)
    """
    return -(-int(most) // TICKS)


def _domain(place: int, panels: int) -> list[float]:
    width = (1 + GAP) / panels - GAP
    return [place * (width + GAP), place * (width + GAP) + width]


def _heading(text: str, domain: list[float], canvas: Canvas) -> LayoutPart:
    place = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom", "yshift": 22}
    return elements.note(text, domain[0], 1.0, canvas.ink, **place)


def _name(turn: int) -> str:
    return str(read_words("classroom")["figure"]["second" if turn == 2 else "first"])


def _folded(text: str) -> str:
    """Return an option on lines of a readable length."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > MAX_LABEL and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)
