"""Integer-only layers: sums of products of codes in int32, and their requantization by a fixed-point multiplier.

No kernel here knows a float. Sums wrap like the machine's int32; who compiles a network proves that they cannot.

Requantization as in gemmlowp (`SaturatingRoundingDoublingHighMul` and `RoundingDivideByPOT` in fixedpoint.h; Jacob et
al., Quantization and training of neural networks for efficient integer-arithmetic-only inference, 2018, section 2.2).
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import helper, kernel
from quant_engine.kernels.lanes import LANES, add_pairs, load, pair, spread, store

HALF = np.int64(1) << np.int64(30)  # of what the high half of a doubled product counts
AT_ONCE = 8  # outputs of a convolution whose sums are together in the cache
LEAST, GREATEST = -(np.int64(1) << np.int64(31)), (np.int64(1) << np.int64(31)) - np.int64(1)


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
    return _high_product(_saturate(np.int64(value) << np.int64(shift), LEAST, GREATEST), multiplier)


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
def _pair_up(x, first, each, zero_point, left, pitch, lead, units):
    """Write what `each` channels from `first` on of images (in, n, h, w) have above the zero point, in pairs.

    units (pairs, columns, …) hold them once for each column of a weight: `lead` zeros, then image after image, row
    after row, each `pitch` numbers behind the one before. A place's own column is that with `left` others before it;
    the numbers for the others are 0 where they would come from beyond the edge.
    """
    (_, images, height, width), (pairs, columns, length) = x.shape, units.shape
    places = height * width
    codes, out = x.ravel(), units.ravel()
    for unit in range(pairs):
        for image in range(images):
            source = ((first + 2 * unit) * images + image) * places
            target = unit * columns * length + lead + image * pitch
            if 2 * unit + 1 == each:
                _lift(codes, source, zero_point, out, target, places)
            else:
                _lift_pairs(codes, source, source + images * places, zero_point, out, target, places)
            for k in range(1, columns):
                _repeat(out, target, target + k * length, places)
            for k in range(columns):
                _leave_out(out, target + k * length, height, width, k - left)


@helper
def _lift(codes, source, zero_point, out, target, count):
    source, target = np.uintp(source), np.uintp(target)
    for p in range(np.uintp(count)):
        out[target + p] = pair(np.int32(codes[source + p]) - zero_point, 0)


@helper
def _lift_pairs(codes, source, other, zero_point, out, target, count):
    source, other, target = np.uintp(source), np.uintp(other), np.uintp(target)
    for p in range(np.uintp(count)):
        out[target + p] = pair(np.int32(codes[source + p]) - zero_point, np.int32(codes[other + p]) - zero_point)


@helper
def _repeat(array, source, target, count):
    source, target = np.uintp(source), np.uintp(target)
    for p in range(np.uintp(count)):
        array[target + p] = array[source + p]


@helper
def _leave_out(array, start, height, width, shift):
    """Set those columns of rows from `start` on to 0 that a shift would bring in from the row before or behind."""
    columns = min(abs(shift), width)
    place = start if shift > 0 else start + width - columns
    for _ in range(height):
        for column in range(columns):
            array[np.uintp(place + column)] = 0
        place += width


@kernel
def _add_products(weights, codes, starts, offset, sums):
    """Write offset + Σ weights (outputs, K) times runs of codes, which start where `starts` (K,) says: (outputs, size).

    Both are pairs in an int32. Four outputs are added up at once, at 2 · LANES places, of which there must be as many;
    the last ones overlap.
    """
    outputs, size = sums.shape
    out, step = sums.ravel(), 2 * LANES
    for block in range((size + step - 1) // step):
        p, o = min(block * step, size - step), 0
        while o + 4 <= outputs:
            a, b, c, d = spread(offset[o]), spread(offset[o + 1]), spread(offset[o + 2]), spread(offset[o + 3])
            e, f, g, h = a, b, c, d
            for k in range(starts.size):
                at = starts[k] + p
                left, right = load(codes, at), load(codes, at + LANES)
                w = spread(weights[o, k])
                a, e = add_pairs(a, left, w), add_pairs(e, right, w)
                w = spread(weights[o + 1, k])
                b, f = add_pairs(b, left, w), add_pairs(f, right, w)
                w = spread(weights[o + 2, k])
                c, g = add_pairs(c, left, w), add_pairs(g, right, w)
                w = spread(weights[o + 3, k])
                d, h = add_pairs(d, left, w), add_pairs(h, right, w)
            _store_both(out, o * size + p, a, e)
            _store_both(out, (o + 1) * size + p, b, f)
            _store_both(out, (o + 2) * size + p, c, g)
            _store_both(out, (o + 3) * size + p, d, h)
            o += 4
        while o < outputs:
            a = spread(offset[o])
            b = a
            for k in range(starts.size):
                w = spread(weights[o, k])
                a = add_pairs(a, load(codes, starts[k] + p), w)
                b = add_pairs(b, load(codes, starts[k] + p + LANES), w)
            _store_both(out, o * size + p, a, b)
            o += 1


@helper
def _store_both(out, start, first, second):
    store(out, start, first)
    store(out, start + LANES, second)


@kernel
def convolve(x, weight, offset, groups, zero_point, stride, before, out):
    """Write offset + Σ weight · (code − zero point) for every place; outside of an image every code is the zero point.

    x (in, n, h, w), weight (out, in/groups, rows, columns), out (out, n, h', w') with h' ≤ h and w' ≤ w; `before` is by
    how many rows and columns, fewer than a weight has, an image is framed above and on the left. What one pair of
    weights is multiplied with lies in one run of memory, for all places of all images; what comes out where there is no
    place is left.
    """
    outputs, each, rows, columns = weight.shape
    _, images, height, width = x.shape
    members, pairs = outputs // groups, (each + 1) // 2
    pitch = (height + max(before[0], rows - 1 - before[0])) * width
    lead, size = before[0] * width + before[1], max(images * pitch, 2 * LANES)
    length = size + (rows - 1) * width + columns - 1
    units = np.zeros((pairs, columns, length), np.int32)
    flat = units.ravel()
    starts, paired = _taps(weight, width, length)
    whole = out.size == outputs * size
    step, places = members if whole else min(members, AT_ONCE), out.size // outputs
    scratch, found = np.empty((0 if whole else step, size), np.int32), out.reshape(outputs, places)
    for first in range(0, outputs, members):
        _pair_up(x, first // members * each, each, zero_point, before[1], pitch, lead, units)
        for o in range(first, first + members, step):
            last = min(o + step, first + members)
            sums = found[o:last] if whole else scratch[: last - o]
            _add_products(paired[o:last], flat, starts, offset[o:last], sums)
            for one in range(0 if whole else last - o):
                run, target = one * size, (o + one) * places
                _take(scratch.ravel(), run, pitch, width, stride, out.ravel(), target, out.shape[1:])


@kernel
def _taps(weight, width, length):
    """Return where the codes of each pair of weights start in a group's units (K,), and the pairs (outputs, K)."""
    outputs, each, rows, columns = weight.shape
    pairs, taps = (each + 1) // 2, rows * columns
    starts, paired = np.empty((pairs, taps), np.int64), np.zeros((outputs, pairs, taps), np.int32)
    flat = weight.reshape(outputs, each, taps)
    for unit in range(pairs):
        for tap in range(taps):
            starts[unit, tap] = (unit * columns + tap % columns) * length + tap // columns * width + tap % columns
    for o in range(outputs):
        for channel in range(each):
            for tap in range(taps):
                paired[o, channel >> 1, tap] |= pair(flat[o, channel, tap], 0) << 16 * (channel & 1)
    return starts.ravel(), paired.reshape(outputs, -1)


@helper
def _take(sums, start, pitch, width, stride, out, first, shape):
    """Write every stride-th number of every stride-th row of images (n, h', w') as they lie in an array from `start`.

    Each begins `pitch` numbers behind the one before; they are written one after the other, from `first` on.
    """
    images, height, columns = shape
    together = stride[0] == 1 and stride[1] == 1 and columns == width
    count, rows = (height * width, 1) if together else (columns, height)
    along, target = np.uintp(stride[1]), np.uintp(first)
    for image in range(images):
        for y in range(rows):
            source = np.uintp(start + image * pitch + y * stride[0] * width)
            for i in range(np.uintp(count)):
                out[target + i] = sums[source + i * along]
            target += np.uintp(count)


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
        for p in range(given.size):
            moved = _rescaled(given[p], m, s, once) + np.int64(zero_point)
            codes[p] = _saturate(moved, np.int64(lowest), np.int64(highest))


@kernel
def rescale(sums, multiplier, shift, once, out):
    """Write sums (channels, n) rescaled by channel, as int32."""
    for c in range(len(sums)):
        for image in range(sums.shape[1]):
            moved = _rescaled(sums[c, image], multiplier[c], shift[c], once)
            out[c, image] = np.int32(_saturate(moved, LEAST, GREATEST))


@kernel
def add_up(sums, out):
    """Write the sum over all places of what is above 0: sums (channels, n, places), out (channels, n)."""
    for c in range(len(sums)):
        for image in range(sums.shape[1]):
            total = np.int32(0)
            for p in range(sums.shape[2]):
                total = np.int32(total + max(sums[c, image, p], np.int32(0)))
            out[c, image] = total


@kernel
def largest(x, out):
    """Write the largest code of every 2 × 2: x (planes, h, w), out (planes, h // 2, w // 2)."""
    for plane in range(len(out)):
        for i in range(out.shape[1]):
            above, below, best = x[plane, 2 * i], x[plane, 2 * i + 1], out[plane, i]
            for j in range(best.size):
                best[j] = max(max(above[2 * j], above[2 * j + 1]), max(below[2 * j], below[2 * j + 1]))
