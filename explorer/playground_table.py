"""The table of the playground's fields, a row for each: what can be set, and all that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from explorer.fields import Choice, Number, State, named, row, widths
from explorer.number_formats import FLOATS, GGUF_BLOCKS, KINDS, SCALE_FORMATS, FormatKind
from quant_engine import (
    ACIQ,
    FixedRange,
    FloatFormat,
    MinKL,
    MinMax,
    MinMSE,
    PerBlock,
    Percentile,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    PerToken,
)
from quant_engine.clipping import Clipping

LARGEST = 3.0e38
MENU, BOX = 96, 124  # widths
METHODS: dict[str, type[Any]] = {
    "min–max": MinMax,
    "percentile": Percentile,
    "least MSE": MinMSE,
    "KL": MinKL,
    "ACIQ": ACIQ,
}
GRANULARITIES: dict[str, type[Any]] = {
    "layer": PerTensor,
    "channel group": PerChannelGroup,
    "channel": PerChannel,
    "sub-channel": PerGroup,
    "2-D block": PerBlock,
}
CALIBRATIONS: dict[str, Clipping | PerTensor | PerToken] = {
    "min–max": MinMax(),
    "percentile": Percentile(99.99),
    "least MSE": MinMSE(),
    "KL": MinKL(),
    "dynamic": PerTensor(),
    "per token": PerToken(),
}
ACTIVATIONS: dict[str, int | None] = {"float32": None, **widths(*range(8, 1, -1))}


def _own(name: str) -> Callable[[Any], bool]:
    return lambda state: name in state.kind.fields


def _integer(state: Any) -> bool:
    return bool(state.kind.integer)


def _clips(state: Any) -> bool:
    return bool(state.clips)


def _in_blocks(granularity: type[Any]) -> Callable[[Any], bool]:
    return lambda state: state.grouped and state.granularity is granularity


# fmt: off
BITS = Number(
    "play_bits", 2, 16, default=4, width=110,
    shown=lambda state: state.kind.max_bits is not None, limit=lambda state: state.kind.max_bits)


@dataclass(frozen=True)
class PlaygroundTable(State):
    """The rows, in the order in which their controls stand; those apart stand with the figure, others behind *More*."""

    kind: FormatKind = row(Choice(
        "play_format", KINDS, default="integer", menu=True, width=126))
    bits: int = row(BITS)
    point: int = row(Number(
        "play_point", 0, 15, default=3, box=True, width=BOX,
        shown=_own("point"), limit=lambda state: state.bits - 1))
    float_format: FloatFormat = row(Choice(
        "play_float", FLOATS, default="E2M1", menu=True, width=MENU, shown=_own("float_format")))
    block_name: str = row(Choice(
        "play_gguf", named(GGUF_BLOCKS), default="Q4_0", menu=True, width=MENU, shown=_own("block_name")))
    dim: int = row(Number(
        "play_dim", 1, 64, default=2, box=True, width=BOX, shown=_own("dim")))
    codewords: int = row(Number(
        "play_codewords", 2, 4096, default=256, box=True, width=BOX, shown=_own("codewords")))
    parts: int = row(Number(
        "play_parts", 1, 64, default=1, box=True, width=BOX,
        shown=_own("parts"), limit=lambda state: state.dim))
    stages: int = row(Number(
        "play_stages", 1, 8, default=1, box=True, width=BOX, shown=_own("stages")))
    granularity: type[Any] = row(Choice(
        "play_granularity", GRANULARITIES, default="layer", menu=True, width=138,
        shown=lambda state: state.grouped))
    symmetric: bool = row(Choice(
        "play_symmetry", {"symmetric": True, "asymmetric": False}, default="symmetric", menu=True, width=126,
        shown=_integer))
    activation_bits: int | None = row(Choice(
        "play_activations", ACTIVATIONS, default="float32", menu=True, more=True, width=MENU))
    calibration: Clipping | PerTensor | PerToken = row(Choice(
        "play_calibration", CALIBRATIONS, default="min–max", menu=True, more=True, width=MENU,
        shown=lambda state: state.activation_bits is not None))
    clipping: type[Any] = row(Choice(
        "play_clipping", {**METHODS, "by hand": FixedRange}, default="min–max", menu=True, width=126,
        shown=_clips))
    channels: int = row(Number(
        "play_channels", 1, 65536, default=8, box=True, width=BOX,
        shown=_in_blocks(PerChannelGroup)))
    group: int = row(Number(
        "play_group", 1, 1 << 20, default=32, box=True, width=BOX, shown=_in_blocks(PerGroup)))
    rows: int = row(Number(
        "play_rows", 1, 65536, default=8, box=True, width=BOX, shown=_in_blocks(PerBlock)))
    columns: int = row(Number(
        "play_columns", 1, 1 << 20, default=8, box=True, width=BOX, shown=_in_blocks(PerBlock)))
    percentile: float = row(Number(
        "play_percentile", 50.01, 100.0, default=99.9, box=True, step=0.1, width=BOX,
        shown=lambda state: state.clips and state.clipping is Percentile))
    signed: bool = row(Choice(
        "play_codes", {"signed": True, "unsigned": False}, default="signed", menu=True, more=True, width=MENU,
        shown=_integer))
    narrow: bool = row(Choice(
        "play_levels", {"full": False, "restricted": True}, default="full", menu=True, more=True,
        width=MENU, shown=_integer, disabled=lambda state: not state.signed))
    lo: float | None = row(Number(
        "play_lo", -LARGEST, LARGEST, default=None, box=True, more=True, width=MENU, shown=_clips,
        disabled=lambda state: state.symmetric))
    hi: float | None = row(Number(
        "play_hi", -LARGEST, LARGEST, default=None, box=True, more=True, width=MENU, shown=_clips))
    others: type[Any] = row(Choice(
        "play_others", METHODS, default="min–max", menu=True, more=True, width=BOX,
        shown=lambda state: state.by_hand))
    scales: FloatFormat | None = row(Choice(
        "play_scales", SCALE_FORMATS, default="float32", menu=True, more=True, width=MENU,
        shown=lambda state: state.clips and (state.granularity is not PerTensor or state.scales is not None)))
    block: int = row(Number(
        "play_block", 0, 10**9, default=0, box=True, width=200, apart=True))
    as_stored: bool = row(Choice(
        "play_shows", {"as set": False, "as stored": True}, default="as set", menu=True, width=106, apart=True))
    value: float | None = row(Number(
        "play_r", -LARGEST, LARGEST, default=None, box=True, width=170, apart=True))
# fmt: on
