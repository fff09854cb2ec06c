"""Plans from what other tools wrote: encodings, TensorQuantOverrides, QDQ graphs and saved plans.

What is not edited is written again as it was: `Imported.write` keeps the entries of parts that are unchanged, and the
file byte for byte where all are.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.export.base import Part, place_all
from quant_engine.export.encodings import V1, V2, entries_of, find_encodings, ranges_of
from quant_engine.export.encodings_check import axis_of, layer_nodes, of_weight
from quant_engine.export.import_graph import fitted_of, granularity_of, plan_of_graph
from quant_engine.export.ort_overrides import read_overrides
from quant_engine.granularity import PerTensor
from quant_engine.models import Layer
from quant_engine.models.onnx_graph import LayerNode
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.plan.layer_plan import stored
from quant_engine.quantizer import Quantizer
from quant_engine.readers import ReaderError
from quant_engine.readers.encodings import ACTIVATIONS, BOTH, PARAMS, Encoding, read_encodings

ENCODINGS, OVERRIDES, PLAN_FILE, GRAPH = "encodings", "overrides", "plan", "graph"


@dataclass(frozen=True, eq=False)
class Imported:
    """A plan from a file, what of the file is in it, and the file itself.

    Attributes:
        plan: fitted quantizers with the file's scales.
        unmatched: names in the file that are no weight and no input of a layer, or that no plan can say.
        kind: "encodings", "overrides", "graph" or "plan".
        names: the name in the file of each part.
    """

    plan: QuantizationPlan
    unmatched: tuple[str, ...]
    kind: str
    names: Mapping[Part, str]
    content: bytes

    def write(
        self, network: Network, plan: QuantizationPlan, path: str | pathlib.Path, overwrite: bool = False
    ) -> tuple[Part, ...]:
        """Write encodings again for an edited plan, and return the parts whose entries are new.

        Raises:
            QuantError: for other kinds of files, and where a file is in the way.
        """
        if self.kind != ENCODINGS:
            raise QuantError(f"{self.kind} are not written again entry by entry; give EXPORTERS the plan")
        frozen = network.freeze(plan)
        changed = tuple(part for part in _parts(network) if not _same(self.plan[part.layer], frozen[part.layer], part))
        content = self.content if not changed else self._edited(network, frozen, changed)
        place_all({pathlib.Path(path): content}, overwrite)
        return changed

    def _edited(self, network: Network, plan: QuantizationPlan, changed: tuple[Part, ...]) -> bytes:
        """Return the document with the entries of changed parts in their places, new ones at the end."""
        said = json.loads(self.content)
        version = V2 if isinstance(said.get(BOTH), list) else V1
        if not any(isinstance(said.get(key), list) for key in (BOTH, PARAMS)):
            raise QuantError("encodings of version 0.6.1 are not edited; export the plan with to_aimet")
        refused = [
            str(found)
            for found in find_encodings(network, plan, version)
            if found.severity == "refused" and (found.layer, found.role) in changed
        ]
        if refused:
            raise QuantError(f"encodings {version} cannot express what was edited: {'; '.join(refused)}; edit it again")
        roles = dict(zip(("activation", "weight"), entries_of(ranges_of(network, plan, version), version), strict=True))
        nodes = layer_nodes(network)
        for part in changed:
            node = nodes[part.layer]
            name = self.names.get(part, node.key if part.role == "weight" else node.source)
            ours = node.key if part.role == "weight" else node.source
            new = next((entry for entry in roles[part.role] if entry["name"] == ours), None)
            key = BOTH if version == V2 else PARAMS if part.role == "weight" else ACTIVATIONS
            said[key] = _with_entry(said.get(key, []), name, new)
        return json.dumps(said, indent=_indent(self.content)).encode()


def import_plan(network: Network, path: str | pathlib.Path) -> Imported:
    """Return the plan that encodings, TensorQuantOverrides, a QDQ graph or a saved plan has for a network.

    Scales, zero points and a graph's codes are the file's, to the bit. Names are those of the network's ONNX graph, or
    of its tensors.

    Raises:
        QuantError: for a file of another kind, and scales that do not fit a weight.

    Example:
        >>> import tempfile
        >>> from quant_engine import IntFormat, PerChannel, QuantizerSpec
        >>> from quant_engine.export import to_aimet
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> plan = QuantizationPlan({"fc2": LayerPlan(QuantizerSpec(IntFormat(8), PerChannel()))})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "cnn.encodings"
        ...     export = to_aimet(network, plan, path)
        ...     found = import_plan(network, path)
        >>> found.plan["fc2"].weight.spec.format, found.unmatched
        (IntFormat(bits=8, signed=True, narrow=False), ())
    """
    source = pathlib.Path(path)
    if source.suffix == ".onnx":
        plan, unmatched = plan_of_graph(network, source)
        return Imported(plan, unmatched, GRAPH, {}, b"")
    try:
        content = source.read_bytes()
        said = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise QuantError(f"{path} is no JSON that can be read: {error}; give encodings, overrides or a plan") from error
    if isinstance(said, dict) and {"schema", "layers"} <= set(said):
        return _saved(network, source, content)
    found = read_encodings(source)
    kind = OVERRIDES if found is None else ENCODINGS
    return _matched(network, read_overrides(source) if found is None else found, kind, content)


def _saved(network: Network, path: pathlib.Path, content: bytes) -> Imported:
    """Return a saved plan, without the layers that the network does not have."""
    plan, known = QuantizationPlan.load(path), network.layers()
    kept = {name: layer for name, layer in plan.layers.items() if name in known}
    return Imported(
        QuantizationPlan(kept), tuple(name for name in plan.layers if name not in known), PLAN_FILE, {}, content
    )


def _matched(network: Network, said: Mapping[str, Encoding], kind: str, content: bytes) -> Imported:
    names: dict[Part, str] = {}
    layers: dict[str, LayerPlan] = {}
    for name, node in layer_nodes(network).items():
        layer, given = network.layers()[name], dict[str, Quantizer]()
        for role, possible in (("weight", (node.key, layer.tensor)), ("activation", (node.source,))):
            key = next((one for one in possible if one in said), None)
            fitted = None if key is None else _quantizer(said[key], layer, node, role)
            if key is not None and fitted is not None:
                given[role], names[Part(name, role)] = fitted, key
        if given:
            layers[name] = LayerPlan(given.get("weight"), given.get("activation"))
    used = set(names.values())
    return Imported(QuantizationPlan(layers), tuple(name for name in said if name not in used), kind, names, content)


def _quantizer(encoding: Encoding, layer: Layer, node: LayerNode, role: str) -> Quantizer | None:
    """Return what an entry says as a fitted quantizer; None for what no plan says, such as 32 bits."""
    bits = int(encoding.codes.removeprefix("u").removeprefix("int"))
    if not 2 <= bits <= 16:
        return None
    if role == "activation":
        grid = (1,) * (1 + len(layer.input_shape))
        if encoding.scale.size != 1 or layer.op == "embedding":
            return None
        return fitted_of(
            encoding.codes, bits, PerTensor(), encoding.scale.reshape(grid), encoding.zero_point.reshape(grid)
        )
    try:
        found = of_weight(encoding, layer.shape, axis_of(node))
    except ReaderError as error:
        raise QuantError(f"the weight of layer {layer.name!r}: {error}") from error
    granularity = granularity_of(found, layer)
    if granularity is None or found.scale is None:
        return None
    grid = granularity.blocks(layer.matrix_shape).grid
    zero = np.zeros(grid, np.int32) if found.zero_point is None else found.zero_point.reshape(grid)
    return fitted_of(encoding.codes, bits, granularity, found.scale.reshape(grid), zero)


def _parts(network: Network) -> list[Part]:
    return [Part(name, role) for name in network.layers() for role in ("weight", "activation")]


def _same(one: LayerPlan, other: LayerPlan, part: Part) -> bool:
    """Return whether two plans have the same quantizer for a part, to the bit."""
    before, after = getattr(one, part.role), getattr(other, part.role)
    if before is None or after is None:
        return before is after
    (entry, arrays), (other_entry, others) = stored(before), stored(after)
    same = entry == other_entry and arrays.keys() == others.keys()
    return same and all(np.array_equal(arrays[key], others[key]) for key in arrays)


def _with_entry(entries: list[Any], name: str, new: Mapping[str, Any] | None) -> list[Any]:
    """Return a list in which an entry is another one, gone, or added."""
    said = None if new is None else {**new, "name": name}
    if all(entry["name"] != name for entry in entries):
        return entries if said is None else [*entries, said]
    changed = (said if entry["name"] == name else entry for entry in entries)
    return [entry for entry in changed if entry is not None]


def _indent(content: bytes) -> int | None:
    """Return how far the first line within a document is indented."""
    lines = content.decode().split("\n")
    return len(lines[1]) - len(lines[1].lstrip(" ")) if len(lines) > 1 else None
