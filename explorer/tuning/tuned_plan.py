"""The plan that the tuner edits: a setting for all layers, and what single layers have otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, TypeVar

from explorer.state import PlaygroundState
from explorer.tuning.cells import BlockRange, Cells, layer_plan_of, settings_of
from quant_engine import LayerPlan, QuantError, QuantizationPlan
from quant_engine.models import Layer

T = TypeVar("T")
OPENS_WITH = PlaygroundState(bits=8)


def _none() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class TunedPlan:
    """What is planned for every layer; layers are named by those that hold their weight.

    Attributes:
        base: the setting of every layer that has nothing of its own.
        edits: attributes of the setting that single layers have otherwise.
        ranges: ranges set by hand, (block, lo, hi) each, of single layers.
        plain: layers that stay in floating point.
        given: what single layers have from elsewhere that no setting says; an edit takes its place.
        locks: layers that no edit changes.
    """

    base: PlaygroundState = OPENS_WITH
    edits: Mapping[str, Cells] = field(default_factory=_none)
    ranges: Mapping[str, tuple[BlockRange, ...]] = field(default_factory=_none)
    plain: frozenset[str] = frozenset()
    given: Mapping[str, LayerPlan] = field(default_factory=_none)
    locks: frozenset[str] = frozenset()

    def settings(self, layer: str) -> PlaygroundState:
        """Return the setting of a layer, as far as it is one."""
        return replace(self.base, **self.edits.get(layer, {}))

    def layer_plan(self, layer: str) -> LayerPlan:
        """Return what a layer does.

        Raises:
            QuantError: for a setting that there is not.
        """
        if layer in self.plain:
            return LayerPlan()
        if layer in self.given:
            return self.given[layer]
        return layer_plan_of(self.settings(layer), self.ranges.get(layer, ()))

    def is_own(self, layer: str) -> bool:
        """Say whether a layer has anything that the others do not."""
        return any(layer in held for held in (self.edits, self.ranges, self.plain, self.given))

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

        A layer that was in floating point, or had something from elsewhere, then has the setting. Another clipping, and
        other blocks, take the place of ranges by hand.
        """
        edits, ranges = dict(self.edits), dict(self.ranges)
        free = self._free(layers)
        for layer in free:
            own = {**edits.get(layer, {}), **cells}
            edits[layer] = {name: value for name, value in own.items() if value != getattr(self.base, name)}
            if not edits[layer]:
                del edits[layer]
            if "clipping" in cells or _blocks_of(self.settings(layer)) != _blocks_of(replace(self.base, **own)):
                ranges.pop(layer, None)
        return replace(
            self,
            edits=MappingProxyType(edits),
            ranges=MappingProxyType(ranges),
            plain=self.plain - free,
            given=_without(self.given, free),
        )

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
            plain=self.plain - free,
            given=_without(self.given, free),
        )

    def with_range(self, layer: str, block: int, lo: float, hi: float) -> TunedPlan:
        """Return the plan with the range of one block of a layer set by hand; of a locked one as it was."""
        if layer in self.locks:
            return self
        others = [edit for edit in self.ranges.get(layer, ()) if edit[0] != block]
        held = tuple(sorted([*others, (block, lo, hi)]))
        return replace(self, ranges=MappingProxyType({**self.ranges, layer: held}))

    def without_range(self, layer: str, block: int) -> TunedPlan:
        """Return the plan with the range of one block found by the layer's method again."""
        held = tuple(edit for edit in self.ranges.get(layer, ()) if edit[0] != block)
        rest = _without(self.ranges, {layer})
        return replace(self, ranges=MappingProxyType({**rest, layer: held}) if held else rest)

    def locked(self, layers: Iterable[str], lock: bool) -> TunedPlan:
        """Return the plan with layers that no edit changes, or may change again."""
        return replace(self, locks=self.locks | {*layers} if lock else self.locks - {*layers})

    def fitting(self, layers: Iterable[str]) -> TunedPlan:
        """Return the plan without what it says of layers that a model does not have."""
        gone = {*self.edits, *self.ranges, *self.plain, *self.given, *self.locks} - {*layers}
        return replace(replace(self, locks=frozenset()).as_others(gone), locks=self.locks - gone) if gone else self

    def to_plan(self, layers: Mapping[str, Layer]) -> QuantizationPlan:
        """Return the plan as the engine has it; layers that share a weight do the same.

        Raises:
            QuantError: for a setting that there is not.
        """
        planned = {name: self.layer_plan(info.tied_to or name) for name, info in layers.items()}
        return QuantizationPlan({name: plan for name, plan in planned.items() if plan.key != LayerPlan().key})

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
    edits: dict[str, Cells] = {}
    ranges: dict[str, tuple[BlockRange, ...]] = {}
    plain, given = set(), {}
    for name in (name for name, info in layers.items() if info.tied_to is None):
        if name not in plan.layers:
            plain.add(name)
        elif (found := settings_of(plan[name])) is None:
            given[name] = plan[name]
        else:
            own = {one: getattr(found[0], one) for one in base.fields()}
            edits[name] = {one: value for one, value in own.items() if value != getattr(base, one)}
            ranges[name] = found[1]
    return TunedPlan(
        base,
        MappingProxyType({name: cells for name, cells in edits.items() if cells}),
        MappingProxyType({name: held for name, held in ranges.items() if held}),
        frozenset(plain),
        MappingProxyType(given),
    )


def _blocks_of(settings: PlaygroundState) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in ("granularity", "group", "channels", "rows", "columns")}


def _same_blocks(before: TunedPlan, after: TunedPlan, layer: str) -> bool:
    return _blocks_of(before.settings(layer)) == _blocks_of(after.settings(layer))


def _without(held: Mapping[str, T], names: Iterable[str]) -> Mapping[str, T]:
    gone = {*names}
    return MappingProxyType({name: value for name, value in held.items() if name not in gone})
