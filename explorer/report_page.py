"""A report of plans as one HTML file: figures, tables, the plans themselves, and how to get the numbers again.

The file holds all that it shows, plotly.js too, and forbids itself the network. Names of layers, plans and models are
other people's text, and stay text.
"""

from __future__ import annotations

import datetime
import html
import platform
import string
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from explorer.figures import report as figures
from explorer.figures.theme import Canvas
from explorer.language import language, plain_words
from explorer.notation import count, decibels, scored, shape, short, size
from explorer.reports import PLAN_FILE, LayerEntry, PlanEntry, Report
from explorer.snippets import plan_code

TEMPLATE = Path(__file__).resolve().parent / "assets" / "report.html"
PACKAGES = ("quant-explorer", "numpy", "numba", "torch", "onnxruntime", "transformers", "plotly")
NOTHING = "–"


def html_of(report: Report) -> str:
    """Return the whole file."""
    words = plain_words("report")
    title = _text(words["title"].format(model=report.model))
    body = "\n".join(part for part in (*_head(report, title), *_figures(report), *_tables(report), *_again(report)))
    return page_html(title, body)


def _head(report: Report, title: str) -> Iterator[str]:
    words = plain_words("report")
    named = {"n": count(len(report.plans) - 1), "model": report.model}
    scored_lead = words["lead"].format(split=report.split, samples=count(report.samples), **named)
    yield f"<h1>{title}</h1>"
    yield f"<p>{_text(scored_lead if _score_name(report) else words['lead_unscored'].format(**named))}</p>"
    columns, names = words["columns"], [*dict.fromkeys(name for plan in report.plans for name in plan.scores)]
    rows = [
        (
            plan.title,
            _number(size(plan.size_bytes)),
            *(_number(scored(plan.scores[name]) if name in plan.scores else NOTHING) for name in names),
        )
        for plan in report.plans
    ]
    yield f"<h2>{_text(words['heads']['plans'])}</h2>"
    yield _table((columns["plan"], _number(columns["size"]), *(_number(name) for name in names)), rows)


def _score_name(report: Report) -> str:
    """Return the name of the first score, nothing without one."""
    return next((name for plan in report.plans for name in plan.scores), "")


def _figures(report: Report) -> Iterator[str]:
    words, canvas, name = plain_words("report"), Canvas(report.digest), _score_name(report)
    if name:
        points = [
            figures.Scored(_text(plan.title), plan.size_bytes, plan.scores[name])
            for plan in report.plans
            if name in plan.scores
        ]
        yield f"<p>{_text(words['about']['plans'].format(score=name))}</p>"
        yield _figure("plans", figures.plans_figure(points, canvas), figures.describe_plans(points))
    plans = [plan for plan in report.plans if plan.layers]
    layers = [layer for layer in report.weights if any(layer in _by_name(plan) for plan in plans)]
    if not layers:
        return
    shown = [_text(layer) for layer in layers]
    errors = {
        _text(plan.title): [found[layer].sqnr_db if layer in (found := _by_name(plan)) else None for layer in layers]
        for plan in plans
    }
    yield f"<h2>{_text(words['heads']['errors'])}</h2><p>{_text(words['about']['errors'])}</p>"
    yield _figure("errors", figures.errors_figure(shown, errors, canvas), figures.describe_errors(shown, errors))
    spreads = [
        figures.Spread(
            _text(layer),
            report.weights[layer],
            {_text(plan.title): found[layer].ends for plan in plans if layer in (found := _by_name(plan))},
        )
        for layer in layers
    ]
    yield f"<h2>{_text(words['heads']['ranges'])}</h2><p>{_text(words['about']['ranges'])}</p>"
    yield _figure("ranges", figures.ranges_figure(spreads, canvas), figures.describe_ranges(spreads))


def _by_name(plan: PlanEntry) -> dict[str, LayerEntry]:
    return {layer.name: layer for layer in plan.layers}


def _tables(report: Report) -> Iterator[str]:
    words = plain_words("report")
    columns = words["columns"]
    heads = [columns[name] for name in ("layer", "shape", "weight", "activation")]
    for plan in report.plans:
        if not plan.layers:
            continue
        rows = [
            (
                layer.name,
                shape(layer.shape),
                layer.weight,
                layer.activation,
                _number(short(layer.bits_per_value, 4)),
                _number(decibels(layer.sqnr_db)),
            )
            for layer in plan.layers
        ]
        yield f"<h2>{_text(words['heads']['layers'].format(plan=plan.title))}</h2>"
        yield _table((*heads, _number(columns["bits"]), _number(columns["sqnr"])), rows)


def _again(report: Report) -> Iterator[str]:
    words = plain_words("report")
    columns, about, heads = words["columns"], words["about"], words["heads"]
    yield f"<h2>{_text(heads['again'])}</h2><p>{_text(about['again'])}</p>"
    code = plan_code(report.source, report.digest, PLAN_FILE, report.split)
    yield f"<pre>{_text(code)}</pre><p>{_text(about['seeds'])}</p>"
    if any(plan.fitted for plan in report.plans):
        yield f"<p>{_text(about['fitted'])}</p>"
    for plan in report.plans:
        if plan.layers:
            title = _text(heads["file"].format(plan=plan.title))
            yield f"<details><summary>{title}</summary><pre>{_text(plan.document)}</pre></details>"
    yield f"<h2>{_text(heads['versions'])}</h2>"
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    rows = [(columns["model"], report.digest), (columns["made"], made), ("Python", platform.python_version())]
    rows += [(f"{columns['key']} {plan.title}", plan.key) for plan in report.plans if plan.layers]
    yield _table((), [*rows, *((name, version) for name in PACKAGES if (version := _version(name)))])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


class _Number(str):
    """Text of a cell that stands at the right."""

    __slots__ = ()


def _number(text: str) -> _Number:
    return _Number(text)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is wide."""

    def cell(tag: str, text: str, place: int) -> str:
        kind = "number" if isinstance(text, _Number) else "" if place else "name"
        return f"<{tag} class='{kind}'>{_text(text)}</{tag}>"

    lines = [("th", heads)] if heads else []
    every = [*lines, *(("td", row) for row in rows)]
    held = ("".join(cell(tag, text, place) for place, text in enumerate(row)) for tag, row in every)
    return f"<div class='scroll'><table>{''.join(f'<tr>{line}</tr>' for line in held)}</table></div>"


def _figure(key: str, figure: Any, alt: str) -> str:
    """Return a figure, whose description has its names escaped."""
    return figure_html(key, figure.to_json(engine="json"), alt)


def figure_html(key: str, data: str, alt: str) -> str:
    """Return a place for a figure, its JSON, which no text can end, and its description, which is HTML."""
    held, summary = data.replace("<", "\\u003c"), _text(plain_words("report")["in_words"])
    return (
        f"<div class='figure' id='{key}' role='img' aria-label='{alt}'></div>"
        f"<script type='application/json'>{held}</script><details><summary>{summary}</summary><p>{alt}</p></details>"
    )


def page_html(title: str, body: str) -> str:
    """Return a whole file, which needs no network, of a title and what is shown, both HTML."""
    from plotly.offline import get_plotlyjs

    return string.Template(TEMPLATE.read_text("utf-8")).substitute(
        language=language(), title=title, plotly=get_plotlyjs(), body=body
    )


def _text(text: str) -> str:
    """Return text as HTML, in which it is no markup: Plotly, too, reads some tags."""
    return html.escape(text)
