"""Bits a weight as tools count them: of one plan there are several numbers, by what is counted."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from dataclasses import dataclass

from quant_engine.extras import imported
from quant_engine.formats import FP32
from quant_engine.models import Layer, ties
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec

GGUF_ENDING = ".gguf"


@dataclass(frozen=True)
class BitCount:
    """What is counted of a plan or its files, and for how many values.

    Attributes:
        key: "codes", "plan", "files" or "llama_cpp".
        bits: all that is counted.
        values: among how many they are shared out.
    """

    key: str
    bits: int
    values: int

    @property
    def bits_per_weight(self) -> float:
        """What is counted, divided by the number of values."""
        return self.bits / self.values


def bit_counts(
    network: Network, plan: QuantizationPlan, paths: Iterable[str | pathlib.Path] = ()
) -> tuple[BitCount, ...]:
    """Return the bits a weight of a plan, and of the files that an exporter wrote of it, in each way of counting.

    - "codes": the formats' bits alone, as ModelOpt's effective_bits leaves scales out.
    - "plan": codes, scales, zero points and codebooks of the layers' weights, as `footprint`.
    - "files": all bytes of the files, biases, graph and metadata included, for each weight of a layer.
    - "llama_cpp": of a GGUF the data of all tensors, norms included, for each of their values: its "BPW".

    Weights that layers share are counted once; what is not planned has 32 bits.

    Raises:
        QuantError: for blocks that do not fit a weight, and where the package that reads a GGUF is not installed.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan, PerGroup
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> spec = QuantizerSpec(IntFormat(4), PerGroup(32, remainder="short"))
        >>> plan = QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(spec)))
        >>> [(one.key, round(one.bits_per_weight, 2)) for one in bit_counts(network, plan)]
        [('codes', 4.0), ('plan', 5.01)]
    """
    layers, files = network.layers(), [pathlib.Path(path) for path in paths]
    owners = [layers[name] for name in ties(layers)]
    weights, stored = sum(info.parameters for info in owners), [_stored(info, plan[info.name]) for info in owners]
    codes, everything = (sum(bits) for bits in zip(*stored, strict=True))
    found = [BitCount("codes", codes, weights), BitCount("plan", everything, weights)]
    if files:
        found.append(BitCount("files", 8 * sum(path.stat().st_size for path in files), weights))
    return (*found, *(_llama_cpp(path) for path in files if path.suffix == GGUF_ENDING))


def _stored(info: Layer, plan: LayerPlan) -> tuple[int, int]:
    """Return the bits of a weight's codes alone, and of everything that is stored of it in whole bytes."""
    if plan.weight is None:
        return FP32.bits * info.parameters, FP32.bits * info.parameters
    spec = plan.weight if isinstance(plan.weight, QuantizerSpec) else plan.weight.spec
    found = spec.storage(info.matrix_shape)
    return found.code_bits, 8 * found.size_bytes


def _llama_cpp(path: pathlib.Path) -> BitCount:
    """Return the bytes and values of all tensors of a file, as llama-model-loader.cpp adds them up."""
    tensors = imported("gguf", "gguf").GGUFReader(path).tensors
    return BitCount("llama_cpp", 8 * sum(int(t.n_bytes) for t in tensors), sum(int(t.n_elements) for t in tensors))
