"""Lesson 9: granularity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import streamlit as st

from explorer import formulas
from explorer.formulas import Convention
from explorer.lessons.framework.accuracy_section import accuracy_section
from explorer.lessons.framework.layout import numbers
from explorer.lessons.framework.model import Bench, Choices, Facts, Lesson, choices
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.quantized_subject import coded
from explorer.lessons.framework.scene import Looked, Scene
from explorer.lessons.granularity import blocks, granularity_controls
from explorer.lessons.granularity.granularity_controls import BITS, CLIPPING, FIELDS, SHARED, SLUG
from explorer.lessons.granularity.granularity_tradeoff import tradeoff_section
from explorer.notation import beside, count, decibels, latex, ratio, short
from explorer.tensors import Subject
from quant_engine import (
    IntFormat,
    LayerPlan,
    MinMSE,
    PerChannel,
    PerGroup,
    QuantizerSpec,
    Storage,
)
from quant_engine.quantizer.storage import SCALE_BITS

STORY = "fashion-depthwise", "dw1"
PREDICTED = QuantizerSpec(IntFormat(4))  # one scale for the layer, min–max
SETS = {"See": {BITS.key: 4, SHARED.key: SHARED.default, CLIPPING.key: CLIPPING.default}}
FEW, MANY = 0.2, 0.6  # shares of the rows
RUN = 16  # of the sub-channels that the reveal compares, where rows are longer


def laboratory(bench: Bench) -> Scene:
    """Draw the maps with their blocks, one block from the inside, and every granularity side by side."""
    words, subject = read_prose(SLUG).laboratory, bench.subject
    spec = granularity_controls.chosen_spec((len(subject.matrix), subject.row), bench.controls)
    edits = granularity_controls.edits_of(subject, spec)
    edited = granularity_controls.edited_spec(subject, spec, edits)
    block = blocks.waiting_block(spec.granularity.blocks(subject.matrix.shape).count)
    blocks.maps(bench, edited, block, edits)
    _numbers(bench, edited)
    block, view = blocks.look_inside(bench, spec, edits)
    if subject.is_weight and bench.predicted:
        st.subheader(words["accuracy_title"])
        st.markdown(words["accuracy_lead"].format(layer=bench.layer))
        accuracy_section(bench.model, bench.layer, LayerPlan(edited), LayerPlan(spec) if edits else None)
    tradeoff_section(bench, spec)
    return Scene(subject, spec, looked=Looked(block, view, bool(edits)))


def _numbers(bench: Bench, spec: QuantizerSpec) -> None:
    """Show what the spec takes and loses; what is predicted or asked for only when it may be told."""
    words, found = read_prose(SLUG).laboratory, coded(bench.subject, spec)
    with numbers():
        st.metric(words["scales"], count(found.quantizer.scale.size))
        st.metric(words["true_bits"], "?" if bench.asking else short(found.storage.bits_per_value, 5))
        dead = f"{_dead(bench.subject, spec)} of {_rows(bench.subject)}" if bench.predicted else "?"
        st.metric(blocks.said_of(bench.subject, "dead"), dead)
        st.metric("MSE", short(found.report.mse) if bench.predicted else "?")
        st.metric("SQNR", decibels(found.report.sqnr_db) if bench.predicted else "?")
    if not bench.asking:
        st.caption(_sum(found.storage, spec))


def _sum(stored: Storage, spec: QuantizerSpec) -> str:
    """Write out the bits of a value: codes, what fills blocks, scales, zero points."""
    words, n = read_prose(SLUG).laboratory, stored.values
    bits = {
        "codes": int(spec.format.bits),
        "filling": stored.code_bits / n - int(spec.format.bits),
        "scales": stored.scale_bits / n,
        "zeros": stored.zero_point_bits / n,
    }
    said = " + ".join(words[f"of_{name}"].format(bits=short(value)) for name, value in bits.items() if value)
    return words["sum"].format(sum=said, total=short(stored.bits_per_value, 5))


def _rows(subject: Subject) -> int:
    return len(subject.matrix)


def _dead(subject: Subject, spec: QuantizerSpec) -> int:
    """Return how many rows come back as zeros alone."""
    return blocks.dead_rows(subject.matrix, subject.matrix + blocks.blocks_of(subject, spec).errors)


def prediction(scene: Scene) -> str:
    """Say how many rows one scale for the layer brings back as zeros alone."""
    share = _dead(scene.subject, PREDICTED) / _rows(scene.subject)
    return "none" if not share else "few" if share < FEW else "many" if share < MANY else "most"


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    subject, spec = scene.subject, scene.spec
    reaches = np.abs(subject.matrix).max(axis=1)
    reaches = reaches[reaches > 0]
    layer = coded(subject, PREDICTED)
    channel = coded(subject, replace(PREDICTED, granularity=PerChannel(0)))
    stored = spec.storage(subject.matrix.shape)
    count_of_blocks = spec.granularity.blocks(subject.matrix.shape).count
    return {
        "dead": count(_dead(subject, PREDICTED)),
        "rows": count(_rows(subject)),
        "channel": blocks.said_of(subject, "channel"),
        "spread": ratio(float(reaches.max()), float(reaches.min())) if reaches.size else "×1",
        "channel_gain": beside(layer.report.mse, channel.report.mse),
        "finer": _finer(subject),
        "shared": granularity_controls.shared_words(spec),
        "bits": str(spec.format.bits),
        "blocks": count(count_of_blocks),
        "values": count(stored.values),
        "true": short(stored.bits_per_value, 5),
        "extra": short(stored.bits_per_value - int(spec.format.bits)),
        "each": str(_each(spec)),
        "block": count(scene.looked.block if scene.looked else 0),
    }


def run_of(row: int) -> int | None:
    """Return the length of runs that are finer than a row of so many values; None where there are none.

    >>> run_of(288), run_of(9), run_of(7), run_of(1)
    (16, 3, 4, None)
    """
    if row <= 1:
        return None
    divisors = [length for length in range(2, row) if row % length == 0]
    return RUN if row > RUN else max(divisors, default=-(-row // 2))


def _finer(subject: Subject) -> str:
    """Say what blocks finer than channels lose and cost beside clipped channels."""
    words, run = read_prose(SLUG).laboratory, run_of(subject.row)
    if run is None:
        return words["finer_none"]
    clipped = coded(subject, replace(PREDICTED, granularity=PerChannel(0), clipping=MinMSE()))
    runs = coded(subject, replace(PREDICTED, granularity=PerGroup(run, remainder="short")))
    return words["finer_loses" if runs.report.mse > clipped.report.mse else "finer_gains"].format(
        run=run,
        run_bits=short(runs.storage.bits_per_value, 4),
        run_mse=short(runs.report.mse),
        clipped_mse=short(clipped.report.mse),
        ratio=ratio(runs.storage.bits_per_value, clipped.storage.bits_per_value),
    )


def _each(spec: QuantizerSpec) -> int:
    """Return the bits that are stored for every block: a scale, and a zero point where there is one."""
    scale = SCALE_BITS if spec.scale_format is None else spec.scale_format.bits
    return int(scale + (0 if spec.symmetric else spec.format.bits))


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out the bits of a value, and the scale of the block that is looked into."""
    spec, shape = scene.spec, scene.subject.matrix.shape
    stored, grid = spec.storage(shape), spec.granularity.blocks(shape)
    tensor = stored.scale_bits + stored.zero_point_bits - grid.count * _each(spec)
    more = f" + {tensor}" if tensor else ""
    lines = [
        r"b_{\mathrm{true}} = (N \cdot b + B \cdot (s + z)) \, / \, n",
        rf"b_{{\mathrm{{true}}}} = ({grid.stored} \cdot {spec.format.bits} + {grid.count} \cdot {_each(spec)}{more}) "
        rf"\, / \, {stored.values} = {latex(stored.bits_per_value, 5)}",
    ]
    if scene.looked is not None:
        lines.append(formulas.scale_formula(spec, scene.looked.view))
        if not spec.symmetric:
            lines.append(formulas.zero_point_formula(spec, scene.looked.view, convention))
    return lines


def question(scene: Scene) -> Choices:
    """Ask for the true bits of a value."""
    spec, shape = scene.spec, scene.subject.matrix.shape
    stored, grid = spec.storage(shape), spec.granularity.blocks(shape)
    bits, n = int(spec.format.bits), stored.values
    wrong = {
        "free": float(bits),
        "once": bits + _each(spec) / n,
        "narrow": bits + bits * grid.count / n,
        "inverse": bits + _each(spec) / grid.count,
    }
    return choices(stored.bits_per_value, wrong, lambda value: f"{short(value, 5)} bits")


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether no row is zeros alone, scales outweigh codes, and less is lost than with one scale a channel."""
    subject, spec = scene.subject, scene.spec
    found, channel = coded(subject, spec), coded(subject, replace(spec, granularity=PerChannel(0)))
    heavy = found.storage.bits_per_value > 2 * spec.format.bits
    return not _dead(subject, spec), heavy, found.report.mse < channel.report.mse


LESSON = Lesson(
    9, SLUG, FIELDS, laboratory, prediction, facts, written, question, puzzles=puzzles, story=STORY, sets=SETS
)
