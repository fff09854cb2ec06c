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
from quant_engine.inputs import Float32Array, as_float32
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec
from quant_engine.records import SCHEMA, from_record, to_record

ROLES = ("weight", "activation")
PARAMETERS = ("scale", "zero_point", "learned")
Planned = QuantizerSpec | Quantizer | QuantizedTensor


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """The quantizers of one layer's weight and of its input activation: a spec, a fitted quantizer, or none.

    A weight may also be given as a `QuantizedTensor`, with codes of its own in the view (out, everything else), and a
    bias (out,) that takes the place of the layer's: what methods find that choose codes otherwise than by rounding, or
    that change the weights before they do.

    Static activations (the default) have ranges fixed beforehand, on calibration data. `dynamic` ones stay a spec, and
    their ranges are found on each image alone: `PerTensor()` is then one scale an image, `PerToken()` one a row of the
    last axis of each image's input. Axis 0 of an activation are the images, so a convolution's channels are axis 1.

    Raises:
        QuantError: for what is no quantizer, a format that activations do not take, and a fitted activation that should
            be dynamic.
    """

    weight: Planned | None = None
    activation: QuantizerSpec | Quantizer | None = None
    dynamic: bool = False
    bias: Float32Array | None = None

    def __post_init__(self) -> None:
        """Check the fields, and keep a read-only copy of the bias."""
        for role, kinds in (("weight", Planned), ("activation", QuantizerSpec | Quantizer)):
            value = getattr(self, role)
            if not isinstance(value, kinds | None):
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
        if self.bias is not None:
            bias = as_float32(self.bias).copy()
            if bias.ndim != 1:
                raise QuantError(f"bias has shape {bias.shape}; give one value for each output channel")
            bias.flags.writeable = False
            object.__setattr__(self, "bias", bias)


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
            for role, planned in _roles(plan):
                entry[role], found = _stored(planned)
                arrays |= {f"{name}/{role}/{part}": array for part, array in found.items()}
            if plan.bias is not None:
                arrays[f"{name}/bias"] = np.array(plan.bias)
                entry["bias"] = True
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
                    bias=arrays[f"{name}/bias"] if entry.get("bias") else None,
                )
                for name, entry in stored.items()
            }
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise QuantError(f"{source} is not a complete quantization plan: {error!r}") from error
        except OSError as error:
            raise QuantError(f"{source} is not readable: {error}") from error
        return cls(layers)


def _roles(plan: LayerPlan) -> Iterator[tuple[str, Planned]]:
    for role in ROLES:
        if (planned := getattr(plan, role)) is not None:
            yield role, planned


def _stored(planned: Planned) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """Return a planned part as JSON and as arrays."""
    if isinstance(planned, QuantizerSpec):
        return {"spec": to_record(planned), "fitted": False}, {}
    entry: dict[str, Any] = {"spec": to_record(planned.spec), "fitted": True}
    arrays = {part: np.array(a) for part in PARAMETERS if (a := getattr(planned, part)) is not None}
    if isinstance(planned, QuantizedTensor):
        arrays["codes"] = np.ascontiguousarray(planned.codes)
        if planned.length is not None:
            entry["length"] = planned.length
    return entry, arrays


def _read_arrays(source: pathlib.Path, stored: dict[str, Any]) -> dict[str, Any]:
    parts = [entry.get(role, {}).get("fitted") for entry in stored.values() for role in ROLES]
    if not any(parts) and not any(entry.get("bias") for entry in stored.values()):
        return {}
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(source.with_suffix(".safetensors"))
    except (OSError, SafetensorError) as error:
        raise QuantError(f"the fitted arrays of {source} are not readable beside it: {error}") from error


def _restore(entry: dict[str, Any], arrays: dict[str, Any], name: str) -> Any:
    """Return a part of a plan as it was stored; `LayerPlan` checks that it may stand there."""
    spec = from_record(entry["spec"])
    if not isinstance(spec, QuantizerSpec):
        raise QuantError(f"{name} holds a {type(spec).__name__}; a plan takes a QuantizerSpec")
    if not entry["fitted"]:
        return spec
    fitted = Quantizer(spec, arrays[f"{name}/scale"], arrays[f"{name}/zero_point"], arrays.get(f"{name}/learned"))
    codes = arrays.get(f"{name}/codes")
    if codes is None:
        return fitted
    return QuantizedTensor(codes, fitted.scale, fitted.zero_point, spec, fitted.learned, entry.get("length"))
