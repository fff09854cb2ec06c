"""Obvious, slow numpy versions of the engine's algorithms, written from DESIGN.md and not from the code."""

from __future__ import annotations

import itertools
import math

import numpy as np

# --- affine ---------------------------------------------------------------------------------------------------------


def affine_parameters(lo, hi, qmin, qmax, symmetric):
    """Return scale (float32) and zero point of clipping ranges."""
    lo, hi = np.minimum(np.float64(lo), 0.0), np.maximum(np.float64(hi), 0.0)
    scale = np.maximum(-lo, hi) / qmax if symmetric else (hi - lo) / (qmax - qmin)
    scale = np.where(scale == 0.0, 1.0, scale)
    zero_point = 0 * scale if symmetric else np.clip(np.rint(qmin - lo / scale), qmin, qmax)
    return np.maximum(scale.astype(np.float32), np.float32(2.0**-149)), zero_point.astype(int)


def encode(x, scale, zero_point, qmin, qmax, whole=np.rint):
    """Return saturate(rint(x / scale) + zero_point), half to even, every operation in float32."""
    with np.errstate(over="ignore"):
        return np.clip(whole(x / scale) + np.asarray(zero_point, np.float32), qmin, qmax).astype(np.int64)


def decode(codes, scale, zero_point):
    """Return scale · (code − zero_point) in float32."""
    return (codes.astype(np.float32) - np.asarray(zero_point, np.float32)) * scale


def spread(per_block, shape, block):
    """Return one value a block as one value an element: element i of an axis lies in block i // block length."""
    places = [np.arange(size) // max(length, 1) for size, length in zip(shape, block, strict=True)]
    return per_block[np.ix_(*places)] if shape else per_block


def blocks(x, block):
    """Yield the grid index and the values of every block."""
    counts = [max(math.ceil(size / length), 1) if length else 1 for size, length in zip(x.shape, block, strict=True)]
    for place in itertools.product(*map(range, counts)):
        yield place, x[tuple(slice(i * length, (i + 1) * length) for i, length in zip(place, block, strict=True))]


def nearest_levels(u, values):
    """Return the number of the nearest of ascending values to each u, of two the lower one; float64 is exact here."""
    return np.abs(np.asarray(u, np.float64)[:, None] - np.asarray(values, np.float64)).argmin(axis=1)


def best_scale_mse(x, values, scales):
    """Return the least mean squared error of the levels scale · value over the scales."""
    return min(levels_mse(x, np.asarray(values) * scale) for scale in scales)


# --- error ----------------------------------------------------------------------------------------------------------


def outside(x, lo, hi):
    """Say which values are outside by more than float32 rounds the outermost levels, at most twice and their scale."""
    lo, hi = np.float32(lo), np.float32(hi)
    return (x < lo - np.abs(lo) * np.float32(2.0**-22)) | (x > hi + np.abs(hi) * np.float32(2.0**-22))


def metrics(x, x_hat, lo, hi):
    """Return mse, rounding mse, clipping mse, largest |error|, cosine, sqnr_db; [lo, hi] are the outermost levels."""
    clipped = outside(x, lo, hi)
    x, x_hat = x.astype(np.float64), x_hat.astype(np.float64)
    square = (x_hat - x) ** 2
    signal, noise = np.sum(x * x), square.sum()
    norms = math.sqrt(np.sum(x * x)) * math.sqrt(np.sum(x_hat * x_hat))
    return {
        "mse": square.mean(),
        "clipping_mse": np.where(clipped, square, 0.0).mean(),
        "rounding_mse": np.where(clipped, 0.0, square).mean(),
        "max_abs": np.abs(x_hat - x).max(),
        "clipped": int(clipped.sum()),
        "cosine": np.sum(x * x_hat) / norms if norms else float(not square.any()),
        "sqnr_db": 10 * math.log10(signal / noise) if signal and noise else -math.inf if noise else math.inf,
    }


def levels_mse(x, levels):
    """Return the mean squared error of taking each value to its nearest level, in float64."""
    x, levels = np.asarray(x, np.float64).reshape(-1), np.asarray(levels, np.float64)
    nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, x)]
    return math.fsum((x - nearest) ** 2) / x.size


def even_mse(x, steps, least, greatest):
    """Return the mean squared error of the levels step · k, least ≤ k ≤ greatest, for each step."""
    x = np.asarray(x, np.float64).reshape(-1)
    found = []
    for step in np.atleast_1d(steps):
        error = np.clip(np.rint(x / step), least, greatest) * step - x
        found.append(np.dot(error, error) / x.size)
    return np.array(found)


def offset_mse(x, ranges, span):
    """Return the mean squared error of asymmetric ranges (n, 2): widened to hold 0, the zero point rounded."""
    found = []
    for lo, hi in ranges:
        lo, hi = min(lo, 0.0), max(hi, 0.0)
        step = (hi - lo) / span
        zero = np.rint(-lo / step)
        found.append(even_mse(x, step, -zero, span - zero)[0])
    return np.array(found)


# --- samples and closed forms ---------------------------------------------------------------------------------------


def gaussian_sample(count):
    """Return the means of `count` equally likely strata of N(0, 1): its moments are right to 1e-6 and better."""
    import torch

    edges = torch.special.ndtri(torch.linspace(0, 1, count + 1, dtype=torch.float64)).numpy()
    density = np.exp(-np.square(edges) / 2) / math.sqrt(2 * math.pi)
    return (density[:-1] - density[1:]) * count


def wilson(correct, total, z=1.959963984540054):
    """Return the score interval as the roots of (p̂ − p)² = z² p (1 − p) / n."""
    share = correct / total
    roots = np.roots([1 + z * z / total, -(2 * share + z * z / total), share * share])
    return tuple(np.sort(roots.real))


# --- learned codebooks ------------------------------------------------------------------------------------------------


def min_partition_error(values, weights, k):
    """Return the least Σ weight · (x − mean of its run)² of at most k runs of the sorted values, by trying them all."""
    order = np.argsort(values)
    x, w = np.asarray(values, np.float64)[order], np.asarray(weights, np.float64)[order]

    def run_error(i, j):
        mean = np.dot(w[i:j], x[i:j]) / w[i:j].sum() if w[i:j].any() else 0.0
        return np.dot(w[i:j], (x[i:j] - mean) ** 2)

    error = np.array([[run_error(i, j) if i < j else np.inf for j in range(x.size + 1)] for i in range(x.size)])
    least = np.append(0.0, error[0, 1:])
    for _ in range(k - 1):
        least = np.array([0.0] + [min(least[j], np.min(least[:j] + error[:j, j])) for j in range(1, x.size + 1)])
    return least[-1]


def min_path(cost, links=None):
    """Return the least sum of costs (n + 1, n + 1) on the way from 0 to n, in so many links or in any number."""
    size = len(cost) - 1
    by_links = [np.append(0.0, np.full(size, np.inf))]
    for _ in range(size):
        before = by_links[-1]
        by_links.append(np.array([min(before[:j] + cost[:j, j], default=np.inf) for j in range(size + 1)]))
    return min(costs[size] for costs in by_links) if links is None else by_links[links][size]


def weighted_error(values, weights, levels):
    """Return Σ weight · (x − nearest level)²."""
    levels = np.asarray(levels, np.float64)
    nearest = levels[nearest_levels(values, levels)]
    return math.fsum(np.asarray(weights, np.float64) * (np.asarray(values, np.float64) - nearest) ** 2)


def quantile_means(values, counts, k):
    """Return the distinct means of k equally filled parts: every value k times over is as many in each part."""
    x = np.sort(np.repeat(np.asarray(values, np.float64), np.asarray(counts)))
    distinct = np.unique(x)
    return distinct if distinct.size <= k else np.unique(np.repeat(x, k).reshape(k, -1).mean(axis=1).astype(np.float32))


# --- twins of kernels -------------------------------------------------------------------------------------------------


def block_extremes(x, offsets):
    """Return the least and the greatest value of every run of a flat array."""
    runs = [x[start:stop] for start, stop in itertools.pairwise(offsets)]
    return np.array([run.min() for run in runs]), np.array([run.max() for run in runs])


def first_extremes(x, offsets):
    """Return of every run of a flat array the first of the values that are greatest in magnitude."""
    return np.array([x[start + np.abs(x[start:stop]).argmax()] for start, stop in itertools.pairwise(offsets)])


def ggml_encode(x, inverse, origin, shape):
    """Return the codes of GGUF blocks, in float32: floor(· + ½) counted from `offset`, or half away from zero."""
    offset, least, greatest, away = shape
    steps = (x - origin) * inverse
    away_from_zero = np.sign(steps) * (np.floor(np.abs(steps)) + (np.abs(steps) % 1 >= 0.5))
    return np.clip(away_from_zero if away else np.floor(steps + np.float32(offset + 0.5)), least, greatest).astype(int)


def ggml_decode(codes, scale, minimum, offset):
    """Return scale · (code − offset) + minimum in float32."""
    return (codes - offset).astype(np.float32) * scale + minimum


def aligned_counts(x, width, first, bins):
    """Return how many values lie in [k · width, (k + 1) · width) for k = first, first + 1, …"""
    edges = width * np.arange(first, first + bins + 1)
    x = np.asarray(x, np.float64)
    return np.array([np.count_nonzero((x >= low) & (x < high)) for low, high in itertools.pairwise(edges)])


def moments(x):
    """Return count, Σx and Σx² in float64."""
    x = np.asarray(x, np.float64)
    return np.array([x.size, math.fsum(x), math.fsum(x * x)])


def sums_below(x, thresholds):
    """Return count, Σx and Σx² of the values below each threshold, and of all values."""
    x = np.asarray(x, np.float64)
    return np.array([moments(x[x < threshold]) for threshold in thresholds] + [moments(x)])


def least_squares_step(x, step, least, greatest):
    """Return Σ k·x / Σ k² for the codes that a step gives: the step with the least error for these codes."""
    x = np.asarray(x, np.float64)
    codes = np.clip(np.rint(x / step), least, greatest)
    return np.dot(codes, x) / np.dot(codes, codes)


def fine_mse(x, step, least, greatest):
    """Return step²/12 for every value inside the levels and the squared distance for every other, on average."""
    x = np.asarray(x, np.float64)
    beyond = x - np.clip(x, least * step, greatest * step)
    return np.where(beyond != 0, beyond**2, step**2 / 12).mean()


# --- vectors ----------------------------------------------------------------------------------------------------------


def cut_vectors(x, dim):
    """Return all runs of `dim` values of the rows, (vectors, dim), the last of each row filled up with zeros."""
    rows = x.reshape(-1, x.shape[-1]) if x.size else x.reshape(0, dim)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % dim))).reshape(-1, dim)


def square_distances(vectors, codewords):
    """Return ‖v − c‖² of every vector and codeword in float64."""
    return np.square(vectors.astype(np.float64)[:, None] - np.asarray(codewords, np.float64)).sum(axis=2)


def nearest_codewords(vectors, learned):
    """Return codes (vectors, parts · stages) and x̂ (vectors, dim), each stage coding what those before leave."""
    stages, parts, _, width = learned.shape
    codes, rest = np.zeros((len(vectors), parts, stages), int), vectors.reshape(len(vectors), parts, width).copy()
    x_hat = np.zeros_like(rest)
    for part, stage in itertools.product(range(parts), range(stages)):
        held = learned[stage, part][~np.isnan(learned[stage, part]).any(axis=1)]
        codes[:, part, stage] = square_distances(rest[:, part], held).argmin(axis=1)
        rest[:, part] -= held[codes[:, part, stage]]
        x_hat[:, part] += held[codes[:, part, stage]]
    return codes.reshape(len(vectors), -1), x_hat.reshape(len(vectors), -1)


def lloyd(points, codewords, rounds=200):
    """Return the codewords after Lloyd's steps, until none moves."""
    codewords = np.asarray(codewords, np.float64).copy()
    for _ in range(rounds):
        places = square_distances(points, codewords).argmin(axis=1)
        moved = np.array(
            [points[places == j].mean(axis=0) if (places == j).any() else c for j, c in enumerate(codewords)]
        )
        if np.array_equal(moved, codewords):
            break
        codewords = moved
    return codewords


# --- calibration ------------------------------------------------------------------------------------------------------


def smoothed(counts, eps=1e-4):
    """Return counts in which every empty bin holds eps, taken evenly off the others (none falls below eps)."""
    empty = counts == 0
    taken = eps * empty.sum() / max((~empty).sum(), 1)
    return np.where(empty, eps, np.maximum(counts - taken, eps))


def divergence(counts, start, stop, levels):
    """Return KL(P ‖ Q) of the bins `start` to `stop`; Q has one share for each of `levels` runs of bins."""
    inside = counts[start:stop].astype(np.float64)
    p = inside.copy()
    p[0] += counts[:start].sum()
    p[-1] += counts[stop:].sum()
    run = p.size // levels
    q = np.zeros_like(p)
    for k in range(levels):
        held = inside[k * run :] if k == levels - 1 else inside[k * run : (k + 1) * run]
        part = slice(k * run, (k + 1) * run)
        filled = np.count_nonzero(p[part])
        q[part] = held.sum() / filled if filled else 0.0
    if not q.any():
        return np.inf
    p, q = smoothed(p), smoothed(q)
    p, q = p / p.sum(), q / q.sum()
    return np.sum(p * np.log(p / q))


def divergences(counts, zero, levels):
    """Return the ends and KL of every candidate: bin `zero` and i bins to either side, as far as there are any."""
    ends = [(max(zero - i, 0), min(zero + i + 1, counts.size)) for i in range(max(zero, counts.size - 1 - zero) + 1)]
    wide = [(start, stop) for start, stop in ends if stop - start >= levels]
    return wide, np.array([divergence(counts, start, stop, levels) for start, stop in wide])


def integral(function, start, stop, count=200_001):
    """Return Simpson's integral of a function."""
    x = np.linspace(start, stop, count)
    weights = np.where(np.arange(count) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    return np.dot(weights, function(x)) * (x[1] - x[0]) / 3.0


# --- allocation -----------------------------------------------------------------------------------------------------


def best_choice(costs, sizes, budget):
    """Return the least cost of all choices that fit, by trying each of them; None if none fits."""
    layers = range(len(costs))
    found = [
        sum(costs[layer][k] for layer, k in zip(layers, choice, strict=True))
        for choice in itertools.product(range(len(costs[0])), repeat=len(costs))
        if sum(sizes[layer][k] for layer, k in zip(layers, choice, strict=True)) <= budget
    ]
    return min(found, default=None)


def best_cost_by_budget(costs, sizes, budget):
    """Return the least cost at every whole budget from 0 to `budget`: best[b] = min_k best'[b − size_k] + cost_k."""
    best = np.zeros(budget + 1)
    for layer_costs, layer_sizes in zip(costs, sizes, strict=True):
        with_layer = np.full(budget + 1, np.inf)
        for cost, size in zip(layer_costs, layer_sizes, strict=True):
            if size <= budget:
                with_layer[size:] = np.minimum(with_layer[size:], best[: budget + 1 - size] + cost)
        best = with_layer
    return best


# --- compensation -----------------------------------------------------------------------------------------------------


def optimal_brain_quantization(W, H, order, rounded, damping=0.01):
    """Return Ŵ of rounding one input after another, in an order, with H⁻¹ of the inputs that are left.

    `rounded(j, column)` gives the values of input j. After each, the others take −(w_j − ŵ_j)/[H⁻¹]_jj · [H⁻¹]_j:, and
    row and column j are taken out of H⁻¹ by a step of Gaussian elimination (Frantar et al. 2023, equations 2 and 3).
    """
    W, found = np.array(W, np.float64), np.zeros(np.shape(W))
    inverse = np.linalg.inv(H + damping * np.mean(np.diag(H)) * np.eye(len(H)))
    for j in order:
        found[:, j] = rounded(j, W[:, j])
        W -= np.outer((W[:, j] - found[:, j]) / inverse[j, j], inverse[j])
        inverse -= np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return found


def optimal_brain_weights(W, H, count, rounded, damping=0.01):
    """Return what the weights have become when the first `count` inputs are rounded: the least squares of the rest."""
    damped = H + damping * np.mean(np.diag(H)) * np.eye(len(H))
    W = np.array(W, np.float64)
    lost = np.stack([W[:, j] - rounded(j, None) for j in range(count)], axis=1)
    W[:, count:] += lost @ damped[:count, count:] @ np.linalg.inv(damped[count:, count:])
    return W


def equalized(weights, groups, channels, rounds=500):
    """Return the weights of a chain, (out, in), with s = √(r₁ r₂)/r₂ at every channel of every joint, by turns."""
    weights = [np.array(weight, np.float64) for weight in weights]
    for _ in range(rounds):
        for at in range(len(weights) - 1):
            first, second = weights[at], weights[at + 1]
            read_channels = channels[at + 1] // groups[at + 1]
            rows, width = len(second) // groups[at + 1], second.shape[1] // read_channels
            for channel in range(len(first)):
                group, place = divmod(channel, read_channels)
                part = second[group * rows : (group + 1) * rows, place * width : (place + 1) * width]
                made, read = np.abs(first[channel]).max(), np.abs(part).max()
                scale = math.sqrt(made * read) / read if made and read else 1.0
                first[channel] /= scale
                part *= scale
    return weights


def absorbed(bias, weight, groups, channels, amounts):
    """Return the bias of a layer, (out,), that reads what a smaller input no longer brings, weight by weight."""
    found = np.array(bias, np.float64)
    inputs = weight.shape[1] * groups
    for row, weights in enumerate(weight):
        group = row // (len(weight) // groups)
        for column, value in enumerate(weights):
            found[row] += value * amounts[(group * weight.shape[1] + column) // (inputs // channels)]
    return found


def adaround_codes(W, x, y, step, qmin, qmax, iterations, rate, regulariser, warm_start, relu):
    """Return AdaRound's codes and h(V), every sample in every iteration, with gradients and Adam by hand in float64."""
    low, high, first, last = -0.1, 1.1, 20.0, 2.0
    floor = np.floor(W / step)
    share = np.clip((W / step - floor - low) / (high - low), 1e-4, 1 - 1e-4)
    V = np.log(share / (1 - share))
    mean, square = np.zeros_like(V), np.zeros_like(V)

    def forward(h):
        outputs = x @ (step * np.clip(floor + h, qmin, qmax)).T
        return outputs, (np.maximum(outputs, 0) if relu else outputs) - y

    nearest = step * np.clip(np.rint(W / step), qmin, qmax)
    outputs = x @ nearest.T
    unit = np.square((np.maximum(outputs, 0) if relu else outputs) - y).mean(0).sum()
    for iteration in range(iterations):
        sigmoid = 1 / (1 + np.exp(-V))
        stretched = sigmoid * (high - low) + low
        h = np.clip(stretched, 0, 1)
        outputs, difference = forward(h)
        difference = difference * (outputs > 0) if relu else difference
        gradient = 2 / len(x) * difference.T @ x / unit * step * ((floor + h >= qmin) & (floor + h <= qmax))
        done = (iteration / iterations - warm_start) / (1 - warm_start)
        if done >= 0:
            beta = last + 0.5 * (first - last) * (1 + math.cos(math.pi * done))
            gradient -= regulariser / W.size * beta * 2 * np.sign(2 * h - 1) * np.abs(2 * h - 1) ** (beta - 1)
        gradient = gradient * ((stretched >= 0) & (stretched <= 1)) * (high - low) * sigmoid * (1 - sigmoid)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        corrected = mean / (1 - 0.9 ** (iteration + 1)), square / (1 - 0.999 ** (iteration + 1))
        V = V - rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    h = np.clip(1 / (1 + np.exp(-V)) * (high - low) + low, 0, 1)
    return np.clip(floor + (h >= 0.5), qmin, qmax), h


# --- integer-only -----------------------------------------------------------------------------------------------------


def convolved(x, weight, bias, zero_point, groups, stride=(1, 1), padding=((1, 1), (1, 1))):
    """Return bias + Σ weight · (code − zero point) in int64; outside of the image every code − z is 0."""
    outputs, channels, rows, columns = weight.shape
    moved = np.pad(x.astype(np.int64) - zero_point, ((0, 0), (0, 0), *padding))
    ends = (moved.shape[2] - rows) // stride[0] + 1, (moved.shape[3] - columns) // stride[1] + 1
    out = np.zeros((len(x), outputs, *ends), np.int64)
    for o in range(outputs):
        first = o // (outputs // groups) * channels
        for i, j in itertools.product(*map(range, ends)):
            top, left = i * stride[0], j * stride[1]
            seen = moved[:, first : first + channels, top : top + rows, left : left + columns]
            out[:, o, i, j] = int(bias[o]) + (seen * weight[o].astype(np.int64)).sum(axis=(1, 2, 3))
    return out


def high_multiply(a, b):
    """gemmlowp's SaturatingRoundingDoublingHighMul, line by line, in whole numbers of any size."""
    product = a * b
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    total = product + nudge
    return abs(total) // (1 << 31) * (1 if total >= 0 else -1)  # C divides toward 0


def divide_by_power(x, exponent):
    """gemmlowp's RoundingDivideByPOT, line by line."""
    mask = (1 << exponent) - 1
    remainder = x & mask
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if remainder > threshold else 0)


def requantized(total, multiplier, shift, once):
    """TFLite's MultiplyByQuantizedMultiplier: as gemmlowp rounds, or with its single rounding."""
    if once:
        places = 31 - shift
        return (total * multiplier + (1 << (places - 1))) >> places
    left = max(min(total << max(shift, 0), 2**31 - 1), -(2**31))
    return divide_by_power(high_multiply(left, multiplier), max(-shift, 0))


# --- scores --------------------------------------------------------------------------------------------------------


def log_softmax(logits):
    """Return z − log Σ e^z of each row, of the row less its largest."""
    z = logits - logits.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


# --- training -------------------------------------------------------------------------------------------------------


def learned_step_gradients(x, step, lowest, highest, upstream, rule):
    """Return the straight-through gradient of every value and the step's, value by value.

    Written from Esser et al. 2020, equations 1 to 5, and Choi et al. 2018, equation 3 (for α = step · highest).
    """
    by_value, by_step = np.zeros_like(x), 0.0
    for i in np.ndindex(x.shape):
        ratio = x[i] / step
        if ratio > highest:
            slope, by_value[i] = highest, 0.0
        elif ratio < lowest:
            slope, by_value[i] = lowest, 0.0
        else:
            slope, by_value[i] = (np.rint(ratio) - ratio if rule == "LSQ" else 0.0), upstream[i]
        by_step += upstream[i] * slope
    return by_value, by_step
