"""The plan that the tuner edits: a setting for all layers, and what single layers have otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, TypeVar

from explorer.state import PlaygroundState
from explorer.tuning.cells import Cells
from explorer.tuning.layer_setting import BlockRange, LayerSetting, Range, nearest_setting, settings_of
from quant_engine import LayerPlan, QuantError, QuantizationPlan
from quant_engine.models import Layer

T = TypeVar("T")
OPENS_WITH = PlaygroundState(bits=8)
OF_INPUTS = {"activation_bits", "calibration"}


def _none() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class TunedPlan:
    """What is planned for every layer; layers are named by those that hold their weight.

    Attributes:
        base: the setting of every layer that has nothing of its own.
        edits: attributes of the setting that single layers have otherwise.
        ranges: ranges set by hand, (block, lo, hi) each, of single layers.
        inputs: ranges set by hand, (lo, hi), of what single layers receive.
        plain: layers that stay in floating point.
        given: what single layers have from elsewhere that no setting says, such as scales of a file: an edit of the
            weight leaves the inputs to the bit, and the other way round.
        locks: layers that no edit changes.
    """

    base: PlaygroundState = OPENS_WITH
    edits: Mapping[str, Cells] = field(default_factory=_none)
    ranges: Mapping[str, tuple[BlockRange, ...]] = field(default_factory=_none)
    inputs: Mapping[str, Range] = field(default_factory=_none)
    plain: frozenset[str] = frozenset()
    given: Mapping[str, LayerPlan] = field(default_factory=_none)
    locks: frozenset[str] = frozenset()

    def setting(self, layer: str) -> LayerSetting:
        """Return the setting of a layer and its ranges by hand; of what is given the nearest there is."""
        found = nearest_setting(self.given[layer]) if layer in self.given else None
        if found is not None:
            return found
        settings = replace(self.base, **self.edits.get(layer, {}))
        return LayerSetting(settings, self.ranges.get(layer, ()), self.inputs.get(layer))

    def settings(self, layer: str) -> PlaygroundState:
        """Return the setting of a layer, as far as it is one."""
        return self.setting(layer).settings

    def layer_plan(self, layer: str) -> LayerPlan:
        """Return what a layer does.

        Raises:
            QuantError: for a setting that there is not.
        """
        if layer in self.plain:
            return LayerPlan()
        return self.given[layer] if layer in self.given else self.setting(layer).plan()

    def is_own(self, layer: str) -> bool:
        """Say whether a layer has anything that the others do not."""
        return any(layer in held for held in (self.edits, self.ranges, self.inputs, self.plain, self.given))

    def with_base(self, cells: Cells) -> TunedPlan:
        """Return the plan with another setting for all layers that have nothing else in these cells.

        Ranges by hand stay where the blocks do.

        >>> TunedPlan().with_cells(["a"], {"bits": 3}).with_base({"bits": 4}).settings("a").bits
        3
        """
        changed = replace(self, base=replace(self.base, **cells))
        kept = {name: held for name, held in self.ranges.items() if _same_blocks(self, changed, name)}
        return replace(changed, ranges=MappingProxyType(kept))

    def with_cells(self, layers: Iterable[str], cells: Cells) -> TunedPlan:
        """Return the plan with some attributes of layers set; none of those that are locked.

        A layer that was in floating point then has the setting. Another clipping, and other blocks, take the place of
        ranges by hand.
        """
        plan, free, role = self, self._free(layers), "activation" if OF_INPUTS.issuperset(cells) else "weight"
        for layer in free:
            opened = plan._opened(layer)
            before, own = opened.settings(layer), {**opened.edits.get(layer, {}), **cells}
            edits = {name: value for name, value in own.items() if value != getattr(self.base, name)}
            after = replace(opened, edits=_with(opened.edits, layer, edits))
            if "clipping" in cells or _blocks_of(before) != _blocks_of(after.settings(layer)):
                after = replace(after, ranges=_without(after.ranges, {layer}))
            if not OF_INPUTS.isdisjoint(cells):
                after = replace(after, inputs=_without(after.inputs, {layer}))
            plan = plan._retained(layer, replace(after, plain=after.plain - {layer}), role)
        return plan

    def in_float(self, layers: Iterable[str]) -> TunedPlan:
        """Return the plan with layers in floating point; none of those that are locked."""
        free = self._free(layers)
        return replace(self.as_others(free), plain=self.plain | free)

    def as_others(self, layers: Iterable[str]) -> TunedPlan:
        """Return the plan with layers like all others; none of those that are locked."""
        free = self._free(layers)
        return replace(
            self,
            edits=_without(self.edits, free),
            ranges=_without(self.ranges, free),
            inputs=_without(self.inputs, free),
            plain=self.plain - free,
            given=_without(self.given, free),
        )

    def with_range(self, layer: str, block: int, lo: float, hi: float) -> TunedPlan:
        """Return the plan with the range of one block of a layer set by hand; of a locked one as it was."""
        if layer in self.locks:
            return self
        opened = self._opened(layer)
        held = tuple(sorted([*(edit for edit in opened.ranges.get(layer, ()) if edit[0] != block), (block, lo, hi)]))
        return self._retained(layer, replace(opened, ranges=_with(opened.ranges, layer, held)), "weight")

    def without_range(self, layer: str, block: int) -> TunedPlan:
        """Return the plan with the range of one block found by the layer's method again."""
        opened = self._opened(layer)
        held = tuple(edit for edit in opened.ranges.get(layer, ()) if edit[0] != block)
        return self._retained(layer, replace(opened, ranges=_with(opened.ranges, layer, held)), "weight")

    def with_input_range(self, layer: str, lo: float, hi: float) -> TunedPlan:
        """Return the plan with the range of a layer's inputs set by hand; of a locked one as it was."""
        if layer in self.locks:
            return self
        opened = self._opened(layer)
        return self._retained(layer, replace(opened, inputs=_with(opened.inputs, layer, (lo, hi))), "activation")

    def with_plan(self, layer: str, plan: LayerPlan) -> TunedPlan:
        """Return the plan with what a layer does: as a setting where one says the same, else as it is given."""
        if layer in self.locks:
            return self
        others = self.as_others([layer])
        if (setting := settings_of(plan)) is not None:
            return others._with_setting(layer, setting)
        return replace(others, given=MappingProxyType({**self.given, layer: plan}))

    def locked(self, layers: Iterable[str], lock: bool) -> TunedPlan:
        """Return the plan with layers that no edit changes, or may change again."""
        return replace(self, locks=self.locks | {*layers} if lock else self.locks - {*layers})

    def fitting(self, layers: Iterable[str]) -> TunedPlan:
        """Return the plan without what it says of layers that a model does not have."""
        gone = {*self.edits, *self.ranges, *self.inputs, *self.plain, *self.given, *self.locks} - {*layers}
        return replace(replace(self, locks=frozenset()).as_others(gone), locks=self.locks - gone) if gone else self

    def to_plan(self, layers: Mapping[str, Layer]) -> QuantizationPlan:
        """Return the plan as the engine has it; layers that share a weight do the same.

        Raises:
            QuantError: for a setting that there is not.
        """
        planned = {name: self.layer_plan(info.tied_to or name) for name, info in layers.items()}
        return QuantizationPlan({name: plan for name, plan in planned.items() if plan.key != LayerPlan().key})

    def _opened(self, layer: str) -> TunedPlan:
        """Return the plan in which what is given of a layer is the setting nearest to it."""
        if layer not in self.given:
            return self
        return self.as_others([layer])._with_setting(layer, self.setting(layer))

    def _with_setting(self, layer: str, setting: LayerSetting) -> TunedPlan:
        edits = {name: getattr(setting.settings, name) for name in self.base.fields()}
        return replace(
            self,
            edits=_with(self.edits, layer, {k: own for k, own in edits.items() if own != getattr(self.base, k)}),
            ranges=_with(self.ranges, layer, setting.ranges),
            inputs=_with(self.inputs, layer, setting.inputs),
        )

    def _retained(self, layer: str, after: TunedPlan, role: str) -> TunedPlan:
        """Return the plan after an edit of one part of a layer; what was given of the other part stays."""
        if (before := self.given.get(layer)) is None:
            return after
        made = after.layer_plan(layer)
        if role == "activation":
            merged = replace(before, activation=made.activation, dynamic=made.dynamic)
        else:
            merged = replace(made, activation=before.activation, dynamic=before.dynamic)
        return after.with_plan(layer, merged)

    def _free(self, layers: Iterable[str]) -> frozenset[str]:
        return frozenset(layers) - self.locks


def matching(layers: Iterable[str], pattern: str) -> list[str]:
    """Return the layers whose names match a pattern, as `QuantizationPlan.of` reads it.

    Raises:
        QuantError: if there is none.

    >>> matching(["a.up", "a.down", "b.down"], "*.down")
    ['a.down', 'b.down']
    """
    names = [*layers]
    found = [pattern] if pattern in names else [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise QuantError(f"the pattern {pattern!r} matches none of the {len(names)} layers, such as {names[0]!r}")
    return found


def tuned_of(plan: QuantizationPlan, layers: Mapping[str, Layer], base: PlaygroundState = OPENS_WITH) -> TunedPlan:
    """Return a plan of the engine as one to be edited: as settings where these say the same, else as it is given."""
    found = TunedPlan(base)
    for name in (name for name, info in layers.items() if info.tied_to is None):
        found = found.with_plan(name, plan[name]) if name in plan.layers else found.in_float([name])
    return found


def _blocks_of(settings: PlaygroundState) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in ("granularity", "group", "channels", "rows", "columns")}


def _same_blocks(before: TunedPlan, after: TunedPlan, layer: str) -> bool:
    return _blocks_of(before.settings(layer)) == _blocks_of(after.settings(layer))


def _with(held: Mapping[str, T], layer: str, value: T | None) -> Mapping[str, T]:
    """Return a mapping with what a layer has, if that is anything."""
    return MappingProxyType({**_without(held, {layer}), **({layer: value} if value else {})})


def _without(held: Mapping[str, T], names: Iterable[str]) -> Mapping[str, T]:
    gone = {*names}
    return MappingProxyType({name: value for name, value in held.items() if name not in gone})
