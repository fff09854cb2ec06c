"""The first laboratory of lesson 10: pairs of neighbours, coded one by one and together, at the same bits."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from explorer import charts, compute, controls, tables
from explorer.caches import ResultKey
from explorer.fields import Choice, Number, widths
from explorer.figures.plane import Plane, describe_plane, plane_figure, view_of
from explorer.lessons.centroids.codebooks import CLIPPED, OPTIMAL
from explorer.lessons.framework.layout import figures_of
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.quantized_subject import QuantizedSubject, coded, times_less
from explorer.notation import count, decibels, short
from explorer.tensors import SEED, Subject
from quant_engine import QuantizerSpec, VectorCodebook

SLUG = "vectors"
BITS = Choice(f"{SLUG}_bits", widths(2, 3, 4), "2 bits", menu=True, width=112)
GRID = Choice(
    f"{SLUG}_grid",
    {"optimal": "optimal", "even steps": "even"},
    default="optimal",
    menu=True,
    width=118,
)
RHO = Number(
    f"{SLUG}_rho",
    0,
    99,
    default=90,
    width=140,
)
SAMPLES = 20_000  # synthetic pairs
DRAWN = 100_000  # pairs of a tensor


def synthetic_pairs(rho: float) -> Subject:
    """Return Gaussian pairs of deviation 1 whose values have correlation `rho`."""

    def work() -> Subject:
        drawn = np.random.default_rng(SEED).standard_normal((SAMPLES, 2))
        mixed = drawn @ np.array([[1.0, rho], [0.0, math.sqrt(1 - rho * rho)]])
        values = mixed.astype(np.float32)
        values.flags.writeable = False
        about = {"rho": f"{rho:g}"}
        return Subject(ResultKey("synthetic pairs", rho), "pairs", "value", values.reshape(-1), 2, about)

    return compute.kept(ResultKey("subject", "synthetic pairs", rho), work)


def candidates(subject: Subject, bits: int) -> dict[str, QuantizedSubject]:
    """Return what even steps, optimal single values and vectors of two make of a tensor at the same bits."""
    specs = {
        "even": CLIPPED.spec(bits),
        "optimal": OPTIMAL.spec(bits),
        "vectors": QuantizerSpec(VectorCodebook(2, 1 << 2 * bits, remainder="pad")),
    }
    return {name: coded(subject, spec) for name, spec in specs.items()}


def pairs_of(subject: Subject) -> NDArray[np.float32]:
    """Return the pairs of neighbours (n, 2) along rows; the last of an odd row has a 0 beside it, as if it were stored.

    >>> pairs_of(Subject("k", "t", "u", np.float32([1, 2, 3, 4, 5, 6]), 3)).tolist()
    [[1.0, 2.0], [3.0, 0.0], [4.0, 5.0], [6.0, 0.0]]
    """
    rows = subject.matrix
    return np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(-1, 2)


def correlation(subject: Subject) -> float:
    """Return the correlation of neighbours in whole pairs, 0 where values do not vary."""
    rows = subject.matrix
    pairs = rows[:, : rows.shape[1] // 2 * 2].reshape(-1, 2).astype(np.float64)
    if len(pairs) < 2 or not pairs.std(axis=0).all():
        return 0.0
    apart = pairs - pairs.mean(axis=0)
    return float(np.prod(apart, axis=1).mean() / np.prod(pairs.std(axis=0)))


def pairs_laboratory(bench: Bench) -> None:
    """Draw the tensor's own pairs and synthetic ones, each cut by a grid and by cells, and what that loses.

    Synthetic ones come first where they answer ρ, and else the tensor's, of which the words speak.
    """
    with bench.controls:
        bits, grid, rho = controls.show(BITS), controls.show(GRID), controls.show(RHO)
    own, synthetic = partial(_own, bench, bits, grid), partial(_synthetic, bits, grid, rho / 100)
    for draw in (synthetic, own) if bench.trying else (own, synthetic):
        draw()


def _own(bench: Bench, bits: int, grid: str) -> None:
    """Draw the tensor's pairs."""
    words, subject = read_prose(SLUG).laboratory, bench.subject
    _planes(subject, bits, grid, "real")
    said = words["pairs_table"].format(bits=bits, grid=GRID.held(grid), n=count(1 << 2 * bits))
    told = bench.predicted
    _losses(subject, bits, told, _sampled(subject), said if told else f"{said} {words['pairs_locked']}")


def _synthetic(bits: int, grid: str, rho: float) -> None:
    """Draw pairs of any correlation."""
    words = read_prose(SLUG).laboratory
    subject = synthetic_pairs(rho)
    _planes(subject, bits, grid, "synthetic")
    said = words["pairs_synthetic"].format(rho=f"{rho:g}", n=count(SAMPLES))
    _losses(subject, bits, True, said)


def _losses(subject: Subject, bits: int, told: bool, *captions: str) -> None:
    """Show the table of what every way loses, and what there is to say."""
    left, right = figures_of(0.5)
    with left:
        tables.table(_table(subject, bits, told))
    for caption in captions:
        right.caption(caption)


def _planes(subject: Subject, bits: int, grid: str, name: str) -> None:
    """Draw the grid of single values and the cells of vectors, over shared axes."""
    words = read_prose(SLUG).laboratory
    found = candidates(subject, bits)
    levels = found[grid].quantizer.levels().astype(np.float64)
    learned = found["vectors"].quantizer.learned
    assert learned is not None
    sides = {
        "grid": np.stack(np.meshgrid(levels, levels), axis=-1).reshape(-1, 2),
        "cells": learned[0, 0][~np.isnan(learned[0, 0, :, 0])].astype(np.float64),
    }
    points = _drawn(pairs_of(subject))
    view = view_of(points, *sides.values())
    for (side, codewords), place in zip(sides.items(), figures_of(0.5), strict=True):
        title = words[f"plane_{side}"].format(grid=GRID.held(grid), levels=levels.size, n=len(codewords))
        plane = Plane(title, subject.unit, points, codewords, view)
        with place:
            figure = plane_figure(plane, charts.canvas(subject.key, bits, grid))
            charts.show(figure, f"{SLUG}_chart_{name}_{side}", describe_plane(plane))


def _drawn(pairs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return some of the pairs, the same ones every time."""
    if len(pairs) <= DRAWN:
        return pairs
    return pairs[np.sort(np.random.default_rng(SEED).choice(len(pairs), DRAWN, replace=False))]


def _sampled(subject: Subject) -> str:
    """Say which pairs are drawn."""
    words, pairs = read_prose(SLUG).laboratory, pairs_of(subject)
    said = words["pairs_some" if len(pairs) > DRAWN else "pairs_all"].format(
        tensor=subject.title, n=count(len(pairs)), drawn=count(DRAWN), rho=short(correlation(subject), 2)
    )
    odd = words["pairs_odd"].format(row=count(subject.row)) if subject.row % 2 else ""
    return f"{said} {odd}".strip()


def _table(subject: Subject, bits: int, told: bool) -> list[dict[str, str]]:
    """Return what every way loses on some pairs, in units of optimal single values too, if that may be told."""
    words, found = read_prose(SLUG).laboratory, candidates(subject, bits)
    return [
        {
            words["pairs_way"].format(unit=subject.unit): words[f"way_{name}"],
            words["pairs_mse"]: short(candidate.report.mse) if told else "?",
            words["pairs_gain"]: gain(found["optimal"], candidate) if told else "?",
            words["pairs_bits"]: short(candidate.storage.bits_per_value, 4),
        }
        for name, candidate in found.items()
    ]


def gain(unit: QuantizedSubject, other: QuantizedSubject) -> str:
    """Write how much less error there is than in `unit`, as a multiple and in decibels."""
    times = times_less(unit, other)
    if not 0 < times < math.inf:
        return "×∞" if times else "×0"
    return f"×{short(times)} ({'+' if times > 1 else ''}{decibels(10 * math.log10(times))})"
