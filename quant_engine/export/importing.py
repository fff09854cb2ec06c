"""Plans from what other tools wrote: encodings, TensorQuantOverrides, QDQ graphs and saved plans.

`Imported` keeps the file itself. What is not edited is written again as it was: `export_plan` keeps the entries of
parts that are unchanged, and the file byte for byte where all are.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant_engine.checks import as_choice
from quant_engine.errors import QuantError
from quant_engine.export.base import Export, Part, coverage_of, place_all, planned_specs
from quant_engine.export.encodings import AIMET, V1, V2, entries_of, ranges_of
from quant_engine.export.encodings_check import axis_of, layer_nodes, of_weight
from quant_engine.export.import_graph import fitted_of, granularity_of, plan_of_graph
from quant_engine.export.onnx_exporter import ONNX
from quant_engine.export.ort_overrides import ORT_OVERRIDES, override_entries, read_overrides
from quant_engine.export.plan_json import PLAN
from quant_engine.export.table import EXPORTERS
from quant_engine.extras import imported
from quant_engine.granularity import PerTensor
from quant_engine.models import Layer
from quant_engine.models.onnx_graph import LayerNode
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.plan.files import ARRAYS_SUFFIX
from quant_engine.plan.layer_plan import ROLES, stored
from quant_engine.quantizer import Quantizer
from quant_engine.readers import ReaderError
from quant_engine.readers.encodings import ACTIVATIONS, BOTH, PARAMS, Encoding, read_encodings

ENCODINGS = frozenset(exporter.key for exporter in AIMET.values())


@dataclass(frozen=True, eq=False)
class Imported:
    """A plan from a file, what of the file is in it, and the file itself.

    Attributes:
        plan: fitted quantizers with the file's scales.
        unmatched: names in the file that are no weight and no input of a layer, or that no plan can say.
        target: the key of the exporter whose kind of file it is.
        names: the name in the file of each part, where entries have one.
        files: its content, and that of a plan's arrays, by what follows the path in their names.
    """

    plan: QuantizationPlan
    unmatched: tuple[str, ...]
    target: str
    names: Mapping[Part, str]
    files: Mapping[str, bytes]

    def changed(self, network: Network, plan: QuantizationPlan) -> tuple[Part, ...]:
        """Return the weights and inputs for which a plan has another quantizer than the file, to the bit."""
        return _changed(network, network.freeze(self.plan), network.freeze(plan))

    def write(
        self,
        network: Network,
        plan: QuantizationPlan,
        path: str | pathlib.Path,
        overwrite: bool = False,
        as_float: bool = False,
    ) -> Export:
        """Write the file again for an edited plan: as it was where nothing is edited, else with new entries.

        Graphs, and plans, are written anew when they are edited, and plans that were not fitted.

        Raises:
            QuantError: as `Exporter.write`, and for entries that the kind of file cannot express.
        """
        before, frozen, target = network.freeze(self.plan), network.freeze(plan), pathlib.Path(path)
        same = self.plan.frozen and all(before[name].key == frozen[name].key for name in network.layers())
        if not self.files or (not same and self.target in (PLAN.key, ONNX.key)):
            return EXPORTERS[self.target].write(network, plan, target, overwrite, as_float)
        changed = _changed(network, before, frozen)
        files = {pathlib.Path(f"{target}{ending}"): content for ending, content in self.files.items()}
        if changed:
            files[target] = self._edited(network, frozen, changed)
        paths = place_all(files, overwrite)
        written = frozenset(part for part, _, _ in planned_specs(frozen))
        return Export(paths, sum(map(len, files.values())), (), coverage_of(network, frozen, written))

    def _edited(self, network: Network, plan: QuantizationPlan, changed: tuple[Part, ...]) -> bytes:
        """Return the document with the entries of changed parts in their places, new ones at the end."""
        exporter, content = EXPORTERS[self.target], self.files[""]
        said = json.loads(content)
        if self.target in ENCODINGS and not any(isinstance(said.get(key), list) for key in (BOTH, PARAMS)):
            raise QuantError("encodings of version 0.6.1 are not edited; export the plan with to_aimet")
        refused = [found for found in exporter.find(network, plan) if found.severity == "refused"]
        if named := "; ".join(str(found) for found in refused if (found.layer, found.role) in changed):
            raise QuantError(f"{exporter.title} cannot express what was edited: {named}; edit it again")
        nodes, roles = layer_nodes(network), self._entries(network, plan)
        for part in changed:
            ours = nodes[part.layer].key if part.role == "weight" else nodes[part.layer].source
            name, new = self.names.get(part, ours), roles[part.role].get(ours)
            if self.target == ORT_OVERRIDES.key:
                said[name] = new
            else:
                key = BOTH if self.target == AIMET[V2].key else PARAMS if part.role == "weight" else ACTIVATIONS
                said[key] = _with_entry(said.get(key, []), name, new)
        if self.target == ORT_OVERRIDES.key:
            said = {name: entry for name, entry in said.items() if entry is not None}
        return json.dumps(said, indent=_indent(content)).encode()

    def _entries(self, network: Network, plan: QuantizationPlan) -> dict[str, dict[str, Any]]:
        """Return the entries of a plan by role and name."""
        if self.target == ORT_OVERRIDES.key:
            return dict.fromkeys(("activation", "weight"), override_entries(network, plan)[0])
        version = V2 if self.target == AIMET[V2].key else V1
        both = entries_of(ranges_of(network, plan, version), version)
        named = ({entry["name"]: entry for entry in entries} for entries in both)
        return dict(zip(("activation", "weight"), named, strict=True))


def export_plan(
    network: Network,
    plan: QuantizationPlan,
    path: str | pathlib.Path,
    target: str,
    original: Imported | None = None,
    overwrite: bool = False,
    as_float: bool = False,
) -> Export:
    """Write a plan for a target, one of `EXPORTERS`: by the file that it came from, where that is of the target's kind.

    What has not been edited since is then in it byte for byte. Other options as `Exporter.write`.

    Raises:
        QuantError: as `Exporter.write` and `Imported.write`.
    """
    exporter = EXPORTERS[as_choice(target, EXPORTERS, "target")]
    if original is not None and original.target == target:
        return original.write(network, plan, path, overwrite, as_float)
    return exporter.write(network, plan, path, overwrite, as_float)


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
        return Imported(plan, unmatched, ONNX.key, {}, _graph_files(source))
    try:
        content = source.read_bytes()
        said = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise QuantError(f"{path} is no JSON that can be read: {error}; give encodings, overrides or a plan") from error
    if isinstance(said, dict) and {"schema", "layers"} <= set(said):
        return _saved(network, source, content)
    found = read_encodings(source)
    if found is None:
        return _matched(network, read_overrides(source), ORT_OVERRIDES.key, content)
    version = V2 if isinstance(said.get(BOTH), list) else V1
    return _matched(network, found, AIMET[version].key, content)


def _graph_files(path: pathlib.Path) -> dict[str, bytes]:
    """Return a graph's file; nothing where its tensors are in others, whose names it has in it."""
    proto = imported("onnx", "onnx").load(path, load_external_data=False)
    return {} if any(tensor.external_data for tensor in proto.graph.initializer) else {"": path.read_bytes()}


def _saved(network: Network, path: pathlib.Path, content: bytes) -> Imported:
    """Return a saved plan, without the layers that the network does not have."""
    plan, known, beside = QuantizationPlan.load(path), network.layers(), pathlib.Path(f"{path}{ARRAYS_SUFFIX}")
    kept = {name: layer for name, layer in plan.layers.items() if name in known}
    unmatched = tuple(name for name in plan.layers if name not in known)
    files = {"": content} | ({ARRAYS_SUFFIX: beside.read_bytes()} if beside.exists() else {})
    return Imported(QuantizationPlan(kept), unmatched, PLAN.key, {}, files)


def _matched(network: Network, said: Mapping[str, Encoding], target: str, content: bytes) -> Imported:
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
    unmatched = tuple(name for name in said if name not in used)
    return Imported(QuantizationPlan(layers), unmatched, target, names, {"": content})


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


def _changed(network: Network, before: QuantizationPlan, after: QuantizationPlan) -> tuple[Part, ...]:
    """Return the parts for which two frozen plans have different quantizers."""
    parts = (Part(name, role) for name in network.layers() for role in ROLES)
    return tuple(part for part in parts if not _same(before[part.layer], after[part.layer], part))


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
