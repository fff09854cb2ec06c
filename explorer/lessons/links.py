"""The playground with the state of a laboratory, as query parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from explorer import state
from explorer.fields import Field, Number
from explorer.lessons.scene import Scene
from explorer.number_formats import CODEWORDS, DIM, FLOAT, FORMAT, PARTS, SCALE_FORMATS, SCALES, STAGES
from explorer.state import PlaygroundState
from quant_engine import (
    ACIQ,
    FixedRange,
    FloatFormat,
    IntFormat,
    KMeans,
    MinKL,
    MinMax,
    MinMSE,
    PerBlock,
    Percentile,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    ProductCodebook,
    QuantizerSpec,
    VectorCodebook,
)

CLIPPING_WORDS: dict[type[Any], str] = {
    MinMax: "min–max",
    Percentile: "percentile",
    MinMSE: "least MSE",
    MinKL: "KL",
    ACIQ: "ACIQ",
    FixedRange: state.BY_HAND,
}
Settings = dict[Field, str]


def playground_link(model: str, layer: str, scene: Scene) -> dict[str, str]:
    """Return the parameters that set the playground to this scene's spec; defaults are left out."""
    found = FORMATS[type(scene.spec.format)](scene)
    if scene.subject.is_weight:
        found[state.VALUE] = f"{scene.r:g}"
    changed = {field.key: text for field, text in found.items() if text != str(field.default)}
    return {"model": model, "tensor": layer, **changed}


def is_exact(link: Mapping[str, str], scene: Scene) -> bool:
    """Say whether the playground that a link opens has just this scene's spec: some it can only come near to.

    It rounds to the nearest, cuts a last block short, and learns two bits of centroids and more.
    """
    fields = {field.key: field for field in state.PLAYGROUND_FIELDS}
    given = {key: _value(fields[key], text) for key, text in link.items() if key in fields}
    shown = scene.subject.statistics
    opened = PlaygroundState.from_fields(given).spec(shown.lo, shown.hi)
    return replace(opened, format=_product(opened.format)) == scene.spec


def _product(form: Any) -> Any:
    """Return a vector codebook as a product of one part, which is what lesson 10 calls it."""
    if not isinstance(form, VectorCodebook):
        return form
    return ProductCodebook(form.dim, form.codewords, 1, form.stages, form.remainder)


def _value(field: Field, text: str) -> Any:
    if isinstance(field, Number):
        return int(text) if field.whole else float(text)
    return text


def _integers(scene: Scene) -> Settings:
    spec = scene.spec
    found: Settings = {
        state.BITS: str(spec.format.bits),
        state.CODES: "signed" if spec.format.signed else "unsigned",
        state.SYMMETRY: "symmetric" if spec.symmetric else "asymmetric",
        state.LEVELS: "restricted" if spec.format.narrow else "full",
        state.CLIPPING: CLIPPING_WORDS[type(spec.clipping)],
        **_blocks(scene),
    }
    if isinstance(spec.clipping, Percentile):
        found[state.PERCENTILE] = f"{spec.clipping.p:g}"
    elif isinstance(spec.clipping, FixedRange):
        found[state.HI] = repr(spec.clipping.hi)
        if not spec.symmetric:
            found[state.LO] = repr(spec.clipping.lo)
    if isinstance(spec.granularity, PerChannel):
        found[state.GRANULARITY] = "channel"
    if scene.compensated is not None:
        found |= _activations(scene.compensated.raced.setting.activation)
    return found


def _activations(spec: QuantizerSpec | None) -> Settings:
    """Return how an activation's spec is set."""
    if spec is None:
        return {}
    return {state.ACTIVATIONS: f"{spec.format.bits} bits", state.CALIBRATION: CLIPPING_WORDS[type(spec.clipping)]}


def _blocks(scene: Scene) -> Settings:
    """Return what shares a scale, in which format, and the block that is looked into."""
    blocks = scene.spec.granularity
    named: dict[type[Any], tuple[str, Mapping[Field, str]]] = {
        PerChannelGroup: ("channel group", {state.CHANNELS: "channels"}),
        PerChannel: ("channel", {}),
        PerGroup: ("sub-channel", {state.GROUP: "size"}),
        PerBlock: ("2-D block", {state.ROWS: "rows", state.COLUMNS: "columns"}),
    }
    name, sizes = named.get(type(blocks), (state.GRANULARITY.default, {}))
    scales = next(word for word, form in SCALE_FORMATS.items() if form == scene.spec.scale_format)
    found: Settings = {state.GRANULARITY: name, SCALES: scales}
    found |= {field: str(getattr(blocks, part)) for field, part in sizes.items()}
    return found | ({state.BLOCK: str(scene.looked.block)} if scene.looked else {})


def _floats(scene: Scene) -> Settings:
    """Floats of 16 bits, which stand for themselves."""
    return {FORMAT: "float", FLOAT: "FP16"}


def _centroids(scene: Scene) -> Settings:
    """Centroids are learned anew in the playground, from the fewest bits that it offers."""
    return {FORMAT: "centroids", state.BITS: str(max(scene.spec.format.bits, int(state.BITS.least)))}


def _vectors(scene: Scene) -> Settings:
    form = scene.spec.format
    counts = {DIM: form.dim, CODEWORDS: form.codewords, PARTS: form.parts, STAGES: form.stages}
    return {FORMAT: "vectors", **{field: str(value) for field, value in counts.items()}}


FORMATS: Mapping[type[Any], Callable[[Scene], Settings]] = {
    IntFormat: _integers,
    FloatFormat: _floats,
    KMeans: _centroids,
    ProductCodebook: _vectors,
}
