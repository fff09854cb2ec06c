"""The types of a plan for llama-quantize: a file of `regex=type` lines for --tensor-type-file, and the command.

llama-quantize finds scales by itself, and it alone writes K- and I-quants: of the types that a row takes, each weight
gets the one whose bits a weight, everything counted, are nearest to the plan's. Types that need an importance matrix
are left out. Layers that are not planned are kept in 16 bits. The first line that matches a tensor's name counts.
"""

from __future__ import annotations

import pathlib
import re
import shlex
from collections.abc import Iterator

from quant_engine.export.base import Comparison, Contents, Exporter, Finding, Part, Verification, planned_specs
from quant_engine.export.gguf_blocks import FLOATS
from quant_engine.export.gguf_source import EXTRA, source_of
from quant_engine.export.sources import config_of
from quant_engine.extras import imported
from quant_engine.formats import BlockFormat
from quant_engine.inputs import Inputs
from quant_engine.models import Layer
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import QuantizerSpec

TYPES = (  # of equal size the first; without those that need an importance matrix, or are for ternary models
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ3_XXS", "IQ3_S", "IQ4_XS", "IQ4_NL"),
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "F16", "F32"),
)
UNPLANNED, BASE = "F16", "Q8_0"
FLAGS = {"token_embd.weight": "--token-embedding-type", "output.weight": "--output-tensor-type"}
COMMAND_ENDING = ".sh"


def nearest_type(spec: QuantizerSpec, shape: tuple[int, int]) -> str:
    """Return the type whose bits a weight are nearest to those of a spec, of blocks that divide a row.

    Example:
        >>> from quant_engine import IntFormat, PerGroup
        >>> nearest_type(QuantizerSpec(IntFormat(4), PerGroup(64)), (576, 1536))
        'Q4_K'
    """
    gguf = imported("gguf", EXTRA)
    if isinstance(spec.format, BlockFormat) and shape[1] % spec.format.block == 0:
        return spec.format.name
    wanted, found = spec.storage(shape).bits_per_value, {}
    for name in TYPES:
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        if shape[1] % block == 0:
            found[name] = abs(8 * size / block - wanted)
    return min(found, key=lambda name: found[name])


def find_types(network: Network, plan: QuantizationPlan) -> Iterator[Finding]:
    """Yield the type that each weight gets, and what llama-quantize does not take."""
    layers, names = network.layers(), tensor_names(network)
    for part, spec, layer in planned_specs(plan):
        info = layers[part.layer]
        if part.role == "activation":
            text = "llama.cpp quantizes inputs by itself, in blocks, as it runs: what the plan says is left out"
            yield Finding("changed", text, info.name, "activation")
            continue
        if layer.input_scale is not None:
            yield Finding("refused", "its input is divided by a scale for each channel", info.name, "weight")
        kind = nearest_type(spec, info.matrix_shape)
        scales = "" if kind in FLOATS.values() else ", with scales of its own"
        yield Finding("changed", f"llama-quantize makes it {kind}{scales}", info.name, "weight")
    if not names:
        text = "llama.cpp's names of its tensors are not known: the lines have the names of this network"
        yield Finding("warning", text)


def tensor_names(network: Network) -> dict[str, str]:
    """Return llama.cpp's name of each layer's weight; nothing where gguf knows no such architecture."""
    source, layers = source_of(network), network.layers()
    if source is not None:
        found = {name: source.name_of(info.tied_to or name) for name, info in layers.items()}
        return {name: tensor for name, tensor in found.items() if tensor is not None}
    gguf, config = imported("gguf", EXTRA), config_of(network)
    kinds = [kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == config.get("model_type")]
    if not kinds:
        return {}
    known = gguf.get_tensor_name_map(kinds[0], int(config.get("num_hidden_layers", 0)))
    named = {name: known.get_name(info.tied_to or name) for name, info in layers.items()}
    return {name: f"{stem}.weight" for name, stem in named.items() if stem is not None}


def make_types(network: Network, plan: QuantizationPlan, path: pathlib.Path) -> Contents:
    """Return the lines, and the command that uses them."""
    layers, lines, flags = network.layers(), dict[str, str](), list[str]()
    for tensor, kind in _types(network, plan).items():
        lines[f"^{_pattern(tensor)}$"] = kind.lower()
        if tensor in FLAGS:
            flags.append(f"{FLAGS[tensor]} {kind.lower()}")
    command = [
        "llama-quantize",
        f"--tensor-type-file {shlex.quote(path.name)}",
        *flags,
        "model-f16.gguf",
        "model-plan.gguf",
        BASE,
    ]
    written = frozenset(
        Part(name, "weight") for name, layer in plan.layers.items() if layer.weight is not None and name in layers
    )
    text = "".join(f"{pattern}={kind}\n" for pattern, kind in lines.items())
    return Contents(
        {path: text.encode(), path.with_suffix(COMMAND_ENDING): (" ".join(command) + "\n").encode()}, written
    )


def _pattern(tensor: str) -> str:
    """Return what matches a tensor's name, in one word: a line of the file ends at any space."""
    return re.sub(r"\\?\s", r"\\s", re.escape(tensor))


def _types(network: Network, plan: QuantizationPlan) -> dict[str, str]:
    """Return the type of each tensor that is a layer's weight."""
    names = tensor_names(network)
    found: dict[str, str] = {}
    for name, info in network.layers().items():
        tensor = names.get(name, f"{info.tied_to or name}.weight")
        found.setdefault(tensor, _type_of(info, plan))
    return found


def _type_of(info: Layer, plan: QuantizationPlan) -> str:
    weight = plan[info.name].weight
    if weight is None or plan[info.name].input_scale is not None:
        return UNPLANNED
    return nearest_type(weight if isinstance(weight, QuantizerSpec) else weight.spec, info.matrix_shape)


def compare_types(network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None) -> Verification:
    """Return whether the first line that matches a tensor's name gives it its type, as llama-quantize reads them."""
    rules = [line.rsplit("=", 1) for line in path.read_text("utf-8").split()]
    wanted = _types(network, plan)
    read = {tensor: next((kind for pattern, kind in rules if re.search(pattern, tensor)), None) for tensor in wanted}
    same = read == {tensor: kind.lower() for tensor, kind in wanted.items()}
    comparison = Comparison("types", exact=None if same else False)  # there are no codes
    return Verification("regex=type, first match", (comparison,))


GGUF_TYPES = Exporter(
    "gguf-types", "llama-quantize --tensor-type-file", ".txt", find_types, make_types, compare_types, EXTRA
)
