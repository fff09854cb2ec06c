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
    "play_bits", "Bits", 2, 16, default=4, width=110, help="Width of a code: b bits make 2ᵇ codes.",
    shown=lambda state: state.kind.max_bits is not None, limit=lambda state: state.kind.max_bits)


@dataclass(frozen=True)
class PlaygroundTable(State):
    """The rows, in the order in which their controls stand; those apart stand with the figure, others behind *More*."""

    kind: FormatKind = row(Choice(
        "play_format", "Format", KINDS, default="integer", menu=True, width=126,
        help="Which values a code can stand for: " + "; ".join(f"{name}, {kind.help}" for name, kind in KINDS.items())
        + "."))
    bits: int = row(BITS)
    point: int = row(Number(
        "play_point", "Fraction bits", 0, 15, default=3, box=True, width=BOX,
        help="Bits behind the point of a fixed-point code.",
        shown=_own("point"), limit=lambda state: state.bits - 1))
    float_format: FloatFormat = row(Choice(
        "play_float", "Which", FLOATS, default="E2M1", menu=True, width=MENU, shown=_own("float_format"),
        help="ExMy: x bits of exponent and y of mantissa, and a sign. Floats of 8 bits and fewer are scaled to the "
        "range; FP16 and BF16 stand for themselves."))
    block_name: str = row(Choice(
        "play_gguf", "Which", named(GGUF_BLOCKS), default="Q4_0", menu=True, width=MENU, shown=_own("block_name"),
        help="Blocks of 32 values in GGUF files: _0 has a float16 scale, _1 a float16 minimum beside it."))
    dim: int = row(Number(
        "play_dim", "Values in a vector", 1, 64, default=2, box=True, width=BOX, shown=_own("dim"),
        help="Consecutive values of a row, coded together."))
    codewords: int = row(Number(
        "play_codewords", "Codewords", 2, 4096, default=256, box=True, width=BOX, shown=_own("codewords"),
        help="Of each part; an index takes ⌈log₂⌉ of them in bits."))
    parts: int = row(Number(
        "play_parts", "Parts", 1, 64, default=1, box=True, width=BOX,
        help="Product quantization: a vector is cut into so many parts, each with codewords of its own. They must "
        "divide it.",
        shown=_own("parts"), limit=lambda state: state.dim))
    stages: int = row(Number(
        "play_stages", "Stages", 1, 8, default=1, box=True, width=BOX, shown=_own("stages"),
        help="Residual quantization: each stage codes what those before left."))
    granularity: type[Any] = row(Choice(
        "play_granularity", "One scale for each", GRANULARITIES, default="layer", menu=True, width=138,
        shown=lambda state: state.grouped,
        help="Which values share one scale: the whole tensor, some output channels, one, a run of values inside one, "
        "or a rectangle of channels and inputs."))
    symmetric: bool = row(Choice(
        "play_symmetry", "Range", {"symmetric": True, "asymmetric": False}, default="symmetric", menu=True, width=126,
        shown=_integer,
        help="Symmetric: α = −β and zero point 0. Asymmetric: α and β are free, and the zero point shifts the codes."))
    activation_bits: int | None = row(Choice(
        "play_activations", "Activations", ACTIVATIONS, default="float32", menu=True, more=True, width=MENU,
        help="What flows into the layers while accuracy is measured: left alone, or quantized per tensor to unsigned "
        "codes."))
    calibration: Clipping | PerTensor | PerToken = row(Choice(
        "play_calibration", "Their range", CALIBRATIONS, default="min–max", menu=True, more=True, width=MENU,
        shown=lambda state: state.activation_bits is not None,
        help="Static: observed on the calibration data by one of four methods, then fixed. Dynamic: the extremes of "
        "each sample as it comes. Per token: of each row of each sample."))
    clipping: type[Any] = row(Choice(
        "play_clipping", "Clipping", {**METHODS, "by hand": FixedRange}, default="min–max", menu=True, width=126,
        shown=_clips,
        help="How the range [α, β] is chosen: the extremes, a percentile, the least mean squared error, the least "
        "divergence of histograms (entropy calibration), the optimum of a fitted Gaussian or Laplace distribution, or "
        "your own."))
    channels: int = row(Number(
        "play_channels", "Channels in a group", 1, 65536, default=8, box=True, width=BOX,
        shown=_in_blocks(PerChannelGroup), help="How many output channels share a scale."))
    group: int = row(Number(
        "play_group", "Values in a group", 1, 1 << 20, default=32, box=True, width=BOX, shown=_in_blocks(PerGroup),
        help="How many values along one output channel share a scale (LLM tools say group size)."))
    rows: int = row(Number(
        "play_rows", "Rows of a block", 1, 65536, default=8, box=True, width=BOX, shown=_in_blocks(PerBlock),
        help="How many output channels a block has."))
    columns: int = row(Number(
        "play_columns", "Columns of a block", 1, 1 << 20, default=8, box=True, width=BOX, shown=_in_blocks(PerBlock),
        help="How many inputs a block has."))
    percentile: float = row(Number(
        "play_percentile", "Percentile", 50.01, 100.0, default=99.9, box=True, step=0.1, width=BOX,
        shown=lambda state: state.clips and state.clipping is Percentile,
        help="Share of the values that stays inside, in per cent."))
    signed: bool = row(Choice(
        "play_codes", "Codes", {"signed": True, "unsigned": False}, default="signed", menu=True, more=True, width=MENU,
        shown=_integer, help="Signed codes are centred on 0; unsigned ones start at 0."))
    narrow: bool = row(Choice(
        "play_levels", "Code range", {"full": False, "restricted": True}, default="full", menu=True, more=True,
        width=MENU, shown=_integer, disabled=lambda state: not state.signed,
        help="Restricted leaves out the most negative code, so that the codes are symmetric too. Signed codes only."))
    lo: float | None = row(Number(
        "play_lo", "α", -LARGEST, LARGEST, default=None, box=True, more=True, width=MENU, shown=_clips,
        disabled=lambda state: state.symmetric, help="The lower end of the range by hand; empty: the least value."))
    hi: float | None = row(Number(
        "play_hi", "β", -LARGEST, LARGEST, default=None, box=True, more=True, width=MENU, shown=_clips,
        help="The upper end of the range by hand; empty: the greatest value."))
    others: type[Any] = row(Choice(
        "play_others", "Other layers", METHODS, default="min–max", menu=True, more=True, width=BOX,
        shown=lambda state: state.by_hand,
        help="A range by hand is of one tensor and stays with its layer. This is how the ranges of the other layers "
        "are chosen where all layers are quantized: as this layer's was before the hand changed it."))
    scales: FloatFormat | None = row(Choice(
        "play_scales", "Scales", SCALE_FORMATS, default="float32", menu=True, more=True, width=MENU,
        shown=lambda state: state.clips and (state.granularity is not PerTensor or state.scales is not None),
        help="How each block's scale is stored: E8M0, a power of two (the MX formats); E4M3 under one float32 scale of "
        "the tensor (NVFP4); FP16."))
    block: int = row(Number(
        "play_block", "Block shown", 0, 10**9, default=0, box=True, width=200, apart=True,
        help="Whose histogram and buckets are drawn. The numbers above the figure are for the whole tensor."))
    value: float | None = row(Number(
        "play_r", "r", -LARGEST, LARGEST, default=None, box=True, width=170, apart=True,
        help="The value that is followed through the formula."))
# fmt: on
