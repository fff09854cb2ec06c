"""Which values share a scale, as lesson 9 sets it: the fields, the spec that follows, and ranges set by hand."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer import compute, controls
from explorer.caches import ResultKey
from explorer.fields import Choice, Number, Text
from explorer.lessons.framework import fields
from explorer.lessons.framework.layout import more
from explorer.lessons.framework.prose import read_prose
from explorer.number_formats import SCALE_FORMATS
from explorer.playground_table import GRANULARITIES
from explorer.tensors import Subject
from quant_engine import (
    E8M0,
    IntFormat,
    MinMax,
    MinMSE,
    PerBlock,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    QuantError,
    QuantizerSpec,
    edit_ranges,
)
from quant_engine.clipping import Clipping
from quant_engine.granularity import Granularity, Remainder

SLUG = "granularity"
REMAINDERS: dict[str, Remainder] = {"shorter": "short", "padded": "pad", "refused": "refuse"}
CLIPPINGS: dict[str, Clipping] = {"min–max": MinMax(), "least MSE": MinMSE()}

BITS = fields.bits_field(SLUG)
SHARED = Choice(
    f"{SLUG}_shared",
    GRANULARITIES,
    default="layer",
    menu=True,
    width=138,
)


def _size(name: str, min_size: int, max_size: int, default: int, width: int = 124) -> Number[int]:
    return Number(f"{SLUG}_{name}", min_size, max_size, default, box=True, width=width)


CHANNELS = _size("channels", 2, 256, 4)
GROUP = _size("group", 2, 1024, 3)
ROWS = _size("rows", 1, 256, 4)
COLUMNS = _size("columns", 1, 1024, 3)
SIZES: dict[type[Any], tuple[Number[int], ...]] = {
    PerChannelGroup: (CHANNELS,),
    PerGroup: (GROUP,),
    PerBlock: (ROWS, COLUMNS),
}
REMAINDER = Choice(
    f"{SLUG}_remainder",
    REMAINDERS,
    default="shorter",
)
RANGE = fields.range_field(SLUG)
CLIPPING = Choice(
    f"{SLUG}_clipping",
    CLIPPINGS,
    default="min–max",
    menu=True,
    width=fields.MENU_WIDTH,
)
SCALES = Choice(
    f"{SLUG}_scales",
    SCALE_FORMATS,
    default="float32",
)
BLOCK = _size("block", 0, 10**9, 0, 150)
MAX_EDITS = 200
Edits = dict[int, tuple[float, float]]
KEPT = f"{SLUG}_kept_edits"  # of this session, for other tensors and granularities


def read_edits(text: str) -> tuple[str, Edits]:
    """Return the mark of what was edited, and the ranges by block.

    >>> read_edits("1f2e~3_-0.5_0.25"), read_edits("")
    (('1f2e', {3: (-0.5, 0.25)}), ('', {}))

    Raises:
        ValueError: for text that is no ranges by block.
    """
    if text and not re.fullmatch(r"[0-9a-f]{4,16}(~\d{1,9}(_[-+.\deE]{1,24}){2})+", text):
        raise ValueError(text)
    mark, *parts = text.split("~")
    found = (part.split("_") for part in parts)
    edits = {int(block): (float(lo), float(hi)) for block, lo, hi in found}
    if len(parts) > MAX_EDITS or not all(-math.inf < lo < hi < math.inf for lo, hi in edits.values()):
        raise ValueError(text)
    return mark, edits


def write_edits(mark: str, edits: Edits) -> str:
    """Undo `read_edits`; no edit is no text.

    >>> write_edits("1f2e", {3: (-0.5, 0.25)})
    '1f2e~3_-0.5_0.25'
    """
    return "~".join([mark, *(f"{block}_{lo:.9g}_{hi:.9g}" for block, (lo, hi) in edits.items())]) if edits else ""


EDITS = Text(
    f"{SLUG}_edits",
    read_edits,
    lambda found: write_edits(*found),
)
FIELDS = (BITS, SHARED, CHANNELS, GROUP, ROWS, COLUMNS, REMAINDER, RANGE, CLIPPING, SCALES, BLOCK, EDITS)


def chosen_spec(shape: tuple[int, int], row: DeltaGenerator) -> QuantizerSpec:
    """Draw the controls in a row and return the spec; what is refused is said, and the nearest taken."""
    words = read_prose(SLUG).laboratory
    with row:
        shared, bits = controls.show(SHARED), controls.show(BITS)
        clipping = controls.show(CLIPPING)
        numbers = [controls.show(field) for field in SIZES.get(shared, ())]
        with more(SLUG):
            symmetric, scales = controls.show(RANGE), controls.show(SCALES)
            way = controls.show(REMAINDER) if numbers else "short"
    if scales is E8M0 and not symmetric:
        st.warning(words["scales_refused"], icon=":material/block:")
        scales = None
    granularity = granularity_of(shared, numbers, way)
    try:
        granularity.blocks(shape)
    except QuantError:
        said = words["refused"].format(block=" × ".join(map(str, numbers)), rows=shape[0], columns=shape[1])
        st.warning(said, icon=":material/block:")
        granularity = granularity_of(shared, numbers, "short")
    return QuantizerSpec(IntFormat(bits), granularity, symmetric, clipping, scales)


def granularity_of(shared: type[Any], numbers: list[int], way: Remainder) -> Granularity:
    """Return the block shape of a choice."""
    found: Granularity = shared(*numbers, remainder=way) if numbers else shared()
    return found


def mark_of(subject: Subject, spec: QuantizerSpec) -> str:
    """Return a short mark of the tensor and its blocks: what edits belong to."""
    text = f"{subject.key}|{spec.granularity.to_json()}"  # as links have it
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def edits_of(subject: Subject, spec: QuantizerSpec) -> Edits:
    """Return the ranges that a hand has set on these blocks, and keep the address in step.

    The address holds those of the tensor and blocks on display; others wait in the session until they are shown again.
    """
    mark, kept = mark_of(subject, spec), _kept()
    given, edits = controls.unshown(EDITS)
    if edits:
        kept[given] = edits
    wanted = kept.get(mark, {})
    if (edits and given != mark) or edits != wanted:
        controls.assign({EDITS.key: write_edits(mark, wanted)})
        controls.unshown(EDITS)
    count = spec.granularity.blocks(subject.matrix.shape).count
    return {block: ends for block, ends in wanted.items() if block < count}


def keep_edits(subject: Subject, spec: QuantizerSpec, edits: Mapping[int, tuple[float, float]]) -> None:
    """Take over ranges set by hand, the latest last (for callbacks)."""
    mark, latest = mark_of(subject, spec), dict(list(edits.items())[-MAX_EDITS:])
    _kept()[mark] = latest
    controls.assign({EDITS.key: write_edits(mark, latest)})


def _kept() -> dict[str, Edits]:
    found: dict[str, Edits] = st.session_state.setdefault(KEPT, {})
    return found


def edited_spec(subject: Subject, spec: QuantizerSpec, edits: Edits) -> QuantizerSpec:
    """Return the spec with ranges by hand in the place of those that its clipping chooses."""
    key = ResultKey("edited", subject.key, spec, *edits.items())
    return compute.kept(key, lambda: edit_ranges(subject.matrix, spec, edits))


def shared_words(spec: QuantizerSpec) -> str:
    """Say what shares a scale.

    >>> shared_words(QuantizerSpec(IntFormat(4), PerGroup(16)))
    '16 values of a channel'
    """
    blocks = spec.granularity
    if isinstance(blocks, PerChannelGroup):
        return f"{blocks.channels} channels"
    if isinstance(blocks, PerGroup):
        return f"{blocks.size} values of a channel"
    if isinstance(blocks, PerBlock):
        return f"block of {blocks.rows} × {blocks.columns}"
    return "channel" if isinstance(blocks, PerChannel) else "layer"
