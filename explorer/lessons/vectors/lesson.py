"""Lesson 10: scalar, vector, product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from explorer.formulas import Convention
from explorer.lessons.framework.accuracy_section import accuracy_section
from explorer.lessons.framework.model import Bench, Choices, Facts, Lesson, choices
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.quantized_subject import QuantizedSubject, coded, times_less
from explorer.lessons.framework.scene import Scene, nearest_step
from explorer.lessons.vectors import pairs, product, rates
from explorer.notation import count, decibels, latex, share, short
from quant_engine import LayerPlan, ProductCodebook

SLUG = "vectors"
FIELDS = (
    pairs.BITS,
    pairs.GRID,
    pairs.RHO,
    product.DIM,
    product.PARTS,
    product.CODEWORDS,
    product.STAGES,
    rates.COUNTED,
)
PREDICTED_BITS = 2
SETS = {"See": {pairs.BITS.key: "2 bits"}}
STEPS = {"same": 1.0, "little": 1.1, "third": 4 / 3, "double": 2.0, "more": 4.0}  # MSE of single values over vectors'
WEAK, STRONG = 0.0, 0.9  # correlations that the reveal compares


def laboratory(bench: Bench) -> Scene:
    """Draw pairs, codebooks with what comes back, rate and distortion, and accuracy."""
    with st.container(key="vectors_planes"):
        pairs.pairs_laboratory(bench)
    scene = product.product_laboratory(bench)
    rates.rates_laboratory(bench, scene)
    if bench.subject.is_weight:
        words = read_prose(SLUG).laboratory
        st.subheader(words["accuracy_title"])
        st.markdown(words["accuracy_lead"].format(layer=bench.layer))
        accuracy_section(bench.model, bench.layer, LayerPlan(weight=scene.spec))
    return scene


def prediction(scene: Scene) -> str:
    """Say how much less error vectors of two have than optimal single values."""
    return nearest_step(_gain(pairs.candidates(scene.subject, PREDICTED_BITS)), STEPS)


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    form, found = scene.spec.format, coded(scene.subject, scene.spec)
    here = pairs.candidates(scene.subject, PREDICTED_BITS)
    weak, strong = (_gain(pairs.candidates(pairs.synthetic_pairs(rho), PREDICTED_BITS)) for rho in (WEAK, STRONG))
    bits = found.index_bits
    bound = _bound(scene, bits)
    return {
        "gain": f"×{short(_gain(here))}",
        "correlation": short(pairs.correlation(scene.subject)),
        "weak": share(weak - 1),
        "strong": f"×{short(strong)}",
        "dim": str(form.dim),
        "parts": str(form.parts),
        "stages": str(form.stages),
        "codewords": count(form.codewords),
        "indices": str(form.indices),
        "stored": count(product.stored(form)),
        "asked_codewords": count(asked_form(scene).codewords),
        "asked_implied": product.large(product.implied(asked_form(scene))),
        "place": _place(found.report.mse, bound),
    }


def _place(mse: float, bound: float) -> str:
    """Say where an error lies beside the bound."""
    words = read_prose(SLUG).laboratory
    if not mse or not bound:
        return words["place_exact" if bound else "place_constant"]
    distance = 10 * math.log10(mse / bound)
    return words["place_above" if distance >= 0 else "place_below"].format(distance=decibels(abs(distance)))


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out what a vector comes back as, the bits of a value, and the bound."""
    form, found = scene.spec.format, coded(scene.subject, scene.spec)
    n, stored = found.storage.values, found.storage
    vectors = product.vectors_of(scene.subject, form)
    index, book = stored.code_bits / n, stored.codebook_bits / n
    bits = (
        rf"b = ({vectors} \cdot {form.parts} \cdot {form.stages} \cdot {form.bits} + "
        rf"32 \cdot {form.stages} \cdot {form.codewords} \cdot {form.dim}) \, / \, {n} = "
        rf"{latex(index)} + {latex(book)} = {latex(index + book)}"
    )
    variance, bound = scene.subject.statistics.sigma**2, _bound(scene, index)
    return (
        r"\tilde r_p = \sum_{t=1}^{T} C_{t,p}\left[q_{t,p}\right], \quad p = 1, \dots, P",
        r"b = (V \cdot P \cdot T \cdot \lceil \log_2 K \rceil + 32 \cdot T \cdot K \cdot d) \, / \, n",
        bits,
        rf"D(R) = \sigma^2 \cdot 2^{{-2R}} = {latex(variance)} \cdot 2^{{-2 \cdot {latex(index)}}} = {latex(bound)}",
        rf"\mathrm{{MSE}} = {latex(found.report.mse)}",
    )


def question(scene: Scene) -> Choices:
    """Ask how many codewords plain vectors need for the same indices."""
    form = asked_form(scene)
    wrong = {
        "stored": product.stored(form),
        "single": form.codewords,
        "entries": product.stored(form) * form.part_dim,
        "square": form.codewords**2,
    }
    return choices(product.implied(form), wrong, product.large)


def asked_form(scene: Scene) -> ProductCodebook:
    """Return the codebooks of the question: of another size than those on display."""
    form = scene.spec.format
    assert isinstance(form, ProductCodebook)
    return replace(form, codewords=form.codewords * 4 if form.codewords < 256 else form.codewords // 4)


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether a million vectors are named, and codebooks outweigh indices."""
    form, stored = scene.spec.format, coded(scene.subject, scene.spec).storage
    assert isinstance(form, ProductCodebook)
    return product.implied(form) > 1_000_000, stored.codebook_bits > stored.code_bits


def _gain(found: dict[str, QuantizedSubject]) -> float:
    return times_less(found["optimal"], found["vectors"])


def _bound(scene: Scene, bits: float) -> float:
    """Return D(R) of a Gaussian with the tensor's variance."""
    return float(scene.subject.statistics.sigma**2 * 2.0 ** (-2.0 * bits))


LESSON = Lesson(10, SLUG, FIELDS, laboratory, prediction, facts, written, question, puzzles=puzzles, sets=SETS)
