"""What a cell of the tuner's table may say: words, and the attributes of a setting that each stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from explorer.number_formats import FLOATS, KINDS
from explorer.playground_table import METHODS
from explorer.state import PlaygroundState
from quant_engine import (
    EditedRanges,
    IntFormat,
    LayerPlan,
    PerBlock,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    QuantError,
    QuantizerSpec,
)
from quant_engine.formats import E4M3, FP16, NF4, FloatFormat
from quant_engine.granularity import Granularity

Cells = Mapping[str, Any]  # attributes of a setting
BlockRange = tuple[int, float, float]  # a block, and the ends of its range

FLOAT32 = "float32"
WIDTHS = (8, 6, 5, 4, 3, 2)
GROUPS = (32, 64, 128)
INPUTS = (8, 6, 4)
NUMBER = "#"  # in words that ask for one
ASKED: dict[str, tuple[type[Any], str]] = {  # a shape whose size is asked for, and the attribute that holds it
    f"groups of {NUMBER}": (PerGroup, "group"),
    f"groups of {NUMBER} channels": (PerChannelGroup, "channels"),
}
COLUMNS: dict[str, dict[str, Cells]] = {
    "format": {
        FLOAT32: {},  # no setting says that: the plan lists the layers that stay as they are
        "FP16": {"kind": KINDS["float"], "float_format": FP16},
        **{f"int{bits}": {"kind": KINDS["integer"], "bits": bits} for bits in WIDTHS},
        "E4M3": {"kind": KINDS["float"], "float_format": E4M3},
        "NF4": {"kind": KINDS["NF4"]},
    },
    "shared": {
        "layer": {"granularity": PerTensor},
        "channel": {"granularity": PerChannel},
        **{f"groups of {size}": {"granularity": PerGroup, "group": size} for size in GROUPS},
    },
    "symmetry": {"symmetric": {"symmetric": True}, "asymmetric": {"symmetric": False}},
    "range": {word: {"clipping": method} for word, method in METHODS.items()},
    "inputs": {FLOAT32: {"activation_bits": None}, **{f"int{bits}": {"activation_bits": bits} for bits in INPUTS}},
}


def cells_of(column: str, word: str) -> Cells | None:
    """Return the attributes that a word of a column stands for, sizes of one's own too; None for words it has not.

    >>> cells_of("shared", "groups of 48")["group"], cells_of("shared", "groups of 0"), cells_of("range", "wide")
    (48, None, None)
    """
    if column != "shared" or word in COLUMNS[column]:
        return COLUMNS.get(column, {}).get(word)
    for asked, (shape, name) in ASKED.items():
        start, end = asked.split(NUMBER)
        number = word.removeprefix(start).removesuffix(end)
        if word == f"{start}{number}{end}" and PlaygroundState.fields()[name].accepts(number):
            return {"granularity": shape, name: int(number)}
    return None


def word_of(column: str, settings: PlaygroundState) -> str:
    """Return the word of a column that a setting is at, or "" where it has none for that.

    >>> word_of("format", PlaygroundState(bits=3)), word_of("shared", PlaygroundState(granularity=PerChannelGroup))
    ('int3', 'groups of 8 channels')
    """
    for word, cells in COLUMNS[column].items():
        if cells and all(getattr(settings, name) == value for name, value in cells.items()):
            return word
    sizes = {shape: word.replace(NUMBER, str(getattr(settings, name))) for word, (shape, name) in ASKED.items()}
    return sizes.get(settings.granularity, "") if column == "shared" else ""


def counts(column: str, settings: PlaygroundState) -> bool:
    """Say whether what a column sets counts under a setting: FP16 has neither scales nor a range."""
    applies = {"shared": settings.grouped, "symmetry": settings.kind.integer, "range": settings.clips}
    return applies.get(column, True)


def settings_of(plan: LayerPlan) -> tuple[PlaygroundState, tuple[BlockRange, ...]] | None:
    """Return the setting, and the ranges set by hand in single blocks, that say what a plan does to a layer.

    None for what no setting says: fitted quantizers, chosen codes, formats and clippings of other kinds.

    >>> found = settings_of(LayerPlan(QuantizerSpec(IntFormat(3), PerGroup(64, remainder="short"))))
    >>> found[0].bits, found[0].group, settings_of(LayerPlan())
    (3, 64, None)
    """
    spec = plan.weight
    if not isinstance(spec, QuantizerSpec):
        return None
    edits: tuple[BlockRange, ...] = ()
    clipping = spec.clipping
    if isinstance(clipping, EditedRanges):
        clipping, edits = clipping.clipping, clipping.edits
    cells = {**_format(spec), **_shared(spec.granularity), **_inputs(plan), "scales": spec.scale_format}
    cells |= {"symmetric": spec.symmetric, "clipping": type(clipping), "percentile": getattr(clipping, "p", 99.9)}
    try:
        settings = PlaygroundState(**cells)
        same = layer_plan_of(settings, edits).key == plan.key
    except (QuantError, TypeError, ValueError, KeyError):  # of a setting that there is not
        return None
    return (settings, edits) if same else None


def layer_plan_of(settings: PlaygroundState, edits: tuple[BlockRange, ...]) -> LayerPlan:
    """Return what a layer does by a setting, with the ranges of some blocks set by hand.

    Raises:
        QuantError: for a setting that there is not, and ranges without width.
    """
    return settings.layer_plan(spec_of(settings, edits))


def spec_of(settings: PlaygroundState, edits: tuple[BlockRange, ...]) -> QuantizerSpec:
    """Return the spec of a setting with the ranges of some blocks set by hand, where its format has ranges.

    Raises:
        QuantError: as `layer_plan_of`.
    """
    spec = settings.spec(-1.0, 1.0)
    return replace(spec, clipping=EditedRanges(spec.clipping, edits)) if edits and settings.clips else spec


def _format(spec: QuantizerSpec) -> dict[str, Any]:
    form = spec.format
    if isinstance(form, IntFormat):
        return {"kind": KINDS["integer"], "bits": form.bits, "signed": form.signed, "narrow": form.narrow}
    if isinstance(form, FloatFormat) and form in FLOATS.values():
        return {"kind": KINDS["float"], "float_format": form}
    return {"kind": KINDS["NF4"]} if form == NF4 else {}


def _shared(granularity: Granularity) -> dict[str, Any]:
    sizes = {PerGroup: {"group": "size"}, PerChannelGroup: {"channels": "channels"},
             PerBlock: {"rows": "rows", "columns": "columns"}}  # fmt: skip
    names: Mapping[str, str] = sizes.get(type(granularity), {})
    return {"granularity": type(granularity), **{own: getattr(granularity, name) for own, name in names.items()}}


def _inputs(plan: LayerPlan) -> dict[str, Any]:
    if not isinstance(spec := plan.activation, QuantizerSpec):
        return {}
    found = spec.granularity if plan.dynamic else spec.clipping
    return {"activation_bits": spec.format.bits, "calibration": found}
