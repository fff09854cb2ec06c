"""Divergence of quantized histograms from what they stand for, for entropy calibration."""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import add_any_order, helper, kernel


@helper
def _smoothed(count, taken, smoothing):
    """Return what a bin holds after every filled one has given to the empty ones; never less than these get."""
    return max(count - taken, smoothing) if count > 0.0 else smoothing


@helper
def _taken(empty, size, smoothing):
    """Return what each filled bin gives, for each of the empty ones to get `smoothing`."""
    return smoothing * empty / (size - empty)


@kernel
def _relative_log(p, taken, log_q, smoothing):
    """Return Σ p and Σ p (log p − log q) over bins of one q."""
    total = 0.0
    divergence = 0.0
    for i in range(p.size):
        held = _smoothed(p[i], taken, smoothing)
        total = add_any_order(total, held)
        divergence = add_any_order(divergence, held * (np.log(held) - log_q))
    return total, divergence


@kernel
def _merged(p, mass, filled, start, run, shares):
    """Write what one bin of each run holds on average over its filled bins; return how many bins hold nothing.

    `mass` and `filled` are the counts, and how many of them are above 0, before each bin of the histogram; `p` begins
    at bin `start`, and clipped values may have filled its first and last bin. What is left over after the last run
    counts to that, but is not stood for by anything.
    """
    levels = shares.size
    empty = p.size - levels * run
    for k in range(levels):
        left = start + k * run
        right = left + run
        full = filled[right] - filled[left]
        if k == 0 and p[0] > 0.0 and filled[left + 1] == filled[left]:
            full += 1
        if right == start + p.size and p[-1] > 0.0 and filled[right] == filled[right - 1]:
            full += 1
        held = mass[start + p.size if k == levels - 1 else right] - mass[left]
        shares[k] = held / full if full > 0 else 0.0
        empty += run if shares[k] == 0.0 else 0
    return empty


@kernel
def _divergence(p, shares, run, empty, p_empty, smoothing):
    """Return KL(P ‖ Q) for the counts `p`, and for Q a share for each run of bins and nothing after these."""
    p_taken = _taken(p_empty, p.size, smoothing)
    q_taken = _taken(empty, p.size, smoothing)
    p_sum, q_sum, total = 0.0, 0.0, 0.0
    for k in range(shares.size + 1):
        part = p[k * run : (k + 1) * run] if k < shares.size else p[k * run :]
        q = _smoothed(shares[k] if k < shares.size else 0.0, q_taken, smoothing)
        held, divergence = _relative_log(part, p_taken, np.log(q), smoothing)
        p_sum += held
        q_sum += part.size * q
        total += divergence
    return total / p_sum + np.log(q_sum / p_sum)


@kernel
def divergences(counts, zero, levels, smoothing, first, start, stop, found):
    """Write KL(P ‖ Q) of the candidates `start` to `stop`, the bins `first + i` to either side of bin `zero`.

    P are these bins, those clipped counted to the outermost; Q are `levels` runs of bins, what each holds (without the
    clipped) spread evenly over them. Infinite where the bins hold nothing.
    """
    bins = counts.size
    mass = np.zeros(bins + 1)
    filled = np.zeros(bins + 1, np.int64)
    for i in range(bins):
        mass[i + 1] = mass[i] + counts[i]
        filled[i + 1] = filled[i] + np.int64(counts[i] > 0.0)
    room = np.empty(bins)
    shares = np.empty(levels)
    for i in range(start, stop):
        left = max(zero - first - i, 0)
        right = min(zero + first + i + 1, bins)
        found[i] = np.inf
        p = room[: right - left]
        for k in range(p.size):  # an assignment of a slice takes four seconds to compile
            p[k] = counts[left + k]
        p[0] += mass[left]
        p[-1] += mass[bins] - mass[right]
        p_empty = p.size - np.int64(filled[right] - filled[left])
        p_empty -= np.int64(p[0] > 0.0 and counts[left] == 0.0) + np.int64(p[-1] > 0.0 and counts[right - 1] == 0.0)
        run = p.size // levels
        empty = _merged(p, mass, filled, left, run, shares)
        if empty < p.size:
            found[i] = _divergence(p, shares, run, empty, p_empty, smoothing)
