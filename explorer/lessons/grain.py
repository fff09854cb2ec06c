"""Which values share a scale, as lesson 9 sets it: the fields, the spec that follows, and ranges set by hand."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping

import streamlit as st

from explorer import compute, controls
from explorer.fields import Choice, Coded, Number
from explorer.lessons import fields
from explorer.lessons.parts import SLIDER_WIDTH
from explorer.lessons.prose import read_prose
from explorer.number_formats import SCALE_FORMATS
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
    PerTensor,
    QuantError,
    QuantizerSpec,
    edit_ranges,
)
from quant_engine.clipping import Clipping
from quant_engine.granularity import Granularity, Remainder

SLUG = "granularity"
LAYER, GROUP_OF_CHANNELS, CHANNEL, SUB_CHANNEL, BLOCK_2D = (
    "layer",
    "channel group",
    "channel",
    "sub-channel",
    "2-D block",
)
REMAINDERS: dict[str, Remainder] = {"shorter": "short", "padded": "pad", "refused": "refuse"}
CLIPPINGS: dict[str, Clipping] = {"min–max": MinMax(), "least MSE": MinMSE()}
NUMBER_WIDTH = 124

BITS = fields.bits_field(SLUG)
SHARED = Choice(
    f"{SLUG}_shared",
    "One scale for each",
    (LAYER, GROUP_OF_CHANNELS, CHANNEL, SUB_CHANNEL, BLOCK_2D),
    LAYER,
    "Which values share a scale: all, some rows (output channels), one row, a run of values inside a row (a group, say "
    "LLM tools), or a rectangle of rows and columns.",
)
CHANNELS = Number(f"{SLUG}_channels", "Channels in a group", 2, 256, 4, "Rows that share a scale.", whole=True)
GROUP = Number(f"{SLUG}_group", "Values in a group", 2, 1024, 3, "Along a row; they share a scale.", whole=True)
ROWS = Number(f"{SLUG}_rows", "Rows of a block", 1, 256, 4, "Output channels of a block.", whole=True)
COLUMNS = Number(f"{SLUG}_columns", "Columns of a block", 1, 1024, 3, "Inputs of a block.", whole=True)
REMAINDER = Choice(
    f"{SLUG}_remainder",
    "A last block that is short",
    tuple(REMAINDERS),
    "shorter",
    "Where blocks do not divide a row or the rows: the last one is smaller, or stored as a whole one, or the setting "
    "is refused, as many tools do.",
)
RANGE = fields.range_field(SLUG)
CLIPPING = Choice(
    f"{SLUG}_clipping",
    "Clipping",
    tuple(CLIPPINGS),
    "min–max",
    "How the range of every block is chosen: its extremes, or where its squared error is least.",
)
SCALES = Choice(
    f"{SLUG}_scales",
    "Scales in",
    tuple(SCALE_FORMATS),
    "float32",
    "How a scale is stored. E8M0: powers of two (MX); E4M3: 8 bits, under one float32 scale of the tensor (NVFP4).",
)
BLOCK = Number(f"{SLUG}_block", "Block", 0, 10**9, 0, "The block that is looked into, row by row.", whole=True)
MOST_EDITS = 200
Edits = dict[int, tuple[float, float]]
KEPT = f"{SLUG}_kept_edits"  # of this session, for other tensors and granularities


def read_edits(text: str) -> tuple[str, Edits]:
    """Return the mark of what was edited, and the ranges by block.

    >>> read_edits("1f2e~3_-0.5_0.25")
    ('1f2e', {3: (-0.5, 0.25)})
    """
    mark, *parts = text.split("~")
    found = (part.split("_") for part in parts)
    return mark, {int(block): (float(lo), float(hi)) for block, lo, hi in found}


def write_edits(mark: str, edits: Edits) -> str:
    """Undo `read_edits`; no edit is no text.

    >>> write_edits("1f2e", {3: (-0.5, 0.25)})
    '1f2e~3_-0.5_0.25'
    """
    return "~".join([mark, *(f"{block}_{lo:.9g}_{hi:.9g}" for block, (lo, hi) in edits.items())]) if edits else ""


def are_edits(text: str) -> bool:
    """Say whether a text holds ranges by block.

    >>> are_edits(""), are_edits("1f2e~3_-0.5_0.25"), are_edits("1f2e~3_0.5_0.25"), are_edits("3_0.5")
    (True, True, False, False)
    """
    if not text:
        return True
    if not re.fullmatch(r"[0-9a-f]{4,16}(~\d{1,9}(_[-+.\deE]{1,24}){2})+", text) or text.count("~") > MOST_EDITS:
        return False
    try:
        _, edits = read_edits(text)
    except ValueError:
        return False
    return all(math.isfinite(lo) and math.isfinite(hi) and lo < hi for lo, hi in edits.values())


EDITS = Coded(f"{SLUG}_edits", "Ranges by hand", are_edits, "block_lo_hi with ~ between them, behind a mark")
FIELDS = (BITS, SHARED, CHANNELS, GROUP, ROWS, COLUMNS, REMAINDER, RANGE, CLIPPING, SCALES, BLOCK, EDITS)


def chosen_spec(shape: tuple[int, int]) -> QuantizerSpec:
    """Draw the controls and return the spec; what a tensor or a scale format refuses is said, and the nearest taken."""
    words = read_prose(SLUG).laboratory
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        shared = controls.choice(SHARED)
        sizes = {
            GROUP_OF_CHANNELS: (CHANNELS,),
            SUB_CHANNEL: (GROUP,),
            BLOCK_2D: (ROWS, COLUMNS),
        }.get(shared, ())
        numbers = [_number(field) for field in sizes]
        way = REMAINDERS[controls.choice(REMAINDER)] if sizes else "short"
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        with st.container(width=SLIDER_WIDTH):
            bits = controls.slider(BITS)
        symmetric = controls.choice(RANGE) == "symmetric"
        clipping = CLIPPINGS[controls.choice(CLIPPING)]
        scales = SCALE_FORMATS[controls.choice(SCALES)]
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


def granularity_of(shared: str, numbers: list[int], way: Remainder) -> Granularity:
    """Return the block shape of a choice."""
    makers: dict[str, Callable[[], Granularity]] = {
        LAYER: PerTensor,
        GROUP_OF_CHANNELS: lambda: PerChannelGroup(numbers[0], remainder=way),
        CHANNEL: lambda: PerChannel(0),
        SUB_CHANNEL: lambda: PerGroup(numbers[0], remainder=way),
        BLOCK_2D: lambda: PerBlock(numbers[0], numbers[1], remainder=way),
    }
    return makers[shared]()


def _number(field: Number) -> int:
    with st.container(width=NUMBER_WIDTH):
        return controls.whole_number(field)


def mark_of(subject: Subject, spec: QuantizerSpec) -> str:
    """Return a short mark of the tensor and its blocks: what edits belong to."""
    return hashlib.sha256(f"{subject.key}|{spec.granularity.to_json()}".encode()).hexdigest()[:8]


def edits_of(subject: Subject, spec: QuantizerSpec) -> Edits:
    """Return the ranges that a hand has set on these blocks, and keep the address in step.

    The address holds those of the tensor and blocks on display; others wait in the session until they are shown again.
    """
    mark, kept = mark_of(subject, spec), _kept()
    text = controls.unshown(EDITS)
    if text:
        kept[text.split("~")[0]] = text
    if text != kept.get(mark, ""):
        st.session_state[EDITS.key] = kept.get(mark, "")
        text = controls.unshown(EDITS)
    count = spec.granularity.blocks(subject.matrix.shape).count
    return {block: ends for block, ends in read_edits(text)[1].items() if block < count} if text else {}


def keep_edits(subject: Subject, spec: QuantizerSpec, edits: Mapping[int, tuple[float, float]]) -> None:
    """Take over ranges set by hand, the latest last (for callbacks)."""
    mark = mark_of(subject, spec)
    text = write_edits(mark, dict(list(edits.items())[-MOST_EDITS:]))
    _kept()[mark] = text
    controls.assign({EDITS.key: text})


def _kept() -> dict[str, str]:
    found: dict[str, str] = st.session_state.setdefault(KEPT, {})
    return found


def edited_spec(subject: Subject, spec: QuantizerSpec, edits: Edits) -> QuantizerSpec:
    """Return the spec with ranges by hand in the place of those that its clipping chooses."""
    found: QuantizerSpec = compute.kept(
        f"edited|{subject.key}|{spec.key}|{edits}", lambda: edit_ranges(subject.matrix, spec, edits)
    )
    return found


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
