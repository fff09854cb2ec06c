"""The specs of a sweep as a person writes and reads them: words with commas between them, and a short name of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from explorer.number_formats import FLOATS, GGUF_BLOCKS, KINDS, SCALE_FORMATS
from explorer.playground_table import GRANULARITIES, METHODS
from explorer.state import SMALL_BLOCK_BINS, PlaygroundState
from explorer.tuning.layer_setting import settings_of
from quant_engine import (
    ACIQ,
    E2M1,
    E4M3,
    E8M0,
    NF4,
    BlockFormat,
    IntFormat,
    LayerPlan,
    MinKL,
    MinMax,
    MinMSE,
    Percentile,
    PerChannel,
    PerGroup,
    PerTensor,
    QuantError,
    QuantizerSpec,
)
from quant_engine.checks import as_choice
from quant_engine.clipping import Clipping
from quant_engine.granularity import Granularity

CLIPPINGS: Mapping[str, Clipping] = {
    "minmax": MinMax(),
    "mse": MinMSE(),
    "percentile": Percentile(99.9),
    "kl": MinKL(),
    "aciq": ACIQ("fit"),
}
SHARED: Mapping[str, Granularity] = {
    "layer": PerTensor(),
    "channel": PerChannel(),
    **{str(size): PerGroup(size, remainder="short") for size in (16, 32, 64, 128, 256)},
}
ALONE: Mapping[str, QuantizerSpec] = {  # formats that bring granularity and scales of their own
    "MXFP4": QuantizerSpec(E2M1, PerGroup(32, remainder="short"), scale_format=E8M0),
    "NVFP4": QuantizerSpec(E2M1, PerGroup(16, remainder="short"), scale_format=E4M3),
    **{name: QuantizerSpec(BlockFormat(name), PerGroup(32, remainder="short")) for name in GGUF_BLOCKS},
}
SCALED = {**{name: form for name, form in FLOATS.items() if form.scaled}, "NF4": NF4}
UNSCALED = {name: form for name, form in FLOATS.items() if not form.scaled}
INTEGERS = {"int": True, "asymmetric": False}
FORMATS = (*INTEGERS, *SCALED, *UNSCALED, *ALONE)
BITS = range(2, 17)


def specs_of(bits: str, granularity: str, clipping: str, formats: str) -> tuple[list[QuantizerSpec], list[str]]:
    """Return the specs that words name, each once, and what does not go together.

    Raises:
        QuantError: for a word there is not.

    Example:
        >>> specs, left_out = specs_of("3-4", "layer", "minmax,kl", "int,NF4")
        >>> [name_of(spec) for spec in specs], left_out
        (['int3, layer', 'int3, layer, KL', 'int4, layer', 'int4, layer, KL', 'NF4, layer'], ['NF4, KL'])
    """
    shared = [SHARED[as_choice(word, SHARED, "--granularity")] for word in words_of(granularity)]
    clips = [as_choice(word, CLIPPINGS, "--clipping") for word in words_of(clipping)]
    found: dict[QuantizerSpec, None] = {}
    left_out: dict[str, None] = {}
    for word in (as_choice(word, FORMATS, "--formats") for word in words_of(formats)):
        for choices in _choices(word, bits, shared, clips):
            try:
                found[QuantizerSpec(**choices)] = None
            except QuantError:
                left_out[f"{word}, {_method_of(choices['clipping'])}"] = None
    return list(found), list(left_out)


def _choices(word: str, bits: str, shared: Iterable[Granularity], clips: Iterable[str]) -> Iterable[dict[str, Any]]:
    """Yield what a word stands for: with each of the granularities and clippings, where it leaves these open."""
    if word in ALONE:
        spec = ALONE[word]
        yield {"format": spec.format, "granularity": spec.granularity, "scale_format": spec.scale_format}
    elif word in UNSCALED:
        yield {"format": UNSCALED[word]}
    else:
        formats = [IntFormat(width) for width in widths_of(bits)] if word in INTEGERS else [SCALED[word]]
        for form, blocks, clip in itertools.product(formats, shared, clips):
            yield {
                "format": form,
                "granularity": blocks,
                "clipping": _clipping(clip, blocks),
                "symmetric": INTEGERS.get(word, True),
            }


def _clipping(word: str, blocks: Granularity) -> Clipping:
    """Return a clipping as the playground has it: of parts of a tensor, KL takes fewer bins."""
    return MinKL(SMALL_BLOCK_BINS) if word == "kl" and blocks != PerTensor() else CLIPPINGS[word]


def words_of(text: str) -> list[str]:
    """Return the words between commas.

    Raises:
        QuantError: if there are none.
    """
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise QuantError(f"{text!r} names nothing; give words with commas between them")
    return found


def widths_of(text: str) -> list[int]:
    """Return the widths that a text names, ascending.

    Raises:
        QuantError: for others than 2 to 16.

    Example:
        >>> widths_of("2-4,8")
        [2, 3, 4, 8]
    """
    found: set[int] = set()
    for word in words_of(text):
        first, dash, last = word.partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.isdecimal() and len(end) < 3 and int(end) in BITS for end in ends):
            raise QuantError(f"--bits {text!r} must be widths from 2 to 16, such as 4, 2-8 or 2-4,8")
        found |= set(range(int(ends[0]), int(ends[1]) + 1))
    return sorted(found)


def name_of(spec: QuantizerSpec) -> str:
    """Return what a spec is called in figures and tables: what is usual goes without saying.

    Example:
        >>> name_of(QuantizerSpec(IntFormat(4), PerGroup(32), symmetric=False, clipping=MinMSE()))
        'int4, groups of 32, asymmetric, least MSE'
    """
    for name, alone in ALONE.items():
        if spec == alone:
            return name
    parts = [format_of(spec)]
    blocks = spec.granularity
    if spec.format.scaled or not isinstance(blocks, PerTensor):
        size = getattr(blocks, "size", None)
        word = next((word for word, kind in GRANULARITIES.items() if type(blocks) is kind), str(blocks))
        parts.append(f"groups of {size}" if size else word)
    parts += [] if spec.symmetric else ["asymmetric"]
    if spec.clipping != MinMax():
        parts.append(_method_of(spec.clipping))
    if spec.scale_format is not None:
        parts.append(f"{_word_of(SCALE_FORMATS, spec.scale_format)} scales")
    return ", ".join(parts)


def settings_at(text: str) -> PlaygroundState | None:
    """Return the playground's setting that says a spec, given by its canonical text; None where there is none.

    Example:
        >>> settings_at(ALONE["MXFP4"].key).description, settings_at("no spec")
        ('E2M1, groups of 32, min–max, E8M0 scales', None)
    """
    try:
        spec = QuantizerSpec.from_json(text)
        if isinstance(spec.format, BlockFormat):
            whole = PlaygroundState(kind=KINDS["GGUF"], block_name=spec.format.name)
            return whole if whole.spec(-1.0, 1.0) == spec else None
    except QuantError:  # of a file from elsewhere
        return None
    found = settings_of(LayerPlan(spec))
    return None if found is None else found.settings


def format_of(spec: QuantizerSpec) -> str:
    """Return what a spec's format is called."""
    form = spec.format
    if isinstance(form, IntFormat):
        return f"int{form.bits}" if form.signed else f"uint{form.bits}"
    named = {**FLOATS, "NF4": NF4}
    return next((word for word, known in named.items() if known == form), getattr(form, "name", type(form).__name__))


def _method_of(clipping: Clipping) -> str:
    return next((word for word, kind in METHODS.items() if type(clipping) is kind), str(clipping))


def _word_of(table: Mapping[str, Any], value: Any) -> str:
    return next((word for word, known in table.items() if known == value), str(value))
