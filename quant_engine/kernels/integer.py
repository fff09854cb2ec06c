"""Integer-only layers: sums of products of codes in int32, and their requantization by a fixed-point multiplier.

No kernel here knows a float. Sums wrap like the machine's int32; who compiles a network proves that they cannot.

Requantization as in gemmlowp (`SaturatingRoundingDoublingHighMul` and `RoundingDivideByPOT` in fixedpoint.h; Jacob et
al., Quantization and training of neural networks for efficient integer-arithmetic-only inference, 2018, section 2.2).
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import helper, kernel

HALF = np.int64(1) << np.int64(30)  # of what the high half of a doubled product counts
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
    """Return value / 2^exponent, half away from 0."""
    rest = value & ((np.int64(1) << exponent) - np.int64(1))
    half = ((np.int64(1) << exponent) >> np.int64(1)) - np.int64(1)
    threshold = max(half, np.int64(0)) + (np.int64(1) if value < 0 else np.int64(0))
    return (value >> exponent) + (np.int64(1) if rest > threshold else np.int64(0))


@helper
def _rescaled(value, multiplier, shift, once):
    """Return value · multiplier · 2^(shift − 31): rounded twice as gemmlowp does, or once, half up."""
    if once:
        places = np.int64(31) - np.int64(shift)
        half = (np.int64(1) << places) >> np.int64(1)
        return (np.int64(value) * np.int64(multiplier) + half) >> places
    left, right = max(np.int64(shift), np.int64(0)), max(-np.int64(shift), np.int64(0))
    shifted = _saturate(np.int64(value) << left, LEAST, GREATEST)
    return _divided(_high_product(shifted, multiplier), right)


@kernel
def high_products(values, multiplier, out):
    """Write each value (int32) · multiplier / 2³¹, rounded."""
    for i in range(values.size):
        out[i] = np.int32(_high_product(values[i], multiplier))


@kernel
def divisions(values, exponent, out):
    """Write each value (int32) / 2^exponent, rounded."""
    for i in range(values.size):
        out[i] = np.int32(_divided(np.int64(values[i]), np.int64(exponent)))


@kernel
def _padded(x, reach, pad):
    """Return every channel's images (n, in, h, w) one after the other, framed by `pad`, as (in, …).

    Neighbours share their frame: what is right of a row is left of the next one, what is below an image above the next.
    """
    images, inputs, height, width = x.shape
    tall, wide = height + reach, width + reach
    framed = np.full((inputs, (images * tall + reach) * wide + reach), pad, x.dtype)
    for c in range(inputs):
        for image in range(images):
            for y in range(height):
                place = (image * tall + reach + y) * wide + reach
                for i in range(width):
                    framed[c, place + i] = x[image, c, y, i]
    return framed


@kernel
def _add_products(weights, codes, starts, sums):
    """Add weights (K,) times runs of codes, which start where `starts` (K,) says, to the sums, four at a time."""
    size = sums.size
    k = 0
    while k + 4 <= weights.size:
        a, b = np.int32(weights[k]), np.int32(weights[k + 1])
        c, d = np.int32(weights[k + 2]), np.int32(weights[k + 3])
        first, second = codes[starts[k] : starts[k] + size], codes[starts[k + 1] : starts[k + 1] + size]
        third, fourth = codes[starts[k + 2] : starts[k + 2] + size], codes[starts[k + 3] : starts[k + 3] + size]
        for p in range(size):
            sums[p] = np.int32(
                sums[p]
                + a * np.int32(first[p])
                + b * np.int32(second[p])
                + c * np.int32(third[p])
                + d * np.int32(fourth[p])
            )
        k += 4
    while k < weights.size:
        last, only = np.int32(weights[k]), codes[starts[k] : starts[k] + size]
        for p in range(size):
            sums[p] = np.int32(sums[p] + last * np.int32(only[p]))
        k += 1


@kernel
def _inside(sums, wide, tall, out):
    """Write the sums (places) of framed images without what belongs to the frame: out (n, h, w), of which a part."""
    for image in range(out.shape[0]):
        for y in range(out.shape[1]):
            place = (image * tall + y) * wide
            for i in range(out.shape[2]):
                out[image, y, i] = sums[place + i]


@kernel
def convolve(x, weight, offset, groups, pad, out):
    """Write offset + Σ weight · code for every place, stride 1: `pad` is the code that stands outside of an image.

    x (n, in, h, w), weight (out, in/groups, size, size), out (n, out, h, w). With a frame of `pad` around every image,
    what one weight is multiplied with lies in one run of memory, for all places of all images; what comes out for the
    frame is left.
    """
    height, width = x.shape[2], x.shape[3]
    outputs, channels, size, _ = weight.shape
    reach, members = size // 2, outputs // groups
    framed = _padded(x, reach, pad)
    wide, tall, length = width + reach, height + reach, framed.shape[1]
    starts = np.empty(channels * size * size, np.int64)
    for k in range(starts.size):
        channel, window = k // (size * size), k % (size * size)
        starts[k] = channel * length + window // size * wide + window % size
    sums = np.empty(length - 2 * reach * (wide + 1), np.int32)
    for o in range(outputs):
        sums[:] = offset[o]
        first = o // members * channels
        _add_products(weight[o].reshape(-1), framed[first : first + channels].reshape(-1), starts, sums)
        _inside(sums, wide, tall, out[:, o])


@kernel
def multiply(x, weight, offset, out):
    """Write offset + Σ weight · code: x (n, in), weight (out, in), out (n, out)."""
    for image in range(x.shape[0]):
        for o in range(weight.shape[0]):
            total = offset[o]
            for k in range(weight.shape[1]):
                total = np.int32(total + np.int32(weight[o, k]) * np.int32(x[image, k]))
            out[image, o] = total


@kernel
def requantize(sums, multiplier, shift, once, zero_point, lowest, highest, out):
    """Write the codes of sums (n, channels, places): rescaled by channel, moved by the zero point, clamped."""
    for image in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            m, s = multiplier[c], shift[c]
            for p in range(sums.shape[2]):
                moved = _rescaled(sums[image, c, p], m, s, once) + np.int64(zero_point)
                out[image, c, p] = _saturate(moved, np.int64(lowest), np.int64(highest))


@kernel
def rescale(sums, multiplier, shift, once, out):
    """Write sums (n, channels) rescaled by channel, as int32."""
    for image in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            moved = _rescaled(sums[image, c], multiplier[c], shift[c], once)
            out[image, c] = np.int32(_saturate(moved, LEAST, GREATEST))


@kernel
def add_up(sums, out):
    """Write the sum over all places of what is above 0: sums (n, channels, places), out (n, channels)."""
    for image in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            total = np.int32(0)
            for p in range(sums.shape[2]):
                total = np.int32(total + max(sums[image, c, p], np.int32(0)))
            out[image, c] = total


@kernel
def largest(x, out):
    """Write the largest code of every 2 × 2: x (n, channels, h, w), out (n, channels, h // 2, w // 2)."""
    for image in range(out.shape[0]):
        for c in range(out.shape[1]):
            for i in range(out.shape[2]):
                above, below = x[image, c, 2 * i], x[image, c, 2 * i + 1]
                for j in range(out.shape[3]):
                    out[image, c, i, j] = max(max(above[2 * j], above[2 * j + 1]), max(below[2 * j], below[2 * j + 1]))
