"""Keys and values of attention as a cache stores them: quantized with one scale a tensor, a channel or a token.

Z. Liu et al., KIVI (2024), store keys with one scale a channel and values with one scale a token, since a few channels
of the keys are large for every token. Two things differ here. Keys are those that the projection gives, before any
rotary embedding (which turns pairs of channels by an angle that grows with the token's place); and a scale holds for
all tokens of a text, where KIVI has a new one every 32 tokens and leaves the last 128 in floating point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_engine.batches import split_batch
from quant_engine.checks import as_choice, as_integer
from quant_engine.errors import QuantError
from quant_engine.execution import LayerChange, Override, as_tensors
from quant_engine.execution.executor import ReachedError
from quant_engine.formats import IntFormat
from quant_engine.granularity import PerChannel, PerSample, PerTensor, PerToken
from quant_engine.inputs import Float32Array
from quant_engine.models import Layer
from quant_engine.network import Network
from quant_engine.quantizer import QuantizerSpec, fake_quantize, measure
from quant_engine.tasks import Score

if TYPE_CHECKING:
    from torch import Tensor

KEYS, VALUES = ("k_proj", "key", "k"), ("v_proj", "value", "v")  # how the layers are called that give them
FUSED = ("c_attn", "qkv_proj", "qkv")  # and those that give queries, keys and values, one after the other
SHARES: dict[str, tuple[PerSample, PerSample]] = {  # which values share a scale, of keys and of values
    "tensor": (PerSample(PerTensor()), PerSample(PerTensor())),
    "channel": (PerSample(PerChannel(-1)), PerSample(PerChannel(-1))),
    "token": (PerSample(PerToken()), PerSample(PerToken())),
    "kivi": (PerSample(PerChannel(-1)), PerSample(PerToken())),
}
Entry = tuple[Any, "tuple[int, Tensor] | None"]  # a batch, and a stage's number with what it receives
STORED_BITS = 64  # beside the codes of a block: its scale and its lowest value, in float32


@dataclass(frozen=True)
class Projection:
    """The channels `start` to `stop` of what a layer gives."""

    layer: str
    start: int
    stop: int

    @property
    def channels(self) -> slice:
        """Where they are."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class AttentionBlock:
    """The attention of one block: what gives its keys and its values, and the layer that receives its result."""

    name: str
    key: Projection
    value: Projection
    output: str


@dataclass(frozen=True)
class CacheError:
    """How much of a block's attention survives, as ratios of signal to noise in decibels.

    Attributes:
        key_db: of the keys.
        value_db: of the values.
        output_db: of softmax(QKᵀ/√d)V, as the output projection receives it, with both quantized in this block alone.
        bits_per_value: what a value takes, scales and lowest values counted.
    """

    key_db: float
    value_db: float
    output_db: float
    bits_per_value: float


def attention_blocks(network: Network) -> tuple[AttentionBlock, ...]:
    """Return the attention of every block that has one, in order, by the names of its layers.

    Raises:
        QuantError: where no layer gives keys and values under a name that is known.
    """
    layers, found = network.layers(), []
    order = list(layers)
    for name, layer in layers.items():
        parent, _, own = name.rpartition(".")
        pair = _fused(layer) if own in FUSED else _pair(layers, parent, own, layer)
        if pair is None:
            continue
        last = max(order.index(part.layer) for part in pair)
        if last + 1 < len(order):
            found.append(AttentionBlock(parent, *pair, order[last + 1]))
    if not found:
        names = ", ".join((*KEYS, *VALUES, *FUSED))
        raise QuantError(f"{network.name} has no layers for keys and values that are known; such are called {names}")
    return tuple(found)


def keys_and_values(network: Network, inputs: Any, block: AttentionBlock) -> tuple[Float32Array, Float32Array]:
    """Return what gives keys and values has given for inputs, (samples, tokens, channels) each."""
    return _projected(network, block, _entries(network, inputs, block))


def cache_errors(network: Network, inputs: Any, block: AttentionBlock, bits: int) -> dict[str, CacheError]:
    """Return what every way of sharing scales does to a block's attention on inputs.

    Example:
        >>> import torch
        >>> from quant_engine.network import from_module
        >>> class Block(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.q, self.k, self.v, self.o = (torch.nn.Linear(8, 8) for _ in "qkvo")
        ...     def forward(self, x):
        ...         return self.o(torch.nn.functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)))
        >>> x = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0))
        >>> network = from_module(Block(), example=x)
        >>> [block] = attention_blocks(network)
        >>> list(cache_errors(network, x.numpy(), block, 8))
        ['tensor', 'channel', 'token', 'kivi']
    """
    import torch

    entries = _entries(network, inputs, block)
    keys, values = _projected(network, block, entries)

    def output(changes: Mapping[str, LayerChange]) -> Float32Array:
        overrides = {name: change.override(name) for name, change in changes.items()}
        with torch.inference_mode():
            found = [network.executor.capture(x, [block.output], overrides, start) for x, start in entries]
        return np.asarray(torch.cat([part[block.output] for part in found]).numpy())

    plain, found = output({}), {}
    for share, granularities in SHARES.items():
        parts = list(zip((keys, values), granularities, strict=True))
        key_db, value_db = (measure(part, quantize_cache(part, bits, of)).sqnr_db for part, of in parts)
        scales = sum(of.blocks(part.shape).count for part, of in parts)
        stored = bits + STORED_BITS * scales / (keys.size + values.size)
        output_db = measure(plain, output(cache_changes([block], share, bits))).sqnr_db
        found[share] = CacheError(key_db, value_db, output_db, stored)
    return found


def quantize_cache(x: Float32Array, bits: int, shared: PerSample) -> Float32Array:
    """Return keys or values (samples, tokens, channels) as a cache gives them back.

    In each block Q = rint((x − z)/s) with z = min x and s = (max x − min x)/(2ᵇ − 1), and x̂ = s·Q + z, as in KIVI.
    """
    spec = QuantizerSpec(IntFormat(as_integer(bits, "bits", 2, 8), signed=False), shared)
    grid = shared.blocks(x.shape)
    axes = tuple(axis for axis, size in enumerate(grid.block) if size > 1)
    lowest = x.min(axis=axes, keepdims=True) if axes else x
    return np.asarray(fake_quantize(x - lowest, spec) + lowest, np.float32)


def cache_changes(blocks: Sequence[AttentionBlock], share: str, bits: int) -> dict[str, LayerChange]:
    """Return what quantizes keys and values of blocks while the network runs."""
    as_choice(share, list(SHARES), "share")
    parts: dict[str, list[tuple[Projection, PerSample]]] = {}
    for block in blocks:
        for part, shared in zip((block.key, block.value), SHARES[share], strict=True):
            parts.setdefault(part.layer, []).append((part, shared))
    return {
        name: LayerChange(f"cache {share} {bits}", quantize_output=partial(_quantize_parts, parts=found, bits=bits))
        for name, found in parts.items()
    }


def cache_scores(network: Network, bits: int, split: str = "test") -> Iterator[tuple[str, dict[str, Score]]]:
    """Yield what the task measures with the keys and values of all blocks quantized, for every way of sharing scales.

    Raises:
        QuantError: as `attention_blocks` and `Network.scores`.
    """
    blocks = attention_blocks(network)
    for share in SHARES:
        results = network.changed_results(cache_changes(blocks, share, bits), split)
        yield share, network.given_task.scores(results)


def _pair(layers: Mapping[str, Layer], parent: str, own: str, layer: Layer) -> tuple[Projection, Projection] | None:
    """Return keys and values where a layer gives the keys and one beside it the values."""
    if own not in KEYS:
        return None
    value = f"{parent}.{VALUES[KEYS.index(own)]}".removeprefix(".")
    if value not in layers:
        return None
    return Projection(layer.name, 0, layer.shape[0]), Projection(value, 0, layers[value].shape[0])


def _fused(layer: Layer) -> tuple[Projection, Projection] | None:
    """Return keys and values of a layer that gives queries, keys and values, as many channels of each."""
    outputs, inputs = layer.matrix_shape
    if outputs != 3 * inputs:
        return None  # fewer heads of keys than of queries, and nothing here says how many
    return Projection(layer.name, inputs, 2 * inputs), Projection(layer.name, 2 * inputs, outputs)


def _entries(network: Network, inputs: Any, block: AttentionBlock) -> list[Entry]:
    """Return batches, and where the stage begins that holds a block with what it receives of each, if it is in one."""
    import torch

    batches = [as_tensors(batch) for batch in split_batch(network.model.as_inputs(inputs))]
    stages = network.executor.trace.stages
    own = next((i for i, stage in enumerate(stages) if stage.before and block.key.layer in stage.layers), None)
    if own is None:
        return [(batch, None) for batch in batches]
    with torch.inference_mode():
        return [(batch, (own, network.executor.run(batch, stop=own))) for batch in batches]


def _projected(network: Network, block: AttentionBlock, entries: Sequence[Entry]) -> tuple[Float32Array, Float32Array]:
    """Return keys and values, (samples, tokens, channels) each."""
    import torch

    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    wanted = {block.key.layer, block.value.layer}
    with torch.inference_mode():
        for batch, start in entries:
            seen: dict[str, Tensor] = {}
            overrides = {name: Override(output=partial(_see, name, seen, wanted)) for name in wanted}
            network.executor.run(batch, overrides, start=start)
            for place, part in zip(parts, (block.key, block.value), strict=True):
                place.append(seen[part.layer][..., part.channels].clone())
        keys, values = (np.asarray(torch.cat(part).numpy()) for part in parts)
    return keys, values


def _see(name: str, seen: dict[str, Tensor], wanted: set[str], given: Tensor) -> Tensor:
    """Keep what a layer gives; the run ends when all is seen that is wanted."""
    seen[name] = given
    if wanted <= seen.keys():
        raise ReachedError(given)
    return given


def _quantize_parts(given: Float32Array, parts: Sequence[tuple[Projection, PerSample]], bits: int) -> Float32Array:
    found = given.copy()
    for part, shared in parts:
        found[..., part.channels] = quantize_cache(given[..., part.channels], bits, shared)
    return found
