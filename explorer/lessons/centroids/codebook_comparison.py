"""Codebooks of one size side by side: codewords over the tensor, error, bits, and accuracy as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import streamlit as st

from explorer import charts, compute, model_scores, tables
from explorer.background import Task, live
from explorer.figures.rug_plot import RugPlot, describe_rug_plot, even_figure
from explorer.lessons.centroids import codebooks
from explorer.lessons.framework.model import Bench, goodness, overlap
from explorer.lessons.framework.prose import read_prose
from explorer.notation import beside, count, decibels, is_share, short, shown_score, with_interval
from explorer.tensors import Subject
from quant_engine import LayerPlan, QuantError
from quant_engine.network import Score

SLUG = "centroids"
PENDING = "…"
Name = TypeVar("Name")


def side_by_side(bench: Bench, bits: int) -> None:
    """Draw what each codebook of this width does to the tensor, once that may be told."""
    words = read_prose(SLUG).laboratory
    if not bench.telling:
        return
    st.subheader(words["rivals_title"].format(k=1 << bits))
    subject, found = bench.subject, codebooks.entered(bits)
    levels = {candidate.name: codebooks.levels(subject, candidate, bits) for candidate in found}
    shown = RugPlot(subject.values, subject.statistics, levels, subject.unit)
    charts.show(even_figure(shown, bench.canvas), f"{SLUG}_chart_rivals", describe_rug_plot(shown))
    absent = [words[f"absent_{candidate.key}"] for candidate in codebooks.CANDIDATES if candidate not in found]
    st.caption(" ".join([words["rivals_ranges"], *absent]))
    if not subject.is_weight:
        tables.table(_rows(subject, bits))
        st.caption(words["rivals_no_accuracy"])
        return
    tasks = {
        candidate: model_scores.accuracies(f"accuracy of {candidate.key}", bench.model, bench.layer, LayerPlan(spec))
        for candidate, spec in found.items()
    }
    live(lambda: _measured(bench, bits, tasks), lambda: any(task.active for task in tasks.values()))


def _rows(subject: Subject, bits: int) -> list[dict[str, str]]:
    """Return one record for each codebook."""
    min_mse = codebooks.report(subject, codebooks.OPTIMAL, bits).mse
    records = []
    for candidate, spec in codebooks.entered(bits).items():
        lost = codebooks.report(subject, candidate, bits)
        records.append(
            {
                "codebook": candidate.name,
                "bits per value": short(spec.storage(subject.values.shape).bits_per_value, 4),
                "MSE": short(lost.mse),
                "of the least": beside(lost.mse, min_mse),
                "SQNR": decibels(lost.sqnr_db),
            }
        )
    return records


def _measured(bench: Bench, bits: int, tasks: Mapping[codebooks.CodebookCandidate, Task]) -> None:
    """Draw the table with the accuracies that there are."""
    words, records = read_prose(SLUG).laboratory, _rows(bench.subject, bits)
    for record, task in zip(records, tasks.values(), strict=True):
        record[words["this_layer"]], record[words["every_layer"]] = _accuracies(task)
    done = [task for task in tasks.values() if task.ended]
    tables.table(records)
    if len(done) < len(tasks):
        st.progress(len(done) / len(tasks), words["measuring"].format(done=len(done), total=len(tasks)))
    elif plain := _plain(done):
        st.caption(
            words["accuracy_note" if is_share(plain) else "score_note"].format(
                score=plain.name,
                plain=with_interval(plain),
                n=count(plain.n),
                unit=compute.sample_unit(bench.model),
                one=short(100 / plain.n),
            )
        )
        st.caption(_inversion(bench.subject, bits, tasks))


def _accuracies(task: Task) -> tuple[str, str]:
    """Write accuracy with this layer and with every layer quantized so, as far as there is an answer."""
    if not task.ended:
        return PENDING, PENDING
    try:
        _, alone, everywhere = task.result()
    except QuantError as error:
        return PENDING, f"not possible: {error}"
    return with_interval(alone), with_interval(everywhere)


def _inversion(subject: Subject, bits: int, tasks: Mapping[codebooks.CodebookCandidate, Task]) -> str:
    """Say where less error goes with less accuracy, at its most, and whether the test data tells that."""
    words = read_prose(SLUG).laboratory
    scores = {candidate: task.result()[2] for candidate, task in tasks.items() if task.error is None}
    found = inversion({candidate: codebooks.report(subject, candidate, bits).mse for candidate in scores}, scores)
    if found is None:
        return ""
    less, more = found
    return words["inverted"].format(
        less=less.name,
        more=more.name,
        ratio=beside(codebooks.report(subject, less, bits).mse, codebooks.report(subject, more, bits).mse),
        low=shown_score(scores[less]),
        high=shown_score(scores[more]),
        verdict=words["inverted_tie" if overlap(scores[less], scores[more]) else "inverted_apart"],
    )


def inversion(errors: Mapping[Name, float], scores: Mapping[Name, Score]) -> tuple[Name, Name] | None:
    """Return of two codebooks the one with less error, and the one with most accuracy above it; None if there are none.

    >>> from quant_engine.network import Accuracy
    >>> inversion({"a": 1.0, "b": 2.0}, {"a": Accuracy(5, 10), "b": Accuracy(7, 10)})
    ('a', 'b')
    """
    good = {name: goodness(found) for name, found in scores.items()}
    pairs = [(a, b) for a in errors for b in errors if errors[a] < errors[b] and good[a] < good[b]]
    return max(pairs, key=lambda pair: good[pair[1]] - good[pair[0]], default=None)


def _plain(done: Sequence[Task]) -> Score | None:
    """Return the accuracy in floating point, from any answer."""
    return next((task.result()[0] for task in done if task.error is None), None)
