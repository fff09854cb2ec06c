"""The second laboratory of lesson 10: a matrix cut into vectors, their codebooks, and what comes back from them."""

from __future__ import annotations

import math

import numpy as np
import streamlit as st

from explorer import charts, controls
from explorer.fields import Choice
from explorer.figures.mosaic import Patch, describe_patch, describe_strips, patch_figure, rows_of, strips_figure
from explorer.lessons.framework.layout import numbers
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.quantized_subject import QuantizedSubject, coded
from explorer.lessons.framework.scene import Scene
from explorer.notation import count, decibels, share, short
from explorer.tensors import Subject
from quant_engine import ProductCodebook, QuantizerSpec

SLUG = "vectors"


def _field(name: str, options: tuple[int, ...], default: int) -> Choice[int]:
    return Choice(f"{SLUG}_{name}", {str(option): option for option in options}, str(default))


DIM, PARTS = _field("dim", (2, 4, 8, 16), 8), _field("parts", (1, 2, 4, 8, 16), 4)
CODEWORDS, STAGES = _field("codewords", (4, 16, 64, 256), 16), _field("stages", (1, 2, 3), 1)
ROWS, COLUMNS = 32, 64  # of the part of the matrix that is drawn
FULL = 99.5  # per cent of the values within full colour
PLAIN_DIGITS = 10**9  # greater numbers are written in powers of ten


def format_of() -> ProductCodebook:
    """Show the controls and return the format; parts that do not divide a vector are refused, and the nearest taken."""
    words = read_prose(SLUG).laboratory
    with st.container(horizontal=True, gap="medium", key=f"{SLUG}_product"):
        dim, parts, codewords, stages = (controls.show(field) for field in (DIM, PARTS, CODEWORDS, STAGES))
    nearest = math.gcd(dim, parts)
    if nearest != parts:
        st.warning(
            words["product_refused"].format(given=parts, dim=dim, parts=nearest),
            icon=":material/block:",
        )
    return ProductCodebook(dim, codewords, nearest, stages, remainder="pad")


def product_laboratory(bench: Bench) -> Scene:
    """Draw codebooks as strips, and a part of the matrix before and after."""
    words = read_prose(SLUG).laboratory
    st.subheader(words["product_title"])
    st.markdown(words["product_lead"])
    form = format_of()
    scene = Scene(bench.subject, QuantizerSpec(form))
    found = coded(scene.subject, scene.spec)
    _notes(scene.subject, form, found)
    _numbers(bench, form, found)
    _strips(form, found)
    _patches(scene.subject, form, found)
    return scene


def stored(form: ProductCodebook) -> int:
    """Return how many codewords are stored."""
    return form.codewords * form.indices


def implied(form: ProductCodebook) -> int:
    """Return how many vectors can be told apart."""
    return int(form.codewords**form.indices)


def large(number: float) -> str:
    """Write a whole number in full, or in powers of ten where it is very large.

    >>> large(65536), large(16.0**16)
    ('65,536', '1.84·10¹⁹')
    """
    return count(int(number)) if number < PLAIN_DIGITS else short(float(number))


def vectors_of(subject: Subject, form: ProductCodebook) -> int:
    """Return how many vectors are stored, those filled up with zeros among them."""
    return len(subject.matrix) * -(-subject.row // form.dim)


def _notes(subject: Subject, form: ProductCodebook, found: QuantizedSubject) -> None:
    """Say where vectors are filled up, and where there are fewer vectors than codewords."""
    words = read_prose(SLUG).laboratory
    over, vectors = -subject.row % form.dim, vectors_of(subject, form)
    if over:
        wasted = over * len(subject.matrix) / (vectors * form.dim)
        said = words["product_padded"].format(
            row=count(subject.row), dim=form.dim, over=over, share=share(wasted), bits=short(found.index_bits, 4)
        )
        st.info(said, icon=":material/info:")
    learned = found.quantizer.learned
    assert learned is not None
    there = int(np.isfinite(learned[..., 0]).sum())
    if there < stored(form):
        said = words["product_few"].format(there=count(there), stored=count(stored(form)), vectors=count(vectors))
        st.info(said, icon=":material/info:")


def _numbers(bench: Bench, form: ProductCodebook, found: QuantizedSubject) -> None:
    words = read_prose(SLUG).laboratory
    with numbers():
        st.metric(words["stored"], count(stored(form)))
        st.metric(words["implied"], "?" if bench.asking else large(implied(form)))
        st.metric(words["index_bits"], short(found.index_bits, 4))
        st.metric(words["all_bits"], short(found.storage.bits_per_value, 4))
        st.metric("MSE", short(found.report.mse))
        st.metric("SQNR", decibels(found.report.sqnr_db))


def _strips(form: ProductCodebook, found: QuantizedSubject) -> None:
    words, learned = read_prose(SLUG).laboratory, found.quantizer.learned
    assert learned is not None
    reach = float(np.nanpercentile(np.abs(learned), FULL)) or 1.0
    figure = strips_figure(learned, reach, charts.canvas(form))
    charts.show(figure, f"{SLUG}_chart_strips", describe_strips(learned))
    said, drawn = words["strips"].format(width=form.part_dim), rows_of(form.stages)
    if drawn < form.codewords:
        said += " " + words["strips_some"].format(codewords=form.codewords, drawn=drawn)
    st.caption(said)


def _patches(subject: Subject, form: ProductCodebook, found: QuantizedSubject) -> None:
    """Draw the first rows and columns of the matrix, what comes back, and the difference, on one colour scale."""
    words = read_prose(SLUG).laboratory
    first = _liveliest(subject)
    rows = np.ascontiguousarray(subject.matrix[first : first + ROWS])
    before, after = (array[:, :COLUMNS] for array in (rows, found.quantizer.fake_quantize(rows)))
    reach = float(np.percentile(np.abs(before), FULL)) or 1.0
    shown = {"before": before, "after": after, "difference": after - before}
    canvas = charts.canvas(subject.key)
    for (name, values), place in zip(shown.items(), st.columns([1, 1, 1.12], gap="small"), strict=True):
        patch = Patch(words[f"patch_{name}"], values, first, reach, form.dim)
        with place:
            figure = patch_figure(patch, canvas, scale=name == "difference")
            charts.show(figure, f"{SLUG}_chart_patch_{name}", describe_patch(patch))
    last = first + len(before) - 1
    size = f"{before.shape[0]} × {before.shape[1]}"
    of = f"{count(len(subject.matrix))} × {count(subject.row)}"
    names = {"size": size, "of": of, "tensor": subject.title, "first": count(first), "last": count(last)}
    st.caption(words["patches"].format(**names, dim=form.dim, reach=short(reach)))


def _liveliest(subject: Subject) -> int:
    """Return the first of the rows in which values vary most."""
    matrix = subject.matrix
    starts = range(0, max(len(matrix) - ROWS, 0) + 1, ROWS)
    return max(starts, key=lambda start: float(matrix[start : start + ROWS, :COLUMNS].var()))
