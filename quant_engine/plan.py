"""Which quantizer each layer of a network gets."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from types import MappingProxyType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance, as_list, validate_boolean
from quant_engine.errors import QuantError
from quant_engine.files import arrays_of, has_metadata, pack, place, stage, staged_for, validate_place, write_file
from quant_engine.inputs import Float32Array, as_float32, raise_non_finite
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec
from quant_engine.records import from_record, parse_json, to_record

ROLES = ("weight", "activation")
VECTORS = {"bias": "output", "input_scale": "input"}  # one value for each of these channels
PARAMETERS = ("scale", "zero_point", "learned")
Planned = QuantizerSpec | Quantizer | QuantizedTensor
Arrays = dict[str, NDArray[Any]]

SCHEMA = 2
OLD_SCHEMA = 1  # its arrays are at path.with_suffix(".safetensors"), without a digest
ARRAYS_SUFFIX = ".arrays.safetensors"
DIGEST = "arrays_sha256"
MARK = "quantization_plan"  # by which arrays are known as a plan's


@final
@dataclass(frozen=True, eq=False)
class LayerPlan:
    """The quantizers of one layer's weight and of its input activation: a spec, a fitted quantizer, or none.

    A weight may also be given as a `QuantizedTensor`, with codes of its own in the view (out, everything else), and a
    bias (out,) that takes the place of the layer's: what methods find that choose codes otherwise than by rounding, or
    that change the weights before they do. `input_scale`, one for each input channel, divides what the layer receives
    before it is quantized: the weight makes up for it, as after SmoothQuant and AWQ. Where a norm gives the input, a
    tool that exports the plan divides the norm's weight instead.

    Static activations (the default) have ranges fixed beforehand, on calibration data. `dynamic` ones stay a spec, and
    their ranges are found on each image alone: `PerTensor()` is then one scale an image, `PerToken()` one a row of the
    last axis of each image's input. Axis 0 of an activation are the images, so a convolution's channels are axis 1.

    Raises:
        QuantError: for what is no quantizer, a format that activations do not take, a fitted activation that should be
            dynamic, and a bias or input scale that is no run of finite (for scales: positive) numbers.
    """

    weight: Planned | None = None
    activation: QuantizerSpec | Quantizer | None = None
    dynamic: bool = False
    bias: Float32Array | None = None
    input_scale: Float32Array | None = None

    def __post_init__(self) -> None:
        """Check the fields, and keep read-only copies of the arrays."""
        for role, kinds in (("weight", Planned), ("activation", QuantizerSpec | Quantizer)):
            value = getattr(self, role)
            if not isinstance(value, kinds | None):
                raise QuantError(f"{role}={value!r} is no QuantizerSpec, Quantizer or None")
        if self.activation is not None:
            spec = self.activation if isinstance(self.activation, QuantizerSpec) else self.activation.spec
            spec.format.validate_activations()
        validate_boolean(self.dynamic, "dynamic")
        if self.dynamic and isinstance(self.activation, Quantizer):
            raise QuantError(
                f"the activation is fitted to {self.activation.scale.shape} blocks, but dynamic=True finds ranges on "
                "each input; give its spec, or dynamic=False"
            )
        for name, channel in VECTORS.items():
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _as_vector(given, name, channel))
        if (
            self.bias is not None
            and isinstance(self.weight, QuantizedTensor)
            and len(self.bias) != len(self.weight.codes)
        ):
            raise QuantError(
                f"bias has shape {self.bias.shape}, the weight codes of {self.weight.shape}; give one value for each "
                "output"
            )
        if self.input_scale is None:
            return
        if (self.input_scale <= 0).any():
            raise QuantError(f"input_scale has {self.input_scale.min():.4g} in it; give positive numbers")
        if isinstance(self.activation, QuantizerSpec) and not self.dynamic:
            raise QuantError(
                "input_scale changes the values that a static activation is fitted to; give a fitted Quantizer, or "
                "dynamic=True"
            )

    @property
    def frozen(self) -> bool:
        """Whether every spec has been fitted (dynamic activations need no fitting)."""
        static = isinstance(self.activation, QuantizerSpec) and not self.dynamic
        return not (static or isinstance(self.weight, QuantizerSpec))

    @cached_property
    def key(self) -> str:
        """What tells plans apart: canonical JSON of both roles, with the digests of all arrays.

        >>> LayerPlan(dynamic=True).key
        '{"activation":null,"bias":null,"dynamic":true,"weight":null}'
        """
        parts: dict[str, Any] = {"dynamic": self.dynamic, "weight": None, "activation": None, "bias": None}
        for role, planned in _roles(self):
            entry, arrays = _stored(planned)
            parts[role] = {**entry, "arrays": {name: _digest_of(array) for name, array in arrays.items()}}
        parts |= {name: _digest_of(array) for name in VECTORS if (array := getattr(self, name)) is not None}
        return json.dumps(parts, sort_keys=True, separators=(",", ":"))


@final
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
            >>> from quant_engine import IntFormat
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
        target, beside = pathlib.Path(path), _beside(path)
        if target.suffix == ".safetensors":
            raise QuantError(f"{target} is a name for arrays; save the plan as {target.with_suffix('.json')}")
        arrays, layers = _stored_layers(self.layers)
        validate_place(target, _is_plan)
        validate_place(beside, has_metadata(MARK))
        content: dict[str, Any] = {"schema": SCHEMA, "layers": layers}
        if not arrays:
            _write_json(target, content)
            beside.unlink(missing_ok=True)
            return
        packed = pack(arrays, {MARK: str(SCHEMA)})
        staged = stage(beside, packed)
        try:
            _write_json(target, {**content, DIGEST: _digest(packed)})
        except QuantError:
            staged.unlink(missing_ok=True)
            raise
        place(staged, beside)  # until then, `load` finds the arrays where they are staged

    @classmethod
    def load(cls, path: str | pathlib.Path) -> QuantizationPlan:
        """Read what `save` wrote, in this version or before.

        Raises:
            QuantError: if a file is not readable, the JSON is not a plan of this schema, or holds anything else, or
                arrays are missing, others than those saved with it, or none of the format's.
        """
        try:
            text = pathlib.Path(path).read_bytes()
        except (OSError, ValueError, TypeError) as error:
            raise QuantError(f"{path} is not readable: {error}") from error
        try:
            return cls(_read_layers(pathlib.Path(path), parse_json(text)))
        except QuantError as error:
            raise QuantError(f"{path} is not a complete quantization plan: {error}") from error


def _as_vector(given: Any, name: str, channel: str) -> Float32Array:
    """Return a read-only copy of one value for each channel."""
    vector = as_float32(given, name).copy()
    if vector.ndim != 1 or not vector.size:
        raise QuantError(f"{name} has shape {vector.shape}; give one value for each {channel} channel")
    if not np.isfinite(vector).all():
        raise_non_finite(vector, name)
    vector.flags.writeable = False
    return vector


def _beside(path: str | pathlib.Path) -> pathlib.Path:
    """Return where a plan's arrays are."""
    return pathlib.Path(f"{path}{ARRAYS_SUFFIX}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_json(target: pathlib.Path, content: dict[str, Any]) -> None:
    write_file(target, json.dumps(content, indent=2).encode(), _is_plan)


def _is_plan(path: pathlib.Path) -> bool:
    content = parse_json(path.read_bytes())
    return isinstance(content, dict) and {"schema", "layers"} <= set(content) <= {"schema", "layers", DIGEST}


def _digest_of(array: np.ndarray[Any, Any]) -> str:
    """Return the digest of an array's type, shape and values."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def _roles(plan: LayerPlan) -> Iterator[tuple[str, Planned]]:
    for role in ROLES:
        if (planned := getattr(plan, role)) is not None:
            yield role, planned


def _stored_layers(plans: Mapping[str, LayerPlan]) -> tuple[Arrays, dict[str, dict[str, Any]]]:
    """Return layers as arrays and as JSON."""
    arrays: Arrays = {}
    layers: dict[str, dict[str, Any]] = {}
    for name, plan in plans.items():
        entry: dict[str, Any] = {"dynamic": plan.dynamic} if plan.dynamic else {}
        for role, planned in _roles(plan):
            entry[role], found = _stored(planned)
            arrays |= {f"{name}/{role}/{part}": array for part, array in found.items()}
        for vector in VECTORS:
            if (array := getattr(plan, vector)) is not None:
                arrays[f"{name}/{vector}"] = np.array(array)
                entry[vector] = True
        layers[name] = entry
    return arrays, layers


def _stored(planned: Planned) -> tuple[dict[str, Any], Arrays]:
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


def _read_layers(source: pathlib.Path, content: Any) -> dict[str, LayerPlan]:
    """Return the layers of a plan's JSON, with the arrays beside it."""
    schema = content.get("schema", SCHEMA) if isinstance(content, dict) else SCHEMA
    if type(schema) is not int or schema not in (OLD_SCHEMA, SCHEMA):
        raise QuantError(f"it has schema {schema}; this version reads {OLD_SCHEMA} and {SCHEMA}")
    whole = _fields(content, "the file", {"schema", "layers"}, {DIGEST} if schema == SCHEMA else set())
    layers = as_instance(whole["layers"], dict, "layers", "give an object with an entry for each layer")
    fitted = [_has_arrays(name, entry) for name, entry in layers.items()]
    if schema == SCHEMA and any(fitted) != (DIGEST in whole):
        raise QuantError(f"{DIGEST}, the digest of the arrays, must be there exactly where something is fitted")
    arrays = _read_arrays(source, whole.get(DIGEST)) if any(fitted) else {}
    plans = {name: _layer(name, entry, arrays) for name, entry in layers.items()}
    if arrays:
        raise QuantError(f"no layer has the arrays {', '.join(sorted(arrays))}")
    return plans


def _fields(entry: Any, what: str, needed: set[str], possible: set[str]) -> dict[str, Any]:
    """Return an object of the JSON that has all fields needed, and no field that is not possible."""
    found = as_instance(entry, dict, what, f"give an object with {', '.join(sorted(needed | possible))}")
    for problem, names in (("lacks", needed - set(found)), ("has the unknown", set(found) - needed - possible)):
        if names:
            known = ", ".join(sorted(needed | possible))
            raise QuantError(f"{what} {problem} {', '.join(sorted(map(repr, names)))}; its fields are {known}")
    return found


def _has_arrays(name: str, entry: Any) -> bool:
    """Check a layer's fields, and return whether it has arrays."""
    found = _fields(entry, f"layer {name!r}", set(), {*ROLES, "dynamic", *VECTORS})
    flags = {f"{name}/{vector}": found.get(vector, False) for vector in VECTORS}
    for role in ROLES:
        if role in found:
            part = _fields(found[role], f"{name}/{role}", {"spec", "fitted"}, {"length"})
            flags[f"{name}/{role}/fitted"] = part["fitted"]
    for flag, value in flags.items():
        validate_boolean(value, flag)
    return any(flags.values())


def _read_arrays(source: pathlib.Path, digest: str | None) -> Arrays:
    """Return the arrays that belong to a plan: without a digest, those of the old schema."""
    beside = source.with_suffix(".safetensors") if digest is None else _beside(source)
    try:
        content = beside.read_bytes() if beside.exists() else b""
        if digest is None or _digest(content) == digest:
            return arrays_of(content, beside)
        for staged in staged_for(beside):
            if _digest(content := staged.read_bytes()) == digest:
                return arrays_of(content, staged)
    except (OSError, QuantError) as error:
        raise QuantError(f"its fitted arrays are not readable beside it: {error}") from error
    raise QuantError(
        f"its fitted arrays are not readable beside it: {beside} is missing, or not the file that was saved with the "
        "plan; copy both together, or save the plan again"
    )


def _layer(name: str, entry: dict[str, Any], arrays: Arrays) -> LayerPlan:
    """Return a layer's plan, taking its arrays out of those that are there."""
    vectors: dict[str, Any] = {vector: _taken(arrays, f"{name}/{vector}") for vector in VECTORS if entry.get(vector)}
    try:
        parts = {role: _restored(entry[role], arrays, f"{name}/{role}") for role in ROLES if role in entry}
        return LayerPlan(**parts, dynamic=entry.get("dynamic", False), **vectors)
    except QuantError as error:
        raise QuantError(f"layer {name!r}: {error}") from error


def _restored(entry: dict[str, Any], arrays: Arrays, name: str) -> Any:
    """Return a part of a plan as it was stored; `LayerPlan` checks that it may stand there."""
    spec = from_record(entry["spec"])
    if not isinstance(spec, QuantizerSpec):
        raise QuantError(f"{name} holds a {type(spec).__name__}; a plan takes a QuantizerSpec")
    codes = arrays.pop(f"{name}/codes", None) if entry["fitted"] else None
    if "length" in entry and codes is None:
        raise QuantError(f"{name} has the length {entry['length']!r}, but no codes that it could be of")
    if not entry["fitted"]:
        return spec
    fitted = Quantizer(
        spec,
        _taken(arrays, f"{name}/scale"),
        _taken(arrays, f"{name}/zero_point"),
        arrays.pop(f"{name}/learned", None),
    )
    if codes is None:
        return fitted
    return QuantizedTensor(codes, fitted.scale, fitted.zero_point, spec, fitted.learned, entry.get("length"))


def _taken(arrays: Arrays, key: str) -> NDArray[Any]:
    if key not in arrays:
        raise QuantError(f"the array {key} is missing")
    return arrays.pop(key)
