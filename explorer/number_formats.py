"""The kinds of number formats that the app offers: what each is made from, and which fields it heeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from explorer.fields import spoken
from explorer.language import read_words
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
SCALE_FORMATS: dict[str, FloatFormat | None] = {"float32": None, "E8M0": E8M0, "E4M3": E4M3, "FP16": FP16}

GGUF_BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")


@dataclass(frozen=True)
class FormatKind:
    """One kind of format.

    `name` is what figures call a format. `max_bits` can be chosen (none, if the kind fixes them) and `fields` of the
    state are its own.
    `integer`: codes, zero points and the restricted range apply. `ranged`: a clipping range is chosen, where values are
    scaled to it, and scales have a format. `granularity` is that of kinds that bring their own.
    Not `scalar`: codewords are vectors, which no axis of values shows.
    """

    build: Callable[[PlaygroundState], Format]
    name: Callable[[PlaygroundState], str]
    max_bits: int | None = None
    fields: tuple[str, ...] = ()
    integer: bool = False
    ranged: bool = True
    granularity: Granularity | None = None
    scalar: bool = True


def _fixed(state: PlaygroundState) -> FixedPointFormat:
    behind = min(state.point, state.bits - 1)
    return FixedPointFormat(state.bits - 1 - behind, behind)


def _vectors(state: PlaygroundState) -> VectorCodebook | ProductCodebook:
    if state.dim % state.parts:
        refused = read_words("panels")["refused"]["parts"]
        raise QuantError(refused.format(parts=state.parts, dim=state.dim))
    if state.parts == 1:
        return VectorCodebook(state.dim, state.codewords, state.stages, "pad")
    return ProductCodebook(state.dim, state.codewords, state.parts, state.stages, "pad")


def _radix(state: PlaygroundState) -> str:
    form = _fixed(state)
    return f"Q{form.integer_bits}.{form.fraction_bits}"


KINDS: dict[str, FormatKind] = {
    "integer": FormatKind(
        lambda state: IntFormat(state.bits, state.signed, state.narrow),
        lambda state: spoken(f"{state.bits} bits"),
        16,
        integer=True,
    ),
    "fixed point": FormatKind(_fixed, _radix, 16, ("point",)),
    "float": FormatKind(
        lambda state: state.float_format,
        lambda state: state.word("float_format"),
        None,
        ("float_format",),
    ),
    "powers of two": FormatKind(lambda state: power_of_two(state.bits), lambda state: f"2⁻ᵏ, {state.bits} b", 8),
    "NF4": FormatKind(lambda state: NF4, lambda state: "NF4"),
    "centroids": FormatKind(
        lambda state: KMeans(1 << state.bits),
        lambda state: "k-means",
        8,
        ranged=False,
    ),
    "quantiles": FormatKind(
        lambda state: Quantiles(1 << state.bits),
        lambda state: "quantile",
        8,
        ranged=False,
    ),
    "vectors": FormatKind(
        _vectors,
        lambda state: "vectors" if state.parts == 1 else "product",
        None,
        ("dim", "codewords", "parts", "stages"),
        ranged=False,
        granularity=PerTensor(),
        scalar=False,
    ),
    "GGUF": FormatKind(
        lambda state: BlockFormat(state.block_name),
        lambda state: state.block_name,
        None,
        ("block_name",),
        ranged=False,
        granularity=PerGroup(BlockFormat.block, remainder="short"),
    ),
}
