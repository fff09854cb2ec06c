"""The channels of a transformer's residual stream, followed from block to block: the largest |activation| of each.

A few channels that are large in every block are what makes activations of language models hard to quantize with one
scale (T. Dettmers et al., LLM.int8(), 2022, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import split_batch
from quant_engine.errors import QuantError
from quant_engine.execution import as_tensors
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.network import Network

if TYPE_CHECKING:
    from torch import Tensor

LARGE = 10.0  # times the median channel of the block: such a channel stands out


@dataclass(frozen=True, eq=False)
class ResidualStream:
    """What each block receives, channel by channel.

    Attributes:
        blocks: their names.
        largest: max |x| over samples and tokens, (blocks, channels).
        tokens: place of the token at which a channel is largest, (blocks, channels).
    """

    blocks: tuple[str, ...]
    largest: Float32Array
    tokens: NDArray[np.int64]

    @property
    def ratios(self) -> Float64Array:
        """Max |x| of a channel over the median of all channels of the block; 0 where that median is 0."""
        median = np.median(self.largest.astype(np.float64), axis=1, keepdims=True)
        return np.divide(self.largest, median, out=np.zeros(self.largest.shape), where=median > 0)

    def leading(self, count: int) -> NDArray[np.int64]:
        """Return channels: those first that are large in most blocks, among equals the one with the largest ratio."""
        ratios = self.ratios
        order = np.lexsort((-ratios.max(axis=0), -(ratios >= LARGE).sum(axis=0)))
        found: NDArray[np.int64] = order[:count].astype(np.int64)
        return found

    def large_blocks(self, channel: int) -> int:
        """Return in how many blocks a channel reaches `LARGE` times the median."""
        return int((self.ratios[:, channel] >= LARGE).sum())


def residual_stream(network: Network, inputs: Any) -> ResidualStream:
    """Return the largest activations of what the blocks of a transformer receive, before any norm of theirs.

    Raises:
        QuantError: for a model without blocks of which each takes what the one before gives, and for blocks that do not
            receive (samples, tokens, channels).

    Example:
        >>> import torch
        >>> from quant_engine.network import from_module
        >>> class Blocks(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.blocks = torch.nn.ModuleList(torch.nn.Sequential(torch.nn.Linear(2, 2)) for _ in range(2))
        ...     def forward(self, x):
        ...         for block in self.blocks:
        ...             x = block(x)
        ...         return x
        >>> network = from_module(Blocks(), example=torch.ones(1, 3, 2))
        >>> found = residual_stream(network, np.array([[[1, -5], [2, 0], [3, 0]]], np.float32))
        >>> found.largest[0].tolist(), found.tokens[0].tolist()
        ([3.0, 5.0], [2, 0])
    """
    import torch

    layers = network.layers()
    blocks = tuple(stage.name for stage in network.model.trace.stages if stage.name not in layers and stage.layers)
    if len(blocks) < 2:
        raise QuantError(
            f"{network.name} has no chain of blocks, each of which takes what the one before gives; its channels "
            "cannot be followed"
        )
    found: dict[str, tuple[Float32Array, NDArray[np.int64]]] = {}
    with torch.inference_mode():
        for batch in split_batch(network.model.as_inputs(inputs)):
            network.executor.run(as_tensors(batch), taps={name: partial(_keep, name, found) for name in blocks})
    return ResidualStream(
        blocks,
        *(np.stack([found[name][part] for name in blocks]) for part in (0, 1)),  # type: ignore[arg-type]
    )


def _keep(name: str, found: dict[str, tuple[Float32Array, NDArray[np.int64]]], x: Tensor) -> None:
    """Keep the largest of each channel, and where it is."""
    if x.ndim != 3:
        raise QuantError(f"block {name!r} receives shape {tuple(x.shape)}; it must be (n, tokens, channels)")
    largest, tokens = (part.numpy() for part in x.abs().amax(0).max(0))
    if name in found:
        before = found[name]
        tokens = np.where(largest > before[0], tokens, before[1])
        largest = np.maximum(largest, before[0])
    found[name] = largest, tokens
