"""Clipping ranges of single blocks: what a spec's method chooses, and the same with some replaced by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from quant_engine.checks import as_instance
from quant_engine.clipping import Blocks, EditedRanges
from quant_engine.errors import QuantError
from quant_engine.inputs import Float64Array, as_float32, raise_non_finite
from quant_engine.quantizer.codecs.blockwise import BlockwiseCodec
from quant_engine.quantizer.scales import WITH_TENSOR_SCALE
from quant_engine.quantizer.spec import QuantizerSpec

TINY = float(np.finfo(np.float64).tiny)


def block_ranges(x: Any, spec: QuantizerSpec) -> Float64Array:
    """Return the clipping range (blocks, 2) of every block, row-major in the grid, widened to hold 0.

    Of a symmetric spec the greater magnitude of both ends counts. A block of zeros alone has no width: it is given the
    range from which the scale and zero point follow that `fit` gives it, unless a scale of the tensor (E4M3) is to be
    found from ranges none of which has a width.

    Raises:
        QuantError: for a format whose scales do not follow from ranges, an empty tensor, and values not finite.

    Example:
        >>> from quant_engine import IntFormat, PerChannel
        >>> block_ranges([[-1.0, 3.0], [0.5, 0.25]], QuantizerSpec(IntFormat(4), PerChannel(0), symmetric=False))
        array([[-1. ,  3. ],
               [ 0. ,  0.5]])
    """
    as_instance(spec, QuantizerSpec, "spec", "give QuantizerSpec(format, …)")
    array = as_float32(x)
    grid = spec.granularity.blocks(array.shape)
    return ranges_of_blocks(Blocks(grid.flatten(array), grid), spec)


def ranges_of_blocks(blocks: Blocks, spec: QuantizerSpec) -> Float64Array:
    """Return what `block_ranges` does of a tensor that is at hand as blocks.

    Raises:
        QuantError: as `block_ranges`.
    """
    grid, form = blocks.grid, spec.format
    if not isinstance(spec.codec, BlockwiseCodec) or not form.scaled:
        raise QuantError(f"{form} has no clipping ranges; use a format with a scale, such as IntFormat")
    if not blocks.values.size:
        raise QuantError(f"shape {grid.shape} has no values, so no block has a range")
    if not np.isfinite(blocks.extremes).all():
        raise_non_finite(grid.restore(blocks.values))
    found = spec.clipping.ranges(blocks, form, spec.symmetric)
    low, high = (grid.to_grid(end).reshape(-1) for end in (np.minimum(found[:, 0], 0), np.maximum(found[:, 1], 0)))
    return np.stack([low, np.where(low < high, high, _width_of_nothing(spec))], axis=1)


def _width_of_nothing(spec: QuantizerSpec) -> float:
    """Return the upper end that stands for a range without width, from 0 on."""
    if spec.scale_format in WITH_TENSOR_SCALE:
        return TINY  # of which the scale rounds to 0
    return float(spec.format.symmetric_max if spec.symmetric else spec.format.qmax - spec.format.qmin)  # scale 1


def edit_ranges(x: Any, spec: QuantizerSpec, edits: Mapping[int, tuple[float, float]]) -> QuantizerSpec:
    """Return the spec with the clipping range of some blocks (by number, row-major in the grid) set by hand.

    The spec keeps its method and the edits: its key stays short. Every other block keeps scale and zero point, to the
    bit, unless the scale format has a scale of the tensor (E4M3), which follows the widest block.

    Raises:
        QuantError: for a block that is not there, and for a range without width.

    Example:
        >>> from quant_engine import IntFormat, PerChannel, fit
        >>> x = [[-0.7, 0.2], [1.4, 0.5]]
        >>> fit(x, edit_ranges(x, QuantizerSpec(IntFormat(4), PerChannel(0)), {1: (-0.7, 0.7)})).scale.round(4).tolist()
        [[0.10000000149011612], [0.10000000149011612]]
    """
    if not isinstance(edits, Mapping):
        raise QuantError(f"edits={edits!r} is not a mapping; give {{block number: (lo, hi)}}")
    as_instance(spec, QuantizerSpec, "spec", "give QuantizerSpec(format, …)")
    if not edits:
        return spec
    for block, ends in edits.items():
        if not isinstance(ends, tuple | list) or len(ends) != 2:
            raise QuantError(f"the range of block {block} is {ends!r}; give (lo, hi)")
    before = spec.clipping
    known = {block: (lo, hi) for block, lo, hi in before.edits} if isinstance(before, EditedRanges) else {}
    plain = before.clipping if isinstance(before, EditedRanges) else before
    merged = tuple((block, lo, hi) for block, (lo, hi) in {**known, **edits}.items())
    edited = replace(spec, clipping=EditedRanges(plain, merged))
    block_ranges(x, edited)  # refuses blocks that are not there
    return edited
