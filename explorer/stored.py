"""How a file stores a tensor: in words, block by block for figures, and as settings of the playground."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from explorer import compute
from explorer.caches import ResultKey
from explorer.language import read_words
from explorer.notation import count, short
from explorer.number_formats import GGUF_BLOCKS, KINDS
from explorer.payloads import Statistics, statistics
from explorer.results import BlockView, stored_view
from explorer.sources import ModelKey
from explorer.state import PlaygroundState
from quant_engine import E4M3, E5M2, Distribution, FixedRange, PerChannel, PerGroup, PerTensor
from quant_engine.models import stored_quantization
from quant_engine.readers import StoredQuantization, TensorInfo

FLOATS = {"float8_e4m3fn": E4M3, "FLOAT8E4M3FN": E4M3, "float8_e5m2": E5M2, "FLOAT8E5M2": E5M2}
MIN_BITS, MAX_BITS = 2, 16  # of the playground's integers


@dataclass(frozen=True, eq=False)
class StoredBlock:
    """A block of a stored tensor: its levels over its values, and these for the instrument."""

    view: BlockView
    packed: Statistics


def stored_of(model: ModelKey, layer: str) -> StoredQuantization | None:
    """Return how the model's file stores a layer's weight as codes, or the range beside it; None without either."""
    return compute.kept(
        ResultKey("stored", model, layer), lambda: stored_quantization(compute.network(model).model, layer)
    )


def stored_block(model: ModelKey, layer: str, stored: StoredQuantization, block: int) -> StoredBlock:
    """Return one block of a stored tensor, kept."""

    def made() -> StoredBlock:
        whole = compute.matrix(model, layer).reshape(stored.shape)
        values = np.ascontiguousarray(whole[stored.slices(block)])
        shown = Distribution(values, exact=values.size <= compute.EXACT_UP_TO)
        levels = stored.levels(block, whole)
        scale, zero_point, _ = parameters(stored, block)
        view = stored_view(values, shown, levels, scale or 0.0, zero_point or 0)
        return StoredBlock(view, statistics(values, shown))

    return compute.kept(ResultKey("stored block", model, layer, block), made)


def parameters(stored: StoredQuantization, block: int) -> tuple[float | None, int | None, float | None]:
    """Return a block's scale, zero point and minimum, None for what it has not."""
    place = np.unravel_index(block, stored.grid)
    scale, zero_point, minimum = stored.scale, stored.zero_point, stored.minimum
    return (
        None if scale is None else float(scale[place]),
        None if zero_point is None else int(zero_point[place]),
        None if minimum is None else float(minimum[place]),
    )


def type_name(info: TensorInfo) -> str:
    """Name a tensor's type in a table: that of its codes and what shares a scale, behind the stored one of real values.

    >>> type_name(TensorInfo("w", (4, 64), "Q4_1", "Q4_1", "quantized", "Q4_1", (1, 32)))
    'Q4_1 · 32'
    """
    if not info.codes:
        return info.stored
    named = f"{info.codes} · {_shared(info.shape, info.block)}"
    return f"{info.stored} → {named}" if info.kind == "float" else named


def description(stored: StoredQuantization) -> str:
    """Say how a tensor is stored, in a sentence."""
    said = read_words("stored")
    told = {"name": stored.name, "bits": short(stored.bits_per_value), "n": count(stored.blocks)}
    blocks = said["one_block" if stored.blocks == 1 else "scales" if stored.has_scale else "blocks"]
    named = _shared(stored.shape, stored.block)
    if named not in said["shared"].values():
        named = said["shared"]["run"].format(sizes=named)
    shared = blocks.format(shared=named, **told)
    return str(said["beside" if stored.read is None else "stored"].format(shared=shared, **told))


def numbers(stored: StoredQuantization, block: int, view: BlockView) -> str:
    """Say what is stored of a block, and between which ends all blocks' scales lie."""
    said, (scale, zero_point, minimum) = read_words("stored"), parameters(stored, block)
    told: dict[str, Any] = {
        "block": count(block),
        "lo": short(view.lo),
        "hi": short(view.hi),
        "n": count(view.levels.size),
        "used": count(int((view.counts > 0).sum())),
        "name": stored.name,
    }
    if scale is None or stored.scale is None:
        return str(said["no_scale"].format(**told))
    parts = [said["scale"].format(value=short(scale, 4))]
    parts += [said["zero_point"].format(value=zero_point)] if zero_point is not None else []
    parts += [said["minimum"].format(value=short(minimum, 4))] if minimum is not None else []
    found = str(said["numbers"].format(parameters=", ".join(parts), **told))
    if stored.blocks == 1:
        return found
    ends = {"least": short(float(stored.scale.min())), "greatest": short(float(stored.scale.max()))}
    return f"{found} {said['all_scales'].format(n_blocks=count(stored.blocks), **ends)}"


def as_settings(stored: StoredQuantization) -> PlaygroundState | None:
    """Return what the playground calls such codes, None if it has none: their width and blocks, and a range for all.

    Scales of blocks are found anew, from the values.
    """
    if stored.name in GGUF_BLOCKS:
        return PlaygroundState(KINDS["GGUF"], block_name=stored.name)
    granularity = _granularity(stored.shape, stored.block)
    if granularity is None or stored.numbers is None or stored.scale is None:
        return None
    if stored.name in FLOATS:
        return PlaygroundState(KINDS["float"], float_format=FLOATS[stored.name], **granularity)
    if not MIN_BITS <= stored.bits <= MAX_BITS or not (np.diff(stored.numbers) == 1).all():
        return None
    middle = float(stored.numbers[stored.numbers.size // 2])
    zero_point = np.zeros(1) if stored.zero_point is None else stored.zero_point
    symmetric = stored.minimum is None and bool((zero_point == middle).all())
    signed = symmetric or bool(stored.numbers[0] < 0)
    found = PlaygroundState(bits=stored.bits, signed=signed, symmetric=symmetric, **granularity)
    if stored.blocks > 1:
        return found
    lo, hi = (float(end.reshape(-1)[0]) for end in stored.ends())
    taken = replace(found, clipping=FixedRange, lo=None if symmetric else lo, hi=hi)
    return taken if lo < hi and hi > 0 else None


def _granularity(shape: tuple[int, ...], block: tuple[int, ...]) -> dict[str, Any] | None:
    """Return the attributes of a setting for such blocks, of the matrix that the playground makes of a tensor."""
    if block == shape:
        return {"granularity": PerTensor}
    if block[0] == 1 and block[1:] == shape[1:]:
        return {"granularity": PerChannel}
    if all(step == 1 for step in block[:-1]) and len(shape) == 2:
        return {"granularity": PerGroup, "group": block[-1]}
    return None


def _shared(shape: tuple[int, ...], block: tuple[int, ...]) -> str:
    """Name which values share a scale: all, a channel's, or so many in a run or a rectangle."""
    said = read_words("stored")["shared"]
    if block == shape:
        return str(said["layer"])
    parts = list(zip(block, shape, strict=True))
    single = [(step, size) for step, size in parts if step == 1 < size]
    if len(single) == 1 and all(step == size for step, size in parts if (step, size) not in single):
        return str(said["channel"])
    return " × ".join(str(step) for step in block if step > 1) or "1"
