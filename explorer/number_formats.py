"""The kinds of number formats that the app offers: what each is made from, and which controls it heeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from explorer.fields import Choice, Number
from quant_engine import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E8M0,
    FP16,
    NF4,
    BlockFormat,
    FixedPointFormat,
    FloatFormat,
    IntFormat,
    KMeans,
    PerGroup,
    PerTensor,
    ProductCodebook,
    QuantError,
    Quantiles,
    VectorCodebook,
    power_of_two,
)
from quant_engine.formats import Format
from quant_engine.granularity import Granularity

if TYPE_CHECKING:
    from explorer.state import PlaygroundState

FLOATS = {"E2M1": E2M1, "E2M3": E2M3, "E3M2": E3M2, "E4M3": E4M3, "E5M2": E5M2, "FP16": FP16, "BF16": BF16}
POWER_OF_TWO = "E8M0"
SCALE_FORMATS = {"float32": None, POWER_OF_TWO: E8M0, "E4M3": E4M3, "FP16": FP16}

FLOAT = Choice(
    "play_float",
    "Which",
    tuple(FLOATS),
    "E2M1",
    "ExMy: x bits of exponent and y of mantissa, and a sign. Floats of 8 bits and fewer are scaled to the range; FP16 "
    "and BF16 stand for themselves.",
)
POINT = Number("play_point", "Fraction bits", 0, 15, 3, "Bits behind the point of a fixed-point code.", whole=True)
BLOCKS = Choice(
    "play_gguf",
    "Which",
    ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"),
    "Q4_0",
    "Blocks of 32 values in GGUF files: _0 has a float16 scale, _1 a float16 minimum beside it.",
)
DIM = Number("play_dim", "Values in a vector", 1, 64, 2, "Consecutive values of a row, coded together.", whole=True)
CODEWORDS = Number(
    "play_codewords", "Codewords", 2, 4096, 256, "Of each part; an index takes ⌈log₂⌉ of them in bits.", whole=True
)
PARTS = Number(
    "play_parts",
    "Parts",
    1,
    64,
    1,
    "Product quantization: a vector is cut into so many parts, each with codewords of its own. They must divide it.",
    whole=True,
)
STAGES = Number(
    "play_stages", "Stages", 1, 8, 1, "Residual quantization: each stage codes what those before left.", whole=True
)
LIMITS: dict[str, Callable[[PlaygroundState], int]] = {  # of fields that others limit
    POINT.key: lambda state: state.bits - 1,
    PARTS.key: lambda state: state.dim,
}
SCALES = Choice(
    "play_scales",
    "Scales",
    tuple(SCALE_FORMATS),
    "float32",
    "How each block's scale is stored: E8M0, a power of two (the MX formats); E4M3 under one float32 scale of the "
    "tensor (NVFP4); FP16.",
)


@dataclass(frozen=True)
class Kind:
    """One kind of format.

    `name` is what figures call a format. `most_bits` can be chosen (none, if the kind fixes them) and `fields` are its
    own controls.
    `integer`: codes, zero points and the restricted range apply. `ranged`: a clipping range is chosen, where values are
    scaled to it, and scales have a format. `granularity` is that of kinds that bring their own.
    Not `scalar`: codewords are vectors, which no axis of values shows.
    """

    build: Callable[[PlaygroundState], Format]
    help: str
    name: Callable[[PlaygroundState], str]
    most_bits: int | None = None
    fields: tuple[Choice | Number, ...] = ()
    integer: bool = False
    ranged: bool = True
    granularity: Granularity | None = None
    scalar: bool = True


def _fixed(state: PlaygroundState) -> FixedPointFormat:
    behind = min(state.point, state.bits - 1)
    return FixedPointFormat(state.bits - 1 - behind, behind)


def _vectors(state: PlaygroundState) -> VectorCodebook | ProductCodebook:
    if state.dim % state.parts:
        raise QuantError(f"{state.parts} parts do not divide vectors of {state.dim}: choose a number that does")
    if state.parts == 1:
        return VectorCodebook(state.dim, state.codewords, state.stages, "pad")
    return ProductCodebook(state.dim, state.codewords, state.parts, state.stages, "pad")


def _radix(state: PlaygroundState) -> str:
    form = _fixed(state)
    return f"Q{form.integer_bits}.{form.fraction_bits}"


def _float(state: PlaygroundState) -> FloatFormat:
    return FLOATS[state.float_name]


KINDS: dict[str, Kind] = {
    "integer": Kind(
        lambda state: IntFormat(state.bits, state.signed, state.narrow),
        "codes of equal steps",
        lambda state: f"{state.bits} bits",
        16,
        integer=True,
    ),
    "fixed point": Kind(_fixed, "integers with an agreed radix point", _radix, 16, (POINT,)),
    "float": Kind(_float, "sign, exponent and mantissa", lambda state: state.float_name, None, (FLOAT,)),
    "powers of two": Kind(
        lambda state: power_of_two(state.bits), "0 and ±2⁻ᵏ", lambda state: f"2⁻ᵏ, {state.bits} b", 8
    ),
    "NF4": Kind(lambda state: NF4, "the quantiles of a Gaussian, of QLoRA", lambda state: "NF4"),
    "centroids": Kind(
        lambda state: KMeans(1 << state.bits),
        "learned codewords with the least error of all (k-means)",
        lambda state: "k-means",
        8,
        ranged=False,
    ),
    "quantiles": Kind(
        lambda state: Quantiles(1 << state.bits),
        "learned codewords for equally many values each",
        lambda state: "quantile",
        8,
        ranged=False,
    ),
    "vectors": Kind(
        _vectors,
        "learned codewords of several values at a time, whole or in parts",
        lambda state: "vectors" if state.parts == 1 else "product",
        None,
        (DIM, CODEWORDS, PARTS, STAGES),
        ranged=False,
        granularity=PerTensor(),
        scalar=False,
    ),
    "GGUF": Kind(
        lambda state: BlockFormat(state.block_name),
        "blocks of llama.cpp",
        lambda state: state.block_name,
        None,
        (BLOCKS,),
        ranged=False,
        granularity=PerGroup(BlockFormat.block, remainder="short"),
    ),
}

FORMAT = Choice(
    "play_format",
    "Format",
    tuple(KINDS),
    "integer",
    "Which values a code can stand for: " + "; ".join(f"{name}, {kind.help}" for name, kind in KINDS.items()) + ".",
)
