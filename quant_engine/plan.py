"""Which quantizer each layer of a network gets."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.quantizer import Quantizer, QuantizerSpec
from quant_engine.records import SCHEMA, from_record, to_record

ROLES = ("weight", "activation")
PARAMETERS = ("scale", "zero_point", "learned")


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """The quantizers of one layer's weight and of its input activation: a spec, a fitted quantizer, or none.

    Static activations (the default) have ranges fixed beforehand, on calibration data. `dynamic` ones stay a spec, and
    their ranges are found on each image alone: `PerTensor()` is then one scale an image, `PerToken()` one a row of the
    last axis of each image's input. Axis 0 of an activation are the images, so a convolution's channels are axis 1.

    Raises:
        QuantError: for what is no quantizer, a format that activations do not take, and a fitted activation that should
            be dynamic.
    """

    weight: QuantizerSpec | Quantizer | None = None
    activation: QuantizerSpec | Quantizer | None = None
    dynamic: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        for role in ROLES:
            value = getattr(self, role)
            if not isinstance(value, QuantizerSpec | Quantizer | None):
                raise QuantError(f"{role}={value!r} is no QuantizerSpec, Quantizer or None")
        if self.activation is not None:
            spec = self.activation if isinstance(self.activation, QuantizerSpec) else self.activation.spec
            spec.format.refuse_activations()
        if not isinstance(self.dynamic, bool):
            raise QuantError(f"dynamic={self.dynamic!r} is no truth value; give True or False")
        if self.dynamic and isinstance(self.activation, Quantizer):
            raise QuantError(
                f"the activation is fitted to {self.activation.scale.shape} blocks, but dynamic=True finds ranges on "
                "each input; give its spec, or dynamic=False"
            )


@dataclass(frozen=True, eq=False)
class QuantizationPlan:
    """A plan for each layer, by name; layers that are not named stay in floating point.

    Example:
        >>> from quant_engine import IntFormat
        >>> plan = QuantizationPlan({"conv1": LayerPlan(QuantizerSpec(IntFormat(4)))})
        >>> plan["conv1"].weight.format.bits, plan["conv2"].weight
        (4, None)
    """

    layers: Mapping[str, LayerPlan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check and freeze the mapping."""
        for name, plan in self.layers.items():
            if not isinstance(plan, LayerPlan):
                raise QuantError(f"layer {name!r} has {plan!r}; give a LayerPlan")
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    def __getitem__(self, layer: str) -> LayerPlan:
        """Return the layer's plan; an empty one where there is none."""
        return self.layers.get(layer, LayerPlan())

    @property
    def frozen(self) -> bool:
        """Whether every spec has been fitted (dynamic activations need no fitting)."""
        return not any(
            isinstance(plan.weight, QuantizerSpec) or (isinstance(plan.activation, QuantizerSpec) and not plan.dynamic)
            for plan in self.layers.values()
        )

    def save(self, path: str | pathlib.Path) -> None:
        """Write `path` as JSON and, where something is fitted, its arrays beside it as `.safetensors`.

        Raises:
            QuantError: if the path is that of the arrays.
        """
        from safetensors.numpy import save_file

        target = pathlib.Path(path)
        if target.suffix == ".safetensors":
            raise QuantError(f"{target} is where the fitted arrays go; save the plan as {target.with_suffix('.json')}")
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        layers: dict[str, dict[str, Any]] = {}
        for name, plan in self.layers.items():
            entry: dict[str, Any] = {"dynamic": plan.dynamic} if plan.dynamic else {}
            for role, quantizer in _roles(plan):
                spec = quantizer.spec if isinstance(quantizer, Quantizer) else quantizer
                entry[role] = {"spec": to_record(spec), "fitted": isinstance(quantizer, Quantizer)}
                if isinstance(quantizer, Quantizer):
                    found = {part: getattr(quantizer, part) for part in PARAMETERS}
                    arrays |= {f"{name}/{role}/{part}": np.array(a) for part, a in found.items() if a is not None}
            layers[name] = entry
        target.write_text(json.dumps({"schema": SCHEMA, "layers": layers}, indent=2), encoding="utf-8")
        if arrays:
            save_file(arrays, target.with_suffix(".safetensors"))

    @classmethod
    def load(cls, path: str | pathlib.Path) -> QuantizationPlan:
        """Read what `save` wrote.

        Raises:
            QuantError: if a file is not readable, the JSON is not a plan of this schema, or arrays are missing.
        """
        source = pathlib.Path(path)
        try:
            content = json.loads(source.read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise QuantError(f"{source} has schema {content['schema']}; this version reads {SCHEMA}")
            stored = content["layers"]
            arrays = _read_arrays(source, stored)
            layers = {
                name: LayerPlan(
                    **{role: _restore(entry[role], arrays, f"{name}/{role}") for role in ROLES if role in entry},
                    dynamic=entry.get("dynamic", False),
                )
                for name, entry in stored.items()
            }
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise QuantError(f"{source} is not a complete quantization plan: {error!r}") from error
        except OSError as error:
            raise QuantError(f"{source} is not readable: {error}") from error
        return cls(layers)


def _roles(plan: LayerPlan) -> Iterator[tuple[str, QuantizerSpec | Quantizer]]:
    for role in ROLES:
        if (quantizer := getattr(plan, role)) is not None:
            yield role, quantizer


def _read_arrays(source: pathlib.Path, stored: dict[str, Any]) -> dict[str, Any]:
    if not any(entry.get(role, {}).get("fitted") for entry in stored.values() for role in ROLES):
        return {}
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(source.with_suffix(".safetensors"))
    except (OSError, SafetensorError) as error:
        raise QuantError(f"the fitted arrays of {source} are not readable beside it: {error}") from error


def _restore(entry: dict[str, Any], arrays: dict[str, Any], name: str) -> QuantizerSpec | Quantizer:
    spec = from_record(entry["spec"])
    if not isinstance(spec, QuantizerSpec):
        raise QuantError(f"{name} holds a {type(spec).__name__}; a plan takes a QuantizerSpec")
    if not entry["fitted"]:
        return spec
    return Quantizer(spec, arrays[f"{name}/scale"], arrays[f"{name}/zero_point"], arrays.get(f"{name}/learned"))
