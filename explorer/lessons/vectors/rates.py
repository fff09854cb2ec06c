"""The third laboratory of lesson 10: rate and distortion of one tensor under many codes, found a point at a time."""

from __future__ import annotations

from collections.abc import Generator

import streamlit as st

from explorer import charts, controls
from explorer.background import Task
from explorer.caches import ResultKey
from explorer.fields import Choice, named
from explorer.figures.rates import Point, describe_rates, rates_figure
from explorer.lessons.centroids.codebooks import CLIPPED, OPTIMAL
from explorer.lessons.framework import study
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.quantized_subject import QuantizedSubject, coded
from explorer.lessons.framework.scene import Scene
from explorer.lessons.framework.study import Study
from explorer.notation import short
from explorer.tensors import Subject
from quant_engine import ProductCodebook, QuantizerSpec, VectorCodebook
from quant_engine.formats import VectorFormat

SLUG = "vectors"
EVERYTHING, INDICES = "everything stored", "indices only"
COUNTED = Choice(
    f"{SLUG}_counted",
    named((EVERYTHING, INDICES)),
    default=EVERYTHING,
)
PLACE = f"{SLUG}_tracing"
MIN_VECTORS = 4  # to a codeword: with fewer a codebook learns the tensor by heart
Code = tuple[str, str, QuantizerSpec]  # name of the curve, of the point, and what is fitted


def codes(subject: Subject, form: ProductCodebook) -> list[Code]:
    """Return every code of the figure; those with too few vectors to a codeword are left out."""
    whole = [
        *(("integers, least MSE", f"{bits} bits", CLIPPED.spec(bits)) for bits in range(2, 7)),
        *(("optimal single values", f"{1 << bits} levels", OPTIMAL.spec(bits)) for bits in range(1, 7)),
    ]
    two: list[VectorFormat] = [VectorCodebook(2, k, remainder="pad") for k in (4, 8, 16, 32, 64, 256)]
    four: list[VectorFormat] = [VectorCodebook(4, k, remainder="pad") for k in (4, 16, 64, 256, 1024)]
    cut: list[VectorFormat] = [ProductCodebook(form.dim, k, form.parts, remainder="pad") for k in (4, 8, 16, 64, 256)]
    left: list[VectorFormat] = [VectorCodebook(4, 16, stages, "pad") for stages in range(1, 5)]
    words = read_prose(SLUG).laboratory
    families = {
        "vectors of 2": [(f"{f.codewords} codewords", f) for f in two],
        "vectors of 4": [(f"{f.codewords} codewords", f) for f in four],
        words["curve_product"].format(dim=form.dim, parts=form.parts): [
            (f"{f.codewords} codewords a part", f) for f in cut
        ],
        words["curve_residual"]: [(f"{f.stages} stages", f) for f in left],
    }
    rows = len(subject.matrix)
    return whole + [
        (curve, name, QuantizerSpec(f))
        for curve, members in families.items()
        for name, f in members
        if MIN_VECTORS * f.codewords <= rows * -(-subject.row // f.dim)
    ]


def rates_laboratory(bench: Bench, scene: Scene) -> None:
    """Draw the curves; they are found in the background, with progress and a button to stop."""
    said = read_prose(SLUG).laboratory
    st.subheader(said["rates_title"])
    st.markdown(said["rates_lead"])
    if not bench.predicted:
        _counted()
        st.info(said["rates_locked"], icon=":material/lock:")
        return
    tracing = tracing_of(scene)
    if study.asked(PLACE) != tracing.key:
        study.start(tracing)
    study.show(tracing, said["rates_progress"], lambda task: _curves(scene.subject, tracing.key, task))


def tracing_of(scene: Scene) -> Study:
    """Return the study that finds a point for each code."""
    form, subject = scene.spec.format, scene.subject
    wanted = codes(subject, form)

    def steps() -> Generator[tuple[str, dict[str, Point]], None, None]:
        for curve, name, spec in wanted:
            found = coded(subject, spec)
            yield curve, {counted: _point(name, found, counted) for counted in COUNTED.options}

    return Study(ResultKey(PLACE, subject.key, form.dim, form.parts), steps, len(wanted))


def _counted() -> str:
    """Show the choice of what is counted, with what it means, and return it."""
    said, counted = read_prose(SLUG).laboratory, controls.show(COUNTED)
    st.caption(said["rates_everything" if counted == EVERYTHING else "rates_indices"])
    return counted


def _curves(subject: Subject, key: ResultKey, task: Task | None) -> None:
    """Draw what has been found so far."""
    counted, curves = _counted(), dict[str, list[Point]]()
    for curve, points in [] if task is None else task.items:
        curves.setdefault(curve, []).append(points[counted])
    if not curves:
        return
    curves = {curve: sorted(points, key=lambda point: point.bits) for curve, points in curves.items()}
    variance = subject.statistics.sigma**2
    figure = rates_figure(curves, variance, f"bits per value, {counted}", charts.canvas(key, counted))
    charts.show(figure, f"{SLUG}_chart_rates", describe_rates(curves))
    said = read_prose(SLUG).laboratory
    st.caption(said["rates_bound"].format(variance=short(variance), least=MIN_VECTORS))


def _point(name: str, found: QuantizedSubject, counted: str) -> Point:
    bits = found.storage.bits_per_value if counted == EVERYTHING else found.index_bits
    return Point(bits, found.report.mse, name)
