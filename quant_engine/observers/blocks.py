"""One observer for each block of a tensor that arrives in batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from quant_engine.clipping import Blocks, EditedRanges, FixedRange
from quant_engine.errors import QuantError
from quant_engine.granularity import Granularity
from quant_engine.inputs import as_float32
from quant_engine.observers.choice import observer_of
from quant_engine.observers.histogram import HistogramObserver
from quant_engine.quantizer import Quantizer, QuantizerSpec, fit
from quant_engine.quantizer.codecs import ScalarCodebookCodec
from quant_engine.quantizer.scales import block_parameters

MANY = 1 << 40  # more samples than any batch holds


def validate_static(granularity: Granularity, sample: tuple[int, ...]) -> None:
    """Check that a granularity has the same blocks however many samples of this shape a batch holds.

    Raises:
        QuantError: if a block does not hold all samples, or the blocks do not fit the sample's shape.
    """
    granularity.blocks((1, *sample))
    if granularity.blocks((MANY, *sample)).grid[0] != 1:
        raise QuantError(
            f"{granularity} has scales of their own for each sample of shape {sample}, and those of samples not seen "
            "yet cannot be fixed; give dynamic=True, or a granularity within a sample: PerTensor(), PerChannel(1)"
        )


class BlockObservers:
    """Observers of the blocks of a tensor (batch, …) under one spec.

    Raises:
        QuantError: for a granularity that has other blocks for other batches.

    Example:
        >>> from quant_engine import IntFormat, PerChannel
        >>> seen = BlockObservers(QuantizerSpec(IntFormat(8), PerChannel(1)), (2,))
        >>> seen.update([[1.27, 12.7]]); seen.update([[0.5, 0.5], [-0.1, 0.0]])
        >>> seen.quantizer().scale.round(3).tolist()
        [[0.009999999776482582, 0.10000000149011612]]
    """

    def __init__(self, spec: QuantizerSpec, sample: tuple[int, ...]) -> None:
        """Start with nothing seen of samples of the shape `sample`."""
        spec.format.validate_activations()
        validate_static(spec.granularity, sample)
        self.spec, self.sample = spec, sample
        count = spec.granularity.blocks((1, *sample)).count
        self.observers = [observer_of(spec) for _ in range(count)]

    @property
    def kind(self) -> str:
        """What tells apart observers that keep other statistics: equal kinds, shown the same, keep the same."""
        fresh = observer_of(self.spec)
        state = {name: array.tolist() for name, array in fresh.to_arrays().items()}
        return f"{self.spec.granularity.to_json()} {type(fresh).__name__} {state}"

    def update(self, batch: Any) -> None:
        """Show each observer its block of a batch (n, *sample).

        Of samples of several axes those that blocks do not divide may have other lengths: the tokens of a text, say.

        Raises:
            QuantError: for another shape, and for values that are not finite real numbers.
        """
        array = as_float32(batch, "the batch")
        if not self._fits(array.shape):
            raise QuantError(f"the batch has shape {array.shape}; give (n, {', '.join(map(str, self.sample))})")
        grid = self.spec.granularity.blocks(array.shape)
        for observer, block in zip(self.observers, Blocks(grid.flatten(array), grid).each(), strict=True):
            observer.update(block)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if shape[1:] == self.sample:
            return True
        blocks = self.spec.granularity.blocks
        several = len(self.sample) > 1 and len(shape) == len(self.sample) + 1
        return several and blocks(shape).grid == blocks((1, *self.sample)).grid

    def quantizer(self, spec: QuantizerSpec | None = None) -> Quantizer:
        """Return the quantizer fitted to what was seen, by the spec or another that observes the same.

        Raises:
            QuantError: if nothing has been observed.
        """
        chosen = spec or self.spec
        edits = chosen.clipping if isinstance(chosen.clipping, EditedRanges) else None
        plain = chosen if edits is None else replace(chosen, clipping=edits.clipping)
        if isinstance(plain.clipping, FixedRange):
            return fit(np.zeros((1, *self.sample), np.float32), chosen)  # needs no data
        grid = chosen.granularity.blocks((1, *self.sample))
        if isinstance(chosen.codec, ScalarCodebookCodec):
            histograms = [each.weighted_values() for each in self.observers if isinstance(each, HistogramObserver)]
            found = chosen.codec.fit_observed(histograms, grid)
            return Quantizer(chosen, found.scale, found.zero_point, found.learned)
        ranges = np.array([observer.range(plain) for observer in self.observers])
        if edits is not None:
            ranges = edits.edited(ranges, grid)
        return Quantizer(chosen, *block_parameters(ranges, grid, chosen))
