"""Which quantizer each layer of a network gets."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from types import MappingProxyType
from typing import final

from quant_engine.checks import as_instance, as_list
from quant_engine.errors import QuantError
from quant_engine.plan.files import read_layers, write_layers
from quant_engine.plan.layer_plan import LayerPlan


@final
@dataclass(frozen=True, eq=False)
class QuantizationPlan:
    """A plan for each layer, by name; layers that are not named stay in floating point.

    Example:
        >>> from quant_engine import IntFormat, QuantizerSpec
        >>> plan = QuantizationPlan({"conv1": LayerPlan(QuantizerSpec(IntFormat(4)))})
        >>> plan["conv1"].weight.format.bits, plan["conv2"].weight
        (4, None)
    """

    layers: Mapping[str, LayerPlan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check and freeze the mapping."""
        if not isinstance(self.layers, Mapping):
            raise QuantError(f"layers={self.layers!r} is no mapping; give a dict of a LayerPlan for each layer")
        for name, plan in self.layers.items():
            as_instance(name, str, "a layer's name", "give text")
            if not isinstance(plan, LayerPlan):
                raise QuantError(f"layer {name!r} has {plan!r}; give a LayerPlan")
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    @classmethod
    def of(cls, names: Iterable[str], patterns: Mapping[str, LayerPlan]) -> QuantizationPlan:
        """Return the plan that gives each layer what the last pattern says that matches its name.

        In a pattern `*` stands for any text, "." and "/" included, `?` for one character and `[ab]` for one of several,
        as in `fnmatch`; upper and lower case differ. A pattern that is a layer's whole name means that layer, whatever
        characters are in it. Layers that no pattern matches stay in floating point.

        Raises:
            QuantError: for a pattern that matches no layer, names that are not text, and values that are no LayerPlan.

        Example:
            >>> from quant_engine import IntFormat, QuantizerSpec
            >>> four, eight = (LayerPlan(QuantizerSpec(IntFormat(bits))) for bits in (4, 8))
            >>> names = ["embed", "block.0.dense", "block.1.dense"]
            >>> plan = QuantizationPlan.of(names, {"*.dense": four, "block.1.*": eight})
            >>> {name: layer.weight.format.bits for name, layer in plan.layers.items()}
            {'block.0.dense': 4, 'block.1.dense': 8}
        """
        listed = as_list(names, str, "names", "give names of layers, such as network.layers()")
        rules = cls(patterns).layers  # checks both
        found: dict[str, LayerPlan] = {}
        for pattern, plan in rules.items():
            matched = [pattern] if pattern in listed else [name for name in listed if fnmatchcase(name, pattern)]
            if not matched:
                shown = ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "")
                raise QuantError(f"the pattern {pattern!r} matches none of the {len(listed)} layers; they are {shown}")
            found |= dict.fromkeys(matched, plan)
        return cls({name: found[name] for name in listed if name in found})

    def __getitem__(self, layer: str) -> LayerPlan:
        """Return the layer's plan; an empty one where there is none."""
        return self.layers.get(layer, LayerPlan())

    @cached_property
    def key(self) -> str:
        """What tells plans apart: canonical JSON of every layer's key, whatever the order of the layers."""
        return json.dumps({name: plan.key for name, plan in self.layers.items()}, sort_keys=True, separators=(",", ":"))

    @property
    def frozen(self) -> bool:
        """Whether every spec has been fitted (dynamic activations need no fitting)."""
        return all(plan.frozen for plan in self.layers.values())

    def save(self, path: str | pathlib.Path) -> None:
        """Write `path` as JSON and, where something is fitted, its arrays beside it as `<path>.arrays.safetensors`.

        The JSON has the digest of the arrays. Both files are written beside their places and then moved there, so that
        a process which is killed leaves the old plan or the new one.

        Raises:
            QuantError: if the path is that of arrays, or a file that this function has not written is in the way.
        """
        write_layers(path, self.layers)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> QuantizationPlan:
        """Read what `save` wrote, in this version or before.

        Raises:
            QuantError: if a file is not readable, the JSON is not a plan of this schema, or holds anything else, or
                arrays are missing, others than those saved with it, or none of the format's.
        """
        return cls(read_layers(path))
