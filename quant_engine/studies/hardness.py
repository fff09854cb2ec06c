"""Why a tensor is hard to quantize, and what would help at what cost, from its values alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.clipping import MinMax, MinMSE
from quant_engine.distribution import Distribution
from quant_engine.formats import FP16, IntFormat
from quant_engine.formats.integer import MAX_BITS
from quant_engine.granularity import PerChannel, PerGroup
from quant_engine.inputs import Float32Array
from quant_engine.quantizer import Quantizer, QuantizerSpec, fit
from quant_engine.studies.tensor_statistics import encoded_counts, extremes

OUTLYING = 3.0  # times the median of the channels' largest magnitudes
MOST = 0.99  # of the values
GAIN_DB = 1.0  # that a better range must give to be called the remedy
SHORTER = 0.95  # of min–max's range
GROUP = 32
AT_ONCE = 1 << 20  # values


@dataclass(frozen=True)
class Hardness:
    """What a spec makes of a tensor, beside what its values would allow with as many codes.

    Attributes:
        sqnr_db: signal to quantization noise under the spec.
        steps: root of the mean squared error, in steps of each block's scale: 1/√12 ≈ 0.289 where steps fill evenly.
        codes_used: number of codes that occur.
        codes_total: number of codes there are.
        codes_of_most: the fewest codes that hold 99 % of the values.
        outlier_channels: rows whose largest magnitude is more than 3 times the median row's.
        channel_spread: the largest magnitude of all, in medians of the rows' largest ones.
        best_clip: the end of the range of least error, as a share of min–max's: the median of the blocks.
        lloyd_db: SQNR of the best codebook of as many levels (Lloyd–Max), for the whole tensor.
        bound_db: Σx² over D(R) = σ²·2^(−2R), the least error that a Gaussian of the same σ can have at R bits a value,
            however it is coded (Cover and Thomas 2006, theorem 10.3.2). It is the hardest of all sources of its σ.
    """

    sqnr_db: float
    steps: float
    codes_used: int
    codes_total: int
    codes_of_most: int
    outlier_channels: tuple[int, ...]
    channel_spread: float
    best_clip: float
    lloyd_db: float
    bound_db: float


@dataclass(frozen=True)
class Remedy:
    """Another spec for a tensor: what it gives, and what it stores for each value."""

    spec: QuantizerSpec
    sqnr_db: float
    bits_per_value: float


def hardness(x: Float32Array, spec: QuantizerSpec) -> Hardness:
    """Return why a matrix (out, everything else) is hard under a spec of integers.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
        >>> found = hardness(x, QuantizerSpec(IntFormat(8)))
        >>> found.codes_total, round(found.steps, 2), found.outlier_channels
        (256, 0.29, ())
        >>> round(found.bound_db), round(found.lloyd_db - found.sqnr_db) >= 1
        (48, True)
    """
    fitted, shown = fit(x, spec), Distribution(x)
    counts = encoded_counts(x, fitted)
    held = np.sort(counts[counts > 0])[::-1]
    largest = np.abs(np.stack(extremes(x))).max(axis=0)
    typical, top = float(np.median(largest)), float(largest.max(initial=0.0))
    total = spec.format.qmax - spec.format.qmin + 1
    whole, best = (fit(x, replace(spec, clipping=one)).scale for one in (MinMax(), MinMSE()))
    return Hardness(
        sqnr_db=fitted.measure(x).sqnr_db,
        steps=_steps(x, fitted),
        codes_used=held.size,
        codes_total=total,
        codes_of_most=int(np.searchsorted(np.cumsum(held), MOST * x.size)) + 1,
        outlier_channels=outlier_channels(x),
        channel_spread=top / typical if typical else math.inf,
        best_clip=float(np.median((best / whole)[whole > 0])) if (whole > 0).any() else 1.0,
        lloyd_db=_decibels(shown.power, shown.error(shown.lloyd_max(total))),
        bound_db=_decibels(shown.power, shown.sigma**2 * 2.0 ** (-2 * spec.format.bits)),
    )


def outlier_channels(x: Float32Array) -> tuple[int, ...]:
    """Return the rows of a matrix whose largest magnitude is more than 3 times the median row's, the largest first.

    Example:
        >>> outlier_channels(np.array([[1, -1], [9, 0], [1, 1], [0, -4]], np.float32))
        (1,)
    """
    return outlying(np.stack(extremes(x), axis=1))


def outlying(ends: NDArray[Any]) -> tuple[int, ...]:
    """Return which of some channels are outliers, by the least and the greatest value of each, (channels, 2).

    Example:
        >>> outlying(np.array([[-1, 1], [0, 9], [-1, 1], [-4, 0]]))
        (1,)
    """
    largest = np.abs(ends).max(axis=1)
    order = np.argsort(-largest, kind="stable")
    return tuple(order[largest[order] > OUTLYING * np.median(largest)].tolist())


def remedies(x: Float32Array, spec: QuantizerSpec) -> dict[str, Remedy]:
    """Return what might help, by name: finer scales, the range of least error, another bit, and 16-bit floats.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
        >>> found = remedies(x, QuantizerSpec(IntFormat(4)))
        >>> {name: round(one.bits_per_value, 2) for name, one in found.items()}
        {'channel': 4.12, 'groups': 5.0, 'clip': 4.0, 'bit': 5.0, 'float16': 16.0}
    """
    found = {}
    for name, change in REMEDIES.items():
        other = change(spec)
        if other is not None and (name not in FINER or _scales(x, other) > _scales(x, spec)):
            found[name] = Remedy(other, fit(x, other).measure(x).sqnr_db, other.storage(x.shape).bits_per_value)
    return found


def cause(found: Hardness, others: dict[str, Remedy]) -> str:
    """Return what makes a tensor hard: "exact" (nothing), "outliers", "channels", or "steps", which are too coarse.

    Outliers and channels are blamed where a shorter range or a scale a channel gains a decibel or more, whichever more.
    A range that is as long, and gains because a few values then lie on its levels, blames no outliers.
    """
    if math.isinf(found.sqnr_db):
        return "exact"
    gains = [
        (others[name].sqnr_db - found.sqnr_db, reason)
        for name, reason in (("clip", "outliers"), ("channel", "channels"))
        if name in others and (name != "clip" or found.best_clip < SHORTER)
    ]
    gain, reason = max(gains, default=(0.0, ""))
    return reason if gain >= GAIN_DB else "steps"


def _steps(x: Float32Array, fitted: Quantizer) -> float:
    if fitted.scale.size == 1:
        return fitted.measure(x).rmse / float(fitted.scale.max())
    grid = fitted.spec.granularity.blocks(x.shape)
    values, back = grid.flatten(x), grid.flatten(fitted.fake_quantize(x))
    scales, together, total = (
        grid.from_grid(fitted.scale).astype(np.float64),
        max(grid.count * AT_ONCE // x.size, 1),
        0.0,
    )
    for first in range(0, grid.count, together):  # of a large tensor, the errors of all values at once take gigabytes
        ends = grid.offsets[first : first + together + 1]
        part = slice(ends[0], ends[-1])
        error = np.square(back[part] - values[part], dtype=np.float64)
        sums = np.add.reduceat(error, ends[:-1] - ends[0])
        total += float((sums / np.square(scales[first : first + together])).sum())
    return math.sqrt(total / x.size)


def _scales(x: Float32Array, spec: QuantizerSpec) -> int:
    return spec.granularity.blocks(x.shape).count


def _decibels(power: float, error: float) -> float:
    return 10 * math.log10(power / error) if power > 0 and error > 0 else math.inf


def _more_bits(spec: QuantizerSpec) -> QuantizerSpec | None:
    form = spec.format
    finer = isinstance(form, IntFormat) and form.bits < MAX_BITS
    return replace(spec, format=replace(form, bits=form.bits + 1)) if finer else None


def _other_range(spec: QuantizerSpec) -> QuantizerSpec | None:
    return None if spec.clipping == MinMSE() else replace(spec, clipping=MinMSE())


FINER = ("channel", "groups")
REMEDIES: dict[str, Callable[[QuantizerSpec], QuantizerSpec | None]] = {
    "channel": lambda spec: replace(spec, granularity=PerChannel(0)),
    "groups": lambda spec: replace(spec, granularity=PerGroup(GROUP, remainder="short")),
    "clip": _other_range,
    "bit": _more_bits,
    "float16": lambda spec: QuantizerSpec(FP16),
}
