"""What a layer does as a setting, with ranges set by hand; and plans of the engine, fitted ones too, as such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from explorer.number_formats import FLOATS, KINDS
from explorer.playground_table import ACTIVATIONS, CALIBRATIONS
from explorer.state import PlaygroundState
from quant_engine import (
    EditedRanges,
    FixedRange,
    IntFormat,
    LayerPlan,
    PerBlock,
    PerChannelGroup,
    PerGroup,
    QuantError,
    QuantizedTensor,
    Quantizer,
    QuantizerSpec,
)
from quant_engine.clipping import Clipping
from quant_engine.formats import NF4, FloatFormat
from quant_engine.granularity import Granularity

Range = tuple[float, float]
BlockRange = tuple[int, float, float]  # a block, and the ends of its range


@dataclass(frozen=True)
class LayerSetting:
    """A setting, the ranges of some blocks of the weight set by hand, and the range of the inputs if that is, too."""

    settings: PlaygroundState
    ranges: tuple[BlockRange, ...] = ()
    inputs: Range | None = None

    def weight(self) -> QuantizerSpec:
        """Return the spec of the weight; ranges by hand count where the format has ranges.

        Raises:
            QuantError: for a setting that there is not, and ranges without width.
        """
        spec = self.settings.spec(-1.0, 1.0)
        by_hand = self.ranges and self.settings.clips
        return replace(spec, clipping=EditedRanges(spec.clipping, self.ranges)) if by_hand else spec

    def plan(self) -> LayerPlan:
        """Return what the layer does.

        Raises:
            QuantError: as `weight`.
        """
        plan = self.settings.layer_plan(self.weight())
        if self.inputs is None or self.settings.activation_bits is None:
            return plan
        return replace(plan, activation=input_spec(self.settings, FixedRange(*self.inputs)), dynamic=False)


def input_spec(settings: PlaygroundState, clipping: Clipping) -> QuantizerSpec:
    """Return the static spec of a layer's inputs, whose bits a setting has, under a clipping."""
    return QuantizerSpec(IntFormat(settings.activation_bits or 8, signed=False), symmetric=False, clipping=clipping)


def settings_of(plan: LayerPlan) -> LayerSetting | None:
    """Return the setting that says what a plan does to a layer.

    None for what no setting says: fitted quantizers, chosen codes, formats and clippings of other kinds.

    >>> found = settings_of(LayerPlan(QuantizerSpec(IntFormat(3), PerGroup(64, remainder="short"))))
    >>> found.settings.bits, found.settings.group, settings_of(LayerPlan())
    (3, 64, None)
    """
    if plan.weight is None:
        return None
    found = nearest_setting(plan)
    try:
        return found if found is not None and found.plan().key == plan.key else None
    except QuantError:
        return None


def nearest_setting(plan: LayerPlan) -> LayerSetting | None:
    """Return the setting nearest to what a plan does, with the ranges of fitted quantizers as set by hand.

    None where formats or clippings have no setting.

    >>> import numpy as np
    >>> fitted = Quantizer(QuantizerSpec(IntFormat(4)), np.array([[0.5]], np.float32), np.array([[0]]))
    >>> nearest_setting(LayerPlan(fitted)).ranges
    ((0, -3.5, 3.5),)
    """
    weight, (inputs, held) = plan.weight, _inputs(plan)
    if weight is None or inputs is None:
        return None
    spec, ranges = (weight, ()) if isinstance(weight, QuantizerSpec) else (weight.spec, block_ranges_of(weight))
    clipping: Any = spec.clipping
    if isinstance(clipping, EditedRanges):
        clipping, ranges = clipping.clipping, clipping.edits
    cells = {**_shared(spec.granularity), "scales": spec.scale_format, "symmetric": spec.symmetric, **inputs}
    cells |= {"clipping": type(clipping), "percentile": getattr(clipping, "p", 99.9)}
    try:
        settings = PlaygroundState(**cells, **_format(spec))
        made = settings.spec(-1.0, 1.0)
        PlaygroundState.read(settings.link())  # each has a word, and a control that goes so far
    except (QuantError, TypeError, ValueError, KeyError):  # of a setting that there is not
        return None
    same_axis = getattr(made.granularity, "axis", None) == getattr(spec.granularity, "axis", None)
    return LayerSetting(settings, ranges if same_axis else (), held)


def block_ranges_of(planned: Quantizer | QuantizedTensor) -> tuple[BlockRange, ...]:
    """Return the range of every block of a fitted quantizer, from its scales and zero points."""
    form, scale = planned.spec.format, planned.scale.astype(np.float64).reshape(-1)
    if not isinstance(form, IntFormat):
        return ()
    zero = planned.zero_point.reshape(-1)
    hi = scale * (form.qmax - zero)
    lo = -hi if planned.spec.symmetric and form.signed else scale * (form.qmin - zero)
    return tuple(zip(range(scale.size), lo.tolist(), hi.tolist(), strict=True))


def _format(spec: QuantizerSpec) -> dict[str, Any]:
    """Return the attributes that say a format.

    Raises:
        KeyError: for one of which the tuner's table has no word.
    """
    form = spec.format
    if isinstance(form, IntFormat):
        return {"kind": KINDS["integer"], "bits": form.bits, "signed": form.signed, "narrow": form.narrow}
    if isinstance(form, FloatFormat) and form in FLOATS.values():
        return {"kind": KINDS["float"], "float_format": form}
    return {"kind": {NF4: KINDS["NF4"]}[form]}


def _shared(granularity: Granularity) -> dict[str, Any]:
    sizes = {PerGroup: {"group": "size"}, PerChannelGroup: {"channels": "channels"},
             PerBlock: {"rows": "rows", "columns": "columns"}}  # fmt: skip
    names: Mapping[str, str] = sizes.get(type(granularity), {})
    return {"granularity": type(granularity), **{own: getattr(granularity, name) for own, name in names.items()}}


def _inputs(plan: LayerPlan) -> tuple[dict[str, Any] | None, Range | None]:
    """Return the attributes that say what is done to the inputs, None if none do, and their range if it is given."""
    planned = plan.activation
    if planned is None:
        return {}, None
    form = planned.spec.format if isinstance(planned, Quantizer) else planned.format
    if not isinstance(form, IntFormat) or form.bits not in ACTIVATIONS.values():
        return None, None
    bits = {"activation_bits": form.bits}
    if isinstance(planned, Quantizer):
        ranges = block_ranges_of(planned)
        return bits, (min(lo for _, lo, _ in ranges), max(hi for _, _, hi in ranges))
    found = planned.granularity if plan.dynamic else planned.clipping
    if isinstance(found, FixedRange) and isinstance(found.lo, float) and isinstance(found.hi, float):
        return bits, (found.lo, found.hi)
    return ({**bits, "calibration": found} if found in CALIBRATIONS.values() else None), None
