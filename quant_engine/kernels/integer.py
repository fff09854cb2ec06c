"""Integer-only layers: sums of products of codes in int32, and their requantization by a fixed-point multiplier.

No kernel here knows a float. Sums wrap like the machine's int32; who compiles a network proves that they cannot.

Requantization as in gemmlowp (`SaturatingRoundingDoublingHighMul` and `RoundingDivideByPOT` in fixedpoint.h; Jacob et
al., Quantization and training of neural networks for efficient integer-arithmetic-only inference, 2018, section 2.2).
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import helper, kernel
from quant_engine.kernels.lanes import (
    LANES,
    add,
    add_pairs,
    both_bits,
    load,
    maximum,
    minimum,
    pair,
    scaled,
    shift_right,
    spread,
    store,
    store_codes,
)

HALF = np.int64(1) << np.int64(30)  # of what the high half of a doubled product counts
AT_ONCE = 8  # outputs of a convolution whose sums are together in the cache
INT32_MIN, INT32_MAX = -(np.int64(1) << np.int64(31)), (np.int64(1) << np.int64(31)) - np.int64(1)


@helper
def _saturate(value, lowest, highest):
    return min(max(value, lowest), highest)


@helper
def _high_product(value, multiplier):
    """Return value · multiplier / 2³¹, half up, for a multiplier above −2³¹ (else it could need 33 bits).

    gemmlowp writes this as a division toward 0 after a nudge of 2³⁰, or of 1 − 2³⁰ below 0: the same whole number.
    """
    return (np.int64(value) * np.int64(multiplier) + HALF) >> np.int64(31)


@helper
def _divided(value, exponent):
    """Return value / 2^exponent, half away from 0, for an exponent above 0."""
    halves = (value + (value >> np.int64(63))) >> np.int64(exponent - 1)
    return (halves + np.int64(1)) >> np.int64(1)


@helper
def _rescaled(value, multiplier, shift, once):
    """Return value · multiplier · 2^(shift − 31): rounded twice as gemmlowp does, or once, half up."""
    if once:
        places = np.int64(31) - np.int64(shift)
        half = (np.int64(1) << places) >> np.int64(1)
        return (np.int64(value) * np.int64(multiplier) + half) >> places
    if shift < 0:
        return _divided(_high_product(value, multiplier), -np.int64(shift))
    return _high_product(_saturate(np.int64(value) << np.int64(shift), INT32_MIN, INT32_MAX), multiplier)


@helper
def _rescaled_lanes(values, multiplier, shift, once):
    """Return `_rescaled` of all lanes for a shift below 0, after which nothing is beyond 32 bits."""
    factor = np.int64(multiplier)
    if once:
        places = np.int64(31) - np.int64(shift)
        return scaled(values, factor, np.int64(1) << (places - np.int64(1)), places)
    high = scaled(values, factor, HALF, np.int64(31))
    below = shift_right(high, spread(np.int32(31)))  # −1 for what is below 0, so that its half goes down
    halves = shift_right(add(high, below), spread(np.int32(-1 - shift)))
    return shift_right(add(halves, spread(np.int32(1))), spread(np.int32(1)))


@kernel
def high_products(values, multiplier, out):
    """Write each value (int32) · multiplier / 2³¹, rounded."""
    for i in range(values.size):
        out[i] = np.int32(_high_product(values[i], multiplier))


@kernel
def divisions(values, exponent, out):
    """Write each value (int32) / 2^exponent, rounded."""
    for i in range(values.size):
        out[i] = np.int32(_divided(np.int64(values[i]), np.int64(exponent)) if exponent else values[i])


@kernel
def paired(weight):
    """Return weights (outputs, channels, rows, columns) two in an int32: (outputs, K).

    Those of two channels, (pairs of channels, rows, columns); of a single channel those of two columns, (rows, pairs of
    columns). What has no other has 0 beside it.
    """
    outputs, channels, rows, columns = weight.shape
    units = _pairs(channels, columns)
    found = np.zeros((outputs, units[0], rows, units[1]), np.int32)
    for o in range(outputs):
        for c in range(channels):
            for i in range(rows):
                for j in range(columns):
                    unit, column, upper = (c // 2, j, c % 2) if channels > 1 else (0, j // 2, j % 2)
                    found[o, unit, i, column] |= pair(weight[o, c, i, j], 0) << 16 * upper
    return found.reshape(outputs, units[0] * rows * units[1])


@helper
def _pairs(channels, columns):
    """Return how many pairs there are of channels and of columns."""
    return ((channels + 1) // 2, columns) if channels > 1 else (1, (columns + 1) // 2)


@kernel
def _lift(x, first, channels, zero_point, lead, out):
    """Write what channels from `first` on of codes (in, places) have above the zero point, in pairs as `paired`.

    out (pairs of channels, …), from number `lead` on.
    """
    places = np.uintp(x.shape[1])
    for unit in range(len(out)):
        above, codes = out[unit, lead:], x[first + 2 * unit]
        if 2 * unit + 1 < channels:
            others = x[first + 2 * unit + 1]
            for p in range(places):
                above[p] = pair(np.int32(codes[p]) - zero_point, np.int32(others[p]) - zero_point)
        elif channels > 1:
            for p in range(places):
                above[p] = pair(np.int32(codes[p]) - zero_point, 0)
        else:
            others = codes[1:]
            for p in range(np.uintp(others.size)):
                above[p] = pair(np.int32(codes[p]) - zero_point, np.int32(others[p]) - zero_point)
            above[others.size] = pair(np.int32(codes[others.size]) - zero_point, 0)
            if lead:
                out[unit, lead - 1] = pair(0, np.int32(codes[0]) - zero_point)


@kernel
def _frame(images, height, width, rows, columns, before, alone):
    """Return −1 for each place of images where a tap is in the image, 0 where it is beyond its edge: (taps · places).

    With `alone`, one for every pair of columns, each in half of the bits.
    """
    across = (columns + 1) // 2 if alone else columns
    size = rows * across * images * height * width
    found = np.full(size + 2 * LANES, -1, np.int32)  # the last place may be read with as many behind it
    inside = found[:size].reshape(rows, across, images, height, width)
    for i in range(rows):
        for j in range(columns):
            down, along = i - before[0], j - before[1]
            other = (pair(0, -1) if j % 2 == 0 else pair(-1, 0)) if alone else np.int32(0)
            own = inside[i, j // 2 if alone else j]
            for image in range(images):
                for y in range(height):
                    beyond = y + down < 0 or y + down >= height
                    for column in range(width if beyond else min(max(-along, 0), width)):
                        own[image, y, column] &= other
                    for column in range(width if beyond else max(width - max(along, 0), 0), width):
                        own[image, y, column] &= other
    return found


@kernel
def _add_products(weights, codes, starts, inside, edges, offset, out, first, size):
    """Write offset + Σ weights (outputs, K) times runs of codes, `size` numbers an output, from `first` on.

    Weights and codes are pairs in an int32; the run of each pair of weights starts where `starts` (K,) says. It counts
    where `inside` is −1 from where `edges` (K,) says, not where it is 0; if `inside` is empty, everywhere. Four outputs
    are added up at once, at 2 · LANES places, of which there must be as many; the last ones overlap.
    """
    (outputs, count), framed, flat = weights.shape, inside.size > 0, weights.ravel()
    step, many = 2 * LANES, np.uintp(count)
    for block in range((size + step - 1) // step):
        p, o = min(block * step, size - step), 0
        target = first + p
        while o + 4 <= outputs:
            a, b, c, d = spread(offset[o]), spread(offset[o + 1]), spread(offset[o + 2]), spread(offset[o + 3])
            e, f, g, h = a, b, c, d
            one = np.uintp(o * count)
            for k in range(many):
                left, right = _both_runs(codes, starts[k] + p, framed, inside, edges[k] + p)
                w = spread(flat[one + k])
                a, e = add_pairs(a, left, w), add_pairs(e, right, w)
                w = spread(flat[one + many + k])
                b, f = add_pairs(b, left, w), add_pairs(f, right, w)
                w = spread(flat[one + many + many + k])
                c, g = add_pairs(c, left, w), add_pairs(g, right, w)
                w = spread(flat[one + many + many + many + k])
                d, h = add_pairs(d, left, w), add_pairs(h, right, w)
            _store_both(out, target, a, e)
            _store_both(out, target + size, b, f)
            _store_both(out, target + 2 * size, c, g)
            _store_both(out, target + 3 * size, d, h)
            target += 4 * size
            o += 4
        while o < outputs:
            a = spread(offset[o])
            e, one = a, np.uintp(o * count)
            for k in range(many):
                left, right = _both_runs(codes, starts[k] + p, framed, inside, edges[k] + p)
                w = spread(flat[one + k])
                a, e = add_pairs(a, left, w), add_pairs(e, right, w)
            _store_both(out, target, a, e)
            target += size
            o += 1


@helper
def _both_runs(codes, start, framed, inside, edge):
    left, right = load(codes, start), load(codes, start + LANES)
    if framed:
        return both_bits(left, load(inside, edge)), both_bits(right, load(inside, edge + LANES))
    return left, right


@helper
def _store_both(out, start, first, second):
    store(out, start, first)
    store(out, start + LANES, second)


@kernel
def convolve(x, weights, offset, groups, kernel_shape, zero_point, stride, before, out):
    """Write offset + Σ weight · (code − zero point) for every place; outside of an image every code is the zero point.

    x (in, n, h, w), weights (out, K) as `paired` gives them, out (out, n, h', w') with h' ≤ h and w' ≤ w; `before` is
    by how many rows and columns an image is framed above and on the left. What one pair of weights is multiplied with
    lies in one run of memory, for all places of all images at stride 1, of which those are left out that are no place
    of the output.
    """
    (inputs, images, height, width), outputs, (rows, columns) = x.shape, len(weights), kernel_shape
    members, channels, places = outputs // groups, inputs // groups, images * height * width
    units, across = _pairs(channels, columns)
    size, lead, step = max(places, 2 * LANES), before[0] * width + before[1], 1 if channels > 1 else 2
    length = size + (rows - 1) * width + columns
    starts, edges = np.empty(units * rows * across, np.int64), np.empty(units * rows * across, np.int64)
    for k in range(starts.size):
        unit, tap = k // (rows * across), k % (rows * across)
        starts[k] = unit * length + tap // across * width + tap % across * step
        edges[k] = tap * places
    last_row, last_column = (out.shape[2] - 1) * stride[0] + rows, (out.shape[3] - 1) * stride[1] + columns
    framed = lead > 0 or last_row > height or last_column > width
    inside = _frame(images, height, width, rows, columns, before, channels == 1) if framed else np.empty(0, np.int32)
    whole = out.size == outputs * size
    at_once = members if whole else min(members, AT_ONCE)
    lifted, scratch = np.zeros((units, length), np.int32), np.empty(0 if whole else at_once * size, np.int32)
    codes, found, flat = x.reshape(inputs, places), out.ravel(), lifted.ravel()
    for first in range(0, outputs, members):
        _lift(codes, first // members * channels, channels, zero_point, lead, lifted)
        for o in range(first, first + members, at_once):
            last = min(o + at_once, first + members)
            if whole:
                _add_products(weights[o:last], flat, starts, inside, edges, offset[o:last], found, o * size, size)
                continue
            _add_products(weights[o:last], flat, starts, inside, edges, offset[o:last], scratch, 0, size)
            for one in range(last - o):
                _take(scratch[one * size : one * size + places].reshape(images, height, width), stride, out[o + one])


@kernel
def _take(sums, stride, out):
    """Write every stride-th number of every stride-th row of images."""
    down, along = stride
    for image in range(len(out)):
        for y in range(out.shape[1]):
            for i in range(out.shape[2]):
                out[image, y, i] = sums[image, y * down, i * along]


@kernel
def multiply(x, weight, offset, out):
    """Write offset + Σ weight · code: x (n, in), weight (out, in), out (out, n)."""
    for o in range(weight.shape[0]):
        for image in range(x.shape[0]):
            total = offset[o]
            for k in range(weight.shape[1]):
                total = np.int32(total + np.int32(weight[o, k]) * np.int32(x[image, k]))
            out[o, image] = total


@kernel
def requantize(sums, multiplier, shift, once, zero_point, lowest, highest, out):
    """Write the codes of sums (channels, places): rescaled by channel, moved by the zero point, clamped."""
    for c in range(len(sums)):
        m, s, given, codes = multiplier[c], shift[c], sums[c], out[c]
        done = 0
        while s < 0 and done + LANES <= given.size:
            moved = add(_rescaled_lanes(load(given, done), m, s, once), spread(np.int32(zero_point)))
            clamped = minimum(maximum(moved, spread(np.int32(lowest))), spread(np.int32(highest)))
            store_codes(codes, done, clamped)
            done += LANES
        for p in range(done, given.size):
            moved = _rescaled(given[p], m, s, once) + np.int64(zero_point)
            codes[p] = _saturate(moved, np.int64(lowest), np.int64(highest))


@kernel
def rescale(sums, multiplier, shift, once, out):
    """Write sums (channels, n) rescaled by channel, as int32."""
    for c in range(len(sums)):
        for image in range(sums.shape[1]):
            moved = _rescaled(sums[c, image], multiplier[c], shift[c], once)
            out[c, image] = np.int32(_saturate(moved, INT32_MIN, INT32_MAX))


@kernel
def add_up(sums, lowest, out):
    """Write the sum over all places, each at least `lowest`: sums (channels, n, places), out (channels, n)."""
    for c in range(len(sums)):
        for image in range(sums.shape[1]):
            total = np.int32(0)
            for p in range(sums.shape[2]):
                total = np.int32(total + max(sums[c, image, p], lowest))
            out[c, image] = total


@kernel
def largest(x, out):
    """Write the largest code of every 2 × 2: x (planes, h, w), out (planes, h // 2, w // 2)."""
    for plane in range(len(out)):
        for i in range(out.shape[1]):
            above, below, best = x[plane, 2 * i], x[plane, 2 * i + 1], out[plane, i]
            for j in range(best.size):
                best[j] = max(max(above[2 * j], above[2 * j + 1]), max(below[2 * j], below[2 * j + 1]))
