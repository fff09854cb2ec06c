"""A plan as files: JSON, and the arrays of what is fitted beside it, which are known by their digest."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance, validate_boolean
from quant_engine.errors import QuantError
from quant_engine.files import arrays_of, has_metadata, pack, place, stage, staged_for, validate_place, write_file
from quant_engine.plan.layer_plan import ROLES, VECTORS, Arrays, LayerPlan, roles, stored
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec
from quant_engine.records import from_record, parse_json

SCHEMA = 2
OLD_SCHEMA = 1  # its arrays are at path.with_suffix(".safetensors"), without a digest
ARRAYS_SUFFIX = ".arrays.safetensors"
DIGEST = "arrays_sha256"
MARK = "quantization_plan"  # by which arrays are known as a plan's


def write_layers(path: str | pathlib.Path, layers: Mapping[str, LayerPlan]) -> None:
    """Write layers as `QuantizationPlan.save` says."""
    target, beside = pathlib.Path(path), _beside(path)
    files = plan_files(path, layers)
    validate_place(target, _is_plan)
    validate_place(beside, has_metadata(MARK))
    if beside not in files:
        write_file(target, files[target], _is_plan)
        beside.unlink(missing_ok=True)
        return
    staged = stage(beside, files[beside])
    try:
        write_file(target, files[target], _is_plan)
    except QuantError:
        staged.unlink(missing_ok=True)
        raise
    place(staged, beside)  # until then, `load` finds the arrays where they are staged


def plan_files(path: str | pathlib.Path, layers: Mapping[str, LayerPlan]) -> dict[pathlib.Path, bytes]:
    """Return what a plan is written as: the JSON at `path` and, where something is fitted, its arrays beside it.

    Raises:
        QuantError: if the path is that of arrays.
    """
    target = pathlib.Path(path)
    if target.suffix == ".safetensors":
        raise QuantError(f"{target} is a name for arrays; save the plan as {target.with_suffix('.json')}")
    arrays, entries = _stored_layers(layers)
    content: dict[str, Any] = {"schema": SCHEMA, "layers": entries}
    if not arrays:
        return {target: _json(content)}
    packed = pack(arrays, {MARK: str(SCHEMA)})
    return {target: _json({**content, DIGEST: _digest(packed)}), _beside(path): packed}


def read_layers(path: str | pathlib.Path) -> dict[str, LayerPlan]:
    """Read layers as `QuantizationPlan.load` says."""
    try:
        text = pathlib.Path(path).read_bytes()
    except (OSError, ValueError, TypeError) as error:
        raise QuantError(f"{path} is not readable: {error}") from error
    try:
        return _read_layers(pathlib.Path(path), parse_json(text))
    except QuantError as error:
        raise QuantError(f"{path} is not a complete quantization plan: {error}") from error


def _beside(path: str | pathlib.Path) -> pathlib.Path:
    """Return where a plan's arrays are."""
    return pathlib.Path(f"{path}{ARRAYS_SUFFIX}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode()


def _is_plan(path: pathlib.Path) -> bool:
    content = parse_json(path.read_bytes())
    return isinstance(content, dict) and {"schema", "layers"} <= set(content) <= {"schema", "layers", DIGEST}


def _stored_layers(plans: Mapping[str, LayerPlan]) -> tuple[Arrays, dict[str, dict[str, Any]]]:
    """Return layers as arrays and as JSON."""
    arrays: Arrays = {}
    layers: dict[str, dict[str, Any]] = {}
    for name, plan in plans.items():
        entry: dict[str, Any] = {"dynamic": plan.dynamic} if plan.dynamic else {}
        for role, planned in roles(plan):
            entry[role], found = stored(planned)
            arrays |= {f"{name}/{role}/{part}": array for part, array in found.items()}
        for vector in VECTORS:
            if (array := getattr(plan, vector)) is not None:
                arrays[f"{name}/{vector}"] = np.array(array)
                entry[vector] = True
        layers[name] = entry
    return arrays, layers


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
