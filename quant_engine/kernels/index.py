"""Prefix sums of (count, Σx, Σx²) over a tensor's values, and the squared error of any levels from them.

Three indexes answer alike. The *moment histogram* bins by a log-linear key, the leading bits of
float32(|x| · unit + offset): even bins up to about `offset`, then bins that widen with |x|. The *sorted index* holds
all values in order and sums of runs of `RUN`. The *counted index* holds values in order and the sums before each.
`Index` carries any: `values` is empty but for the sorted one, `first` for the histogram.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.kernels.compile import (
    add_any_order,
    add_product,
    bits_of,
    helper,
    kernel,
    operation,
    ordered,
    unordered,
)

RUN = 64  # sorted values a prefix sum
BATCH = 4096  # values whose bins are found before any is counted
MANTISSA_BITS = 12  # of the key: 4,096 bins for each doubling
DROPPED_BITS = np.int32(23 - MANTISSA_BITS)
LARGEST = float(np.finfo(np.float32).max)


class Index(NamedTuple):
    """What the kernels below look things up in.

    prefix: (bins + 1, 3) sums of count, x, x² before each bin, run or value; spread: (bins, 3), where the values of a
    bin are taken to lie, from low to high, and how many a unit. values: (runs, RUN), all values in order, the last row
    filled up with infinity, or no rows; first: the first value of each run, or every counted value. unit, offset, base,
    half: the histogram's key, bins `half` and up hold x ≥ 0.
    """

    prefix: Float64Array
    spread: Float64Array
    values: Float32Array
    first: Float32Array
    unit: np.float32
    offset: np.float32
    base: np.int32
    half: np.int32


@operation
def _add_row(context, sums, row, x):
    """Add (1, x, x², 0) to a row of four, all at once."""
    four, lane = ir.VectorType(ir.DoubleType(), 4), ir.IntType(32)

    def generate(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.gep(data, [builder.mul(args[1], ir.IntType(64)(4))])
        place = builder.bitcast(place, four.as_pointer())
        terms = builder.insert_element(ir.Constant(four, [1.0, 0.0, 0.0, 0.0]), args[2], lane(1))
        terms = builder.insert_element(terms, builder.fmul(args[2], args[2]), lane(2))
        before = builder.load(place)
        before.align = 8
        builder.store(builder.fadd(before, terms), place).align = 8
        return context.get_dummy_value()

    return types.void(sums, types.int64, types.float64), generate


@helper
def key_bin(x, unit, offset, base, half):
    """Return the histogram bin of x."""
    key = np.int32(np.int32(bits_of(np.float32(abs(x) * unit + offset)) >> DROPPED_BITS) - base)
    key = key if key < half else np.int32(half - np.int32(1))
    return np.int32(half + key) if x >= np.float32(0) else np.int32(half - np.int32(1) - key)


@kernel
def _key_bins(x, unit, offset, base, half, rows):
    for i in range(x.size):
        rows[i] = key_bin(x[i], unit, offset, base, half)


@kernel
def add_moments(x, unit, offset, base, half, sums):
    """Add count, x and x² of each value to its bin's row of `sums`, (bins, 4) with a column to fill the vector."""
    rows = np.empty(BATCH, np.int32)
    for start in range(0, x.size, BATCH):
        part = x[start : start + BATCH]
        _key_bins(part, unit, offset, base, half, rows)
        for i in range(part.size):
            _add_row(sums, np.int64(rows[i]), np.float64(part[i]))


@helper
def _sums_below(values, run, limit):
    """Return count, Σx and Σx² of the values of one run below a limit."""
    count = np.int32(0)
    total = 0.0
    square = 0.0
    for i in range(RUN):
        below = values[run, i] < limit
        value = np.float64(values[run, i]) if below else 0.0
        count = np.int32(count + (np.int32(1) if below else np.int32(0)))
        total = add_any_order(total, value)
        square = add_product(square, value, value)
    return count, total, square


@kernel
def sum_runs(values, start, stop, sums):
    """Write count, Σx and Σx² of the runs `start` to `stop` of the sorted values."""
    for run in range(start, stop):
        sums[run, 0], sums[run, 1], sums[run, 2] = _sums_below(values, run, np.float32(np.inf))


@helper
def _added(running, lost, term):
    """Return a running sum with one more term, and what that addition rounds off (Kahan 1965)."""
    term -= lost
    following = running + term
    return following, (following - running) - term


@kernel
def accumulate(sums):
    """Turn rows of sums into running sums, in place; what each addition rounds off goes into the next."""
    count = 0.0
    total, total_lost = 0.0, 0.0
    square, square_lost = 0.0, 0.0
    for row in range(sums.shape[0]):
        count += sums[row, 0]
        total, total_lost = _added(total, total_lost, sums[row, 1])
        square, square_lost = _added(square, square_lost, sums[row, 2])
        sums[row, 0], sums[row, 1], sums[row, 2] = count, total, square


@kernel
def spread_bins(sums, spread):
    """Write, for each bin, the even spread with its mean and variance: from, to, and values a unit.

    A bin of equal values has no width, so a threshold never splits it.
    """
    for row in range(sums.shape[0]):
        count = max(sums[row, 0], 1.0)
        mean = sums[row, 1] / count
        reach = np.sqrt(3.0 * max(sums[row, 2] / count - mean * mean, 0.0))
        spread[row, 0] = mean - reach
        spread[row, 1] = mean + reach
        spread[row, 2] = count / (2.0 * reach) if reach > 0.0 else 0.0


@helper
def _ceil_float32(threshold):
    """Return the least float32 not below a threshold: x < threshold exactly where x is less than that."""
    near = np.float32(threshold)
    return unordered(np.int32(ordered(near) + np.int32(1))) if np.float64(near) < threshold else near


@kernel
def _below_sorted(index, thresholds, sums):
    """Write the sums below every threshold, exactly. The searches go side by side, so that none waits for memory."""
    prefix, values, first = index.prefix, index.values, index.first
    limits = np.empty(thresholds.size, np.float32)
    runs = np.zeros(thresholds.size, np.int64)
    for i in range(thresholds.size):
        limits[i] = _ceil_float32(thresholds[i])
    length = first.size
    while length > 1:
        middle = length >> 1
        for i in range(runs.size):
            runs[i] += middle if first[runs[i] + middle] < limits[i] else 0
        length -= middle
    for i in range(runs.size):
        run = runs[i]
        count, total, square = _sums_below(values, run, limits[i])
        sums[i, 0] = prefix[run, 0] + count
        sums[i, 1] = prefix[run, 1] + total
        sums[i, 2] = prefix[run, 2] + square


@kernel
def _below_binned(index, thresholds, sums):
    """Write the sums below every threshold, taking the values of its bin as evenly spread about their mean."""
    prefix, spread = index.prefix, index.spread
    for i in range(thresholds.size):
        threshold = thresholds[i]
        limit = np.float32(min(max(threshold, -LARGEST), LARGEST))
        row = np.int64(key_bin(limit, index.unit, index.offset, index.base, index.half))
        low = spread[row, 0]
        above = (threshold > low) & (threshold >= spread[row, 1])
        part = spread[row, 2] * (threshold - low) if threshold > low and not above else 0.0
        row += np.int64(above)
        sums[i, 0] = prefix[row, 0] + part
        sums[i, 1] = prefix[row, 1] + part * (low + threshold) * 0.5
        sums[i, 2] = prefix[row, 2] + part * (low * low + low * threshold + threshold * threshold) * (1.0 / 3.0)


@kernel
def _below_counted(index, thresholds, sums):
    """Write the sums below every threshold: those before the first value that is not."""
    for i in range(thresholds.size):
        row = np.searchsorted(index.first, _ceil_float32(thresholds[i]))
        for column in range(3):
            sums[i, column] = index.prefix[row, column]


@kernel
def sums_below(index, thresholds, sums):
    """Write (count, Σx, Σx²) of the values below each threshold, and of all values to one more row."""
    if index.values.size > 0:
        _below_sorted(index, thresholds, sums)
    elif index.first.size > 0:
        _below_counted(index, thresholds, sums)
    else:
        _below_binned(index, thresholds, sums)
    for column in range(3):
        sums[thresholds.size, column] = index.prefix[-1, column]


@helper
def _bucket(sums, k):
    """Return count, Σx and Σx² between threshold k − 1 and threshold k."""
    if k == 0:
        return sums[0, 0], sums[0, 1], sums[0, 2]
    return sums[k, 0] - sums[k - 1, 0], sums[k, 1] - sums[k - 1, 1], sums[k, 2] - sums[k - 1, 2]


@helper
def _bucket_error(sums, k, level):
    count, total, square = _bucket(sums, k)
    return square - 2.0 * level * total + level * level * count


@kernel
def levels_error(index, levels):
    """Return Σ (x − nearest level)² for ascending levels; their midpoints bound the buckets."""
    sums = np.empty((levels.size, 3))
    sums_below(index, 0.5 * (levels[:-1] + levels[1:]), sums)
    error = 0.0
    for k in range(levels.size):
        error = add_any_order(error, _bucket_error(sums, k, levels[k]))
    return max(error, 0.0)


@kernel
def _even_error(index, step, qmin, thresholds, sums):
    """Return Σ (x − nearest level)² for the levels step · k, k ≥ `qmin`, one more than thresholds, and fill both."""
    for k in range(thresholds.size):
        thresholds[k] = (qmin + k + 0.5) * step
    sums_below(index, thresholds, sums)
    error = 0.0
    for k in range(thresholds.size + 1):
        error = add_any_order(error, _bucket_error(sums, k, (qmin + k) * step))
    return max(error, 0.0)


@kernel
def even_errors(index, steps, qmin, qmax, start, stop, errors):
    """Write Σ (x − nearest level)² of the configurations `start` to `stop`: levels step · k, qmin ≤ k ≤ qmax."""
    max_count = 0
    for i in range(start, stop):
        max_count = max(max_count, qmax[i] - qmin[i])
    thresholds = np.empty(max_count)
    sums = np.empty((max_count + 1, 3))
    for i in range(start, stop):
        errors[i] = _even_error(index, steps[i], qmin[i], thresholds[: qmax[i] - qmin[i]], sums)


@helper
def _least_squares_step(sums, qmin, count):
    """Return Σ k·x / Σ k² for the codes k = `qmin` and up; 0 where there is none."""
    product = 0.0
    power = 0.0
    for k in range(count):
        values, total, _ = _bucket(sums, k)
        code = np.float64(qmin + k)
        product += code * total
        power += code * code * values
    return product / power if power > 0.0 and product > 0.0 else 0.0


@kernel
def polish(index, qmin, qmax, rounds, steps, errors):
    """Alternate codes and least-squares step from each of `steps` until the error stops falling; write both."""
    thresholds = np.empty(qmax - qmin)
    sums = np.empty((thresholds.size + 1, 3))
    for i in range(steps.size):
        step = steps[i]
        errors[i] = np.inf
        for _ in range(rounds):
            error = _even_error(index, step, qmin, thresholds, sums)
            if not error < errors[i] * (1.0 - 1e-12):
                break
            errors[i] = error
            steps[i] = step
            step = _least_squares_step(sums, qmin, thresholds.size + 1)
            if step == 0.0:
                break


@kernel
def fine_errors(index, steps, qmin, qmax, errors):
    """Estimate `even_errors` for levels finer than the bins: step²/12 for each value inside, clipping as it is."""
    ends = np.empty(2)
    sums = np.empty((3, 3))
    for i in range(steps.size):
        ends[0] = qmin[i] * steps[i]
        ends[1] = qmax[i] * steps[i]
        sums_below(index, ends, sums)
        clipping = max(_bucket_error(sums, 0, ends[0]), 0.0) + max(_bucket_error(sums, 2, ends[1]), 0.0)
        errors[i] = clipping + _bucket(sums, 1)[0] * steps[i] * steps[i] / 12.0
