"""The playground with the state of a laboratory, as query parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from explorer import state
from explorer.fields import Field
from explorer.lessons.scene import Scene
from explorer.number_formats import CODEWORDS, DIM, FLOAT, FORMAT, PARTS, SCALE_FORMATS, SCALES, STAGES
from quant_engine import (
    FixedRange,
    FloatFormat,
    IntFormat,
    KMeans,
    MinMax,
    MinMSE,
    PerBlock,
    Percentile,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    ProductCodebook,
    QuantizerSpec,
)

CLIPPING_WORDS = {MinMax: "min–max", Percentile: "percentile", MinMSE: "least MSE", FixedRange: "by hand"}
Settings = dict[Field, str]


def playground_link(model: str, layer: str, scene: Scene) -> dict[str, str]:
    """Return the parameters that set the playground to this scene's spec; defaults are left out."""
    found = FORMATS[type(scene.spec.format)](scene)
    if scene.subject.is_weight:
        found[state.VALUE] = f"{scene.r:g}"
    changed = {field.key: text for field, text in found.items() if text != str(field.default)}
    return {"model": model, "tensor": layer, **changed}


def _integers(scene: Scene) -> Settings:
    spec = scene.spec
    found: Settings = {
        state.BITS: str(spec.format.bits),
        state.CODES: "signed" if spec.format.signed else "unsigned",
        state.SYMMETRY: "symmetric" if spec.symmetric else "asymmetric",
        state.LEVELS: "restricted" if spec.format.narrow else "full",
        state.CLIPPING: CLIPPING_WORDS.get(type(spec.clipping), "by hand"),
        **_blocks(scene),
    }
    if isinstance(spec.clipping, Percentile):
        found[state.PERCENTILE] = f"{spec.clipping.p:g}"
    elif found[state.CLIPPING] == "by hand":
        found[state.HI] = repr(scene.view.hi)
        if not spec.symmetric:
            found[state.LO] = repr(scene.view.lo)
    if isinstance(spec.granularity, PerChannel):
        found[state.GRANULARITY] = "channel"
    if scene.compensated is not None:
        found |= _activations(scene.compensated.raced.setting.activation)
    return found


def _activations(spec: QuantizerSpec | None) -> Settings:
    """Return the playground's nearest to an activation's spec of least squared error: it has even widths only."""
    if spec is None:
        return {}
    return {state.ACTIVATIONS: f"{2 * -(-spec.format.bits // 2)} bits", state.CALIBRATION: "least MSE"}


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
