"""Search of the clipping range of many small blocks: brute force over candidates, a block at a time in cache."""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import add_any_order, add_product, helper, kernel, ordered, round_even, unordered

EARLY_EXIT = 512  # values between looks at whether a candidate has already lost
CLOSER = 4  # steps tried between the best candidate and the next, on either side
REFINEMENTS = 4  # least-squares steps after the search


@helper
def _code(scaled, qmin, qmax):
    code = round_even(scaled)
    code = code if code > qmin else qmin
    return code if code < qmax else qmax


@kernel
def _partial_error(x, inverse, qmin, qmax):
    """Return Σ (x / step − nearest code)² in float32."""
    error = np.float32(0)
    for i in range(x.size):
        scaled = x[i] * inverse
        difference = scaled - _code(scaled, qmin, qmax)
        error = add_product(error, difference, difference)
    return error


@kernel
def _run_error(x, step, qmin, qmax, limit):
    """Return the squared error of the levels step · k, or anything above `limit` once it exceeds that."""
    inverse = np.float32(1) / step
    square = step * step
    if x.size <= EARLY_EXIT:
        return _partial_error(x, inverse, qmin, qmax) * square
    error = np.float32(0)
    for i in range(0, x.size, EARLY_EXIT):
        error += _partial_error(x[i : i + EARLY_EXIT], inverse, qmin, qmax) * square
        if error > limit:
            break
    return error


@kernel
def _least_squares_step(x, step, qmin, qmax):
    """Return Σ k·x / Σ k² for the codes that `step` gives."""
    inverse = np.float32(1) / step
    product = np.float32(0)
    power = np.float32(0)
    for i in range(x.size):
        code = _code(x[i] * inverse, qmin, qmax)
        product = add_product(product, code, x[i])
        power = add_product(power, code, code)
    return product / power if power > 0 and product > 0 else step


@kernel
def _polished(x, step, qmin, qmax, error):
    """Alternate codes and least-squares step while the error falls; return both."""
    for _ in range(REFINEMENTS):
        following = _least_squares_step(x, step, qmin, qmax)
        next_error = _run_error(x, following, qmin, qmax, error)
        if not next_error < error:
            break
        step = following
        error = next_error
    return step, error


@kernel
def _longest(offsets, start, stop):
    """Return the length of the longest of the blocks `start` to `stop`."""
    longest = 0
    for block in range(start, stop):
        longest = max(longest, offsets[block + 1] - offsets[block])
    return longest


@kernel
def _ends(x):
    """Return the least and the greatest value, widened to 0."""
    low = np.int32(0)
    high = np.int32(0)
    for i in range(x.size):
        key = ordered(x[i])
        low = key if key < low else low
        high = key if key > high else high
    return unordered(low), unordered(high)


@kernel
def _scaled(x, max_abs, unit):
    """Write x / peak to `unit` and return the means of its magnitudes and of its values."""
    magnitudes = np.float32(0)
    total = np.float32(0)
    for i in range(x.size):
        unit[i] = x[i] / max_abs
        magnitudes = add_any_order(magnitudes, abs(unit[i]))
        total = add_any_order(total, unit[i])
    return magnitudes / np.float32(x.size), total / np.float32(x.size)


@kernel
def _best_of(x, step, factor, count, qmin, qmax, best, best_error):
    """Try `count` steps, each the last one times `factor`; return the best of these and `best`, and its error."""
    for _ in range(count):
        error = _run_error(x, step, qmin, qmax, best_error)
        if error < best_error:
            best_error = error
            best = step
        step *= factor
    return best, best_error


@kernel
def best_even_steps(x, offsets, candidates, qmin, qmax, start, stop, steps):
    """Write, for the blocks `start` to `stop`, the best step for the levels step · k, qmin ≤ k ≤ qmax.

    Candidates fall evenly, in logarithm, from the step of min–max to the mean magnitude (of the side that has levels)
    over the largest |k|. No best step is smaller: it is Σ k·x / Σ k² of its own codes, and |k| rises with |x|. A block
    is scaled by its largest magnitude first, so that tiny and huge values keep float32's precision.
    """
    room = np.empty(_longest(offsets, start, stop), np.float32)
    for block in range(start, stop):
        values = x[offsets[block] : offsets[block + 1]]
        low, high = _ends(values)
        max_abs = max(-low, high)
        covering = (max_abs if qmin < 0 else high) / qmax
        if covering == 0:
            steps[block] = max_abs / (qmax - qmin)
            continue
        unit = room[: values.size]
        magnitude, mean = _scaled(values, max_abs, unit)
        smallest = magnitude / max(qmax, -qmin) if qmin < 0 else (magnitude + mean) / (2 * qmax)
        covering /= max_abs
        factor = np.float32(min(smallest / covering, 0.5) ** (1.0 / max(candidates - 1, 1)))
        best, error = _best_of(unit, covering, factor, candidates, qmin, qmax, covering, np.float32(np.inf))
        closer = np.float32(factor ** (1.0 / CLOSER))
        best, error = _best_of(unit, best / factor, closer, 2 * CLOSER + 1, qmin, qmax, best, error)
        best, error = _polished(unit, best, qmin, qmax, error)
        steps[block] = np.float64(best) * np.float64(max_abs)


@helper
def _shrinkage(mean, candidates):
    """Return the factor between candidates that reaches from full coverage to a fifth of mean |x| (peak 1)."""
    smallest = min(max(np.float32(0.2) * mean, np.float32(1e-4)), np.float32(0.5))
    return np.float32(smallest ** (1.0 / max(candidates - 1, 1)))


@kernel
def best_offset_steps(x, offsets, candidates, span, start, stop, steps, zeros):
    """Write the best step and zero point (0 to `span`) of the blocks `start` to `stop`, for span + 1 levels.

    Both ends of the block's range, widened to 0, shrink together; then either end alone, as long as that helps.
    """
    top = np.float32(span)
    room = np.empty(_longest(offsets, start, stop), np.float32)
    for block in range(start, stop):
        values = x[offsets[block] : offsets[block + 1]]
        low, high = _ends(values)
        max_abs = max(-low, high)
        steps[block] = 0.0
        zeros[block] = 0
        if max_abs == 0:
            continue
        unit = room[: values.size]
        factor = _shrinkage(_scaled(values, max_abs, unit)[0], candidates)
        low = low / max_abs
        high = high / max_abs
        best_error = np.float32(np.inf)
        best = (high - low) / top
        best_zero = np.float32(0)
        share = np.ones(2, np.float32)
        kept = np.ones(2, np.float32)
        for turn in range(5):  # both ends, then low, high, low, high
            share[:] = kept
            ratio = np.float32(1) / factor
            for _ in range(candidates):
                ratio *= factor
                if turn != 2 and turn != 4:
                    share[0] = ratio
                if turn != 1 and turn != 3:
                    share[1] = ratio
                step = (high * share[1] - low * share[0]) / top
                zero = min(max(round_even(-low * share[0] / step), np.float32(0)), top)
                error = _run_error(unit, step, -zero, top - zero, best_error)
                if error < best_error:
                    best_error = error
                    best = step
                    best_zero = zero
                    kept[:] = share
        best, best_error = _polished(unit, best, -best_zero, top - best_zero, best_error)
        steps[block] = np.float64(best) * np.float64(max_abs)
        zeros[block] = np.int64(best_zero)
