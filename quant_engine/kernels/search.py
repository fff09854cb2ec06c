"""Search of the clipping range of many small blocks: brute force over candidates, a block at a time in cache."""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import add_any_order, helper, kernel, round_even

EARLY_EXIT = 512  # values between looks at whether a candidate has already lost
REFINEMENTS = 4  # least-squares steps after the search


@helper
def _partial_error(x, inverse, step, least, greatest):
    """Return Σ (x − nearest level)² in float32."""
    error = np.float32(0)
    for i in range(x.size):
        k = round_even(x[i] * inverse)
        k = k if k > least else least
        k = k if k < greatest else greatest
        difference = k * step - x[i]
        error = add_any_order(error, difference * difference)
    return error


@kernel
def _run_error(x, step, least, greatest, limit):
    """Return the squared error of the levels step · k, or anything above `limit` once it exceeds that."""
    inverse = np.float32(1) / step
    error = np.float32(0)
    for i in range(0, x.size, EARLY_EXIT):
        error += _partial_error(x[i : i + EARLY_EXIT], inverse, step, least, greatest)
        if error > limit:
            break
    return error


@kernel
def _least_squares_step(x, step, least, greatest):
    """Return Σ k·x / Σ k² for the codes that `step` gives."""
    inverse = np.float32(1) / step
    product = 0.0
    power = 0.0
    for i in range(x.size):
        k = round_even(x[i] * inverse)
        k = k if k > least else least
        k = k if k < greatest else greatest
        product = add_any_order(product, np.float64(k) * np.float64(x[i]))
        power = add_any_order(power, np.float64(k) * np.float64(k))
    return np.float32(product / power) if power > 0 and product > 0 else step


@kernel
def _polished(x, step, least, greatest, error):
    """Alternate codes and least-squares step while the error falls; return both."""
    for _ in range(REFINEMENTS):
        following = _least_squares_step(x, step, least, greatest)
        next_error = _run_error(x, following, least, greatest, error)
        if not next_error < error:
            break
        step = following
        error = next_error
    return step, error


@helper
def _shrinkage(unit, candidates):
    """Return the factor between candidates that reaches from full coverage to a fifth of mean |x| (peak 1)."""
    total = 0.0
    for i in range(unit.size):
        total += abs(unit[i])
    smallest = min(max(0.2 * total / unit.size, 1e-4), 0.5)
    return np.float32(smallest ** (1.0 / max(candidates - 1, 1)))


@kernel
def best_even_steps(x, offsets, candidates, least, greatest, start, stop, steps):
    """Write, for the blocks `start` to `stop`, the best step for the levels step · k, least ≤ k ≤ greatest.

    Candidates fall evenly, in logarithm, from the step that covers the block. A block is scaled by its largest
    magnitude first, so that tiny and huge values keep float32's precision.
    """
    for block in range(start, stop):
        values = x[offsets[block] : offsets[block + 1]]
        peak = np.float32(0)
        covering = np.float32(0)
        for i in range(values.size):
            magnitude = abs(values[i])
            peak = magnitude if magnitude > peak else peak
            needed = values[i] / greatest if values[i] > 0 else np.float32(0)
            if values[i] < 0 and least < 0:
                needed = values[i] / least
            covering = needed if needed > covering else covering
        if covering == 0:
            steps[block] = peak / (greatest - least)
            continue
        unit = values / peak
        covering = covering / peak
        best = covering
        best_error = np.float32(np.inf)
        factor = _shrinkage(unit, candidates)
        step = covering
        for _ in range(candidates):
            error = _run_error(unit, step, least, greatest, best_error)
            if error < best_error:
                best_error = error
                best = step
            step *= factor
        best, best_error = _polished(unit, best, least, greatest, best_error)
        steps[block] = np.float64(best) * np.float64(peak)


@kernel
def best_offset_steps(x, offsets, candidates, span, start, stop, steps, zeros):
    """Write the best step and zero point (0 to `span`) of the blocks `start` to `stop`, for span + 1 levels.

    Both ends of the block's range, widened to 0, shrink together; then either end alone, as long as that helps.
    """
    top = np.float32(span)
    for block in range(start, stop):
        values = x[offsets[block] : offsets[block + 1]]
        low = np.float32(0)
        high = np.float32(0)
        for i in range(values.size):
            low = values[i] if values[i] < low else low
            high = values[i] if values[i] > high else high
        peak = max(-low, high)
        steps[block] = 0.0
        zeros[block] = 0
        if peak == 0:
            continue
        unit = values / peak
        low = low / peak
        high = high / peak
        best_error = np.float32(np.inf)
        best = (high - low) / top
        best_zero = np.float32(0)
        share = np.ones(2, np.float32)
        kept = np.ones(2, np.float32)
        factor = _shrinkage(unit, candidates)
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
        steps[block] = np.float64(best) * np.float64(peak)
        zeros[block] = np.int64(best_zero)
