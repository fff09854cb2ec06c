"""The best partition of sorted values into k runs: least Σ (x − mean of its run)², globally.

That sum is Σx² − Σ gain(i, j) over the runs, gain(i, j) = (Σx)² / count of the values i to j. So the runs are the
shortest path of k links from 0 to n, a link costing −gain. These costs satisfy the Monge condition, and hence the cost
of k links is convex in k: with a price on each link, the shortest path of any number of links (Wilber 1988; here with a
queue of candidates) has k of them at some price. Where a price makes paths of fewer and of more links equally good, two
of them are joined into one of k (Aggarwal, Schieber and Tokuyama, Finding a minimum-weight k-link path in graphs
satisfying the Monge property and applications, 1994, section 3). `sums` holds count and Σx before each value and after
the last, (n + 1, 2); counts increase strictly.
"""

from __future__ import annotations

import math

import numpy as np

from quant_engine.kernels.compile import helper, kernel, round_even

COARSENING = 8  # how many times fewer places the problem has whose price the search starts from
MIN_PLACES = 4  # a run, in the coarsest problem
MAX_PASSES = 100  # a search takes about five
WEIGHT_BITS = 46


@helper
def _gain(sums, i, j):
    total = sums[j, 1] - sums[i, 1]
    return total * total / (sums[j, 0] - sums[i, 0])


@helper
def _overtakes(sums, cost, later, earlier, place):
    """Say whether the path to `place` is shorter by way of `later`; if so, then to every place beyond."""
    return cost[later] - _gain(sums, later, place) < cost[earlier] - _gain(sums, earlier, place)


@helper
def _first_overtaken(sums, cost, later, earlier, first):
    """Return the first place from `first` on where `later` overtakes, or one past the last; it is seldom far."""
    size = cost.size - 1
    if _overtakes(sums, cost, later, earlier, first):
        return first
    below = first
    step = 1
    while below + step < size and not _overtakes(sums, cost, later, earlier, below + step):
        below += step
        step *= 2
    above = min(below + step, size)
    if above == size and not _overtakes(sums, cost, later, earlier, size):
        return size + 1
    while above - below > 1:
        middle = (above + below) >> 1
        if _overtakes(sums, cost, later, earlier, middle):
            above = middle
        else:
            below = middle
    return above


@kernel
def _traced(before):
    """Return the places of the path that ends at the last one."""
    links = 0
    place = before.size - 1
    while place > 0:
        place = before[place]
        links += 1
    path = np.zeros(links + 1, np.int64)
    place = before.size - 1
    for link in range(links, 0, -1):
        path[link] = place
        place = before[place]
    return path


@kernel
def shortest_path(sums, price):
    """Return the places of the shortest path from the first to the last, each link costing `price` more.

    The queue holds, for the places still to come, who is their best predecessor, and from which place on.
    """
    size = sums.shape[0] - 1
    cost = np.zeros(size + 1)
    before = np.zeros(size + 1, np.int32)
    queue = np.zeros(size + 1, np.int32)
    since = np.zeros(size + 1, np.int32)
    head = 0
    tail = 0
    for place in range(1, size + 1):
        while head < tail and since[head + 1] <= place:
            head += 1
        before[place] = queue[head]
        cost[place] = cost[queue[head]] - _gain(sums, queue[head], place) + price
        if place == size:
            break
        while head < tail and _overtakes(sums, cost, place, queue[tail], since[tail]):
            tail -= 1
        first = _first_overtaken(sums, cost, place, queue[tail], max(since[tail], place + 1))
        if first <= size:
            tail += 1
            queue[tail] = place
            since[tail] = first
    return _traced(before)


@kernel
def _path_gain(sums, path):
    """Return Σ (Σx)² / count over the runs of a path."""
    gain = 0.0
    for link in range(path.size - 1):
        gain += _gain(sums, path[link], path[link + 1])
    return gain


@kernel
def joined(few, many, links):
    """Return a path of `links` links: the first part of `many` and the last of `few`, which cross there.

    Some link of `few` spans that link of `many` whose number is greater by links − few's; by the Monge condition the
    two paths that change over there are together no longer than the two that were.
    """
    more = links - (few.size - 1)
    turn = 0
    while many[turn + more + 1] > few[turn + 1]:
        turn += 1
    path = np.empty(links + 1, np.int64)
    for link in range(links + 1):  # compiled sooner than slices
        path[link] = many[link] if link <= turn + more else few[link - more]
    return path


@kernel
def _search(sums, links, price):
    """Return the best path of `links` links, its gain, an upper bound of the gain of any, and the price that led there.

    The number of links falls with the price about as its cube root, which guides the search; where that leaves what is
    known, the price is tried at which the nearest paths of fewer and of more links are equally good.
    """
    size = sums.shape[0] - 1
    few = np.array([0, size])
    many = np.arange(size + 1)
    few_gain = _path_gain(sums, few)
    many_gain = _path_gain(sums, many)
    lowest = 0.0
    highest = np.inf
    bound = np.inf
    if price <= 0.0:
        price = 2.0 * (many_gain - few_gain) / np.float64(links) ** 3
    level = False  # whether the price makes `few` and `many` equally good
    for _ in range(MAX_PASSES):
        path = shortest_path(sums, price)
        found = path.size - 1
        gain = _path_gain(sums, path)
        bound = min(bound, gain + price * (links - found))
        if found == links:
            return path, gain, bound, price
        if level and (found <= few.size - 1 or found >= many.size - 1):
            break
        if found < links:
            highest = price
            if found > few.size - 1:
                few, few_gain = path, gain
        else:
            lowest = price
            if found < many.size - 1:
                many, many_gain = path, gain
        price *= (np.float64(found) / links) ** 3
        level = not lowest < price < highest
        if level:
            price = (many_gain - few_gain) / (many.size - few.size)
    path = joined(few, many, links)
    return path, _path_gain(sums, path), bound, price


@kernel
def best_path(sums, links):
    """Return the best path of `links` links, its gain Σ (Σx)² / count, and an upper bound of the gain of any.

    The two differ by no more than rounding: that certifies that there is no better path.
    The price is first found for every 8th, 64th … place, so that few passes are made over all.
    """
    size = sums.shape[0] - 1
    if links >= size:
        path = np.arange(size + 1)
        gain = _path_gain(sums, path)
        return path, gain, gain
    stride = 1
    while size // (stride * COARSENING) >= MIN_PLACES * links:
        stride *= COARSENING
    price = 0.0
    while stride > 1:
        rows = (size - 1) // stride + 2
        coarse = np.empty((rows, 2))
        for row in range(rows - 1):
            coarse[row, 0] = sums[row * stride, 0]
            coarse[row, 1] = sums[row * stride, 1]
        coarse[rows - 1, 0] = sums[size, 0]
        coarse[rows - 1, 1] = sums[size, 1]
        price = _search(coarse, links, price)[3]
        stride //= COARSENING
    path, gain, bound, _ = _search(sums, links, price)
    return path, gain, bound


@kernel
def distinct(values, weights, held, sums):
    """Write the distinct ones of ascending values to `held` and their sums to `sums`; return how many, and their mean.

    `weights` may be empty: 1 each. What has weight 0 is left out. The sums of x are of x − the mean. Running weights
    are rounded to 2^−`WEIGHT_BITS` of the total, and a value too light to raise them is taken together with the one
    before (the first, with the next): of differences smaller than that, rounding would leave nothing.
    """
    total = 0.0
    centre = 0.0
    for i in range(values.size):
        weight = weights[i] if weights.size > 0 else 1.0
        total += weight
        centre += weight * values[i]
    centre = centre / total if total > 0.0 else 0.0
    unit = math.ldexp(1.0, math.frexp(total)[1] - WEIGHT_BITS)
    count = 0
    running = 0.0
    along = 0.0
    for i in range(values.size):
        weight = weights[i] if weights.size > 0 else 1.0
        running += weight
        along += weight * (values[i] - centre)
        rounded = round_even(running / unit) * unit
        if rounded > sums[count, 0] and (count == 0 or values[i] != held[count - 1]):
            held[count] = values[i]
            count += 1
        sums[count, 0] = rounded if count > 0 else 0.0
        sums[count, 1] = along if count > 0 else 0.0
    return count, centre


@kernel
def means(held, sums, path, levels):
    """Write the mean of each run of a path to `levels`, summed from its first value, so that a single one is exact."""
    for link in range(path.size - 1):
        first = held[path[link]]
        total = 0.0
        for i in range(path[link] + 1, path[link + 1]):
            total += (sums[i + 1, 0] - sums[i, 0]) * (held[i] - first)
        levels[link] = first + total / (sums[path[link + 1], 0] - sums[path[link], 0])


@kernel
def optimal_codebooks(values, weights, offsets, start, stop, codebooks):
    """Write the codebooks of the blocks `start` to `stop`, whose values ascend; what is left of a row stays."""
    max_count = 0
    for block in range(start, stop):
        max_count = max(max_count, offsets[block + 1] - offsets[block])
    held = np.empty(max_count)
    sums = np.zeros((max_count + 1, 2))
    for block in range(start, stop):
        first = offsets[block]
        last = offsets[block + 1]
        count, _ = distinct(values[first:last], weights[first:last], held, sums)
        if count > 0:
            path = best_path(sums[: count + 1], codebooks.shape[1])[0]
            means(held, sums, path, codebooks[block])


@kernel
def _equally_filled(held, sums, centre, levels):
    """Write the means of equally filled parts, from Σx as a function, linear between values, of the count."""
    count = held.size
    place = 0
    before = 0.0
    written = 0
    for part in range(1, levels.size + 1):
        edge = sums[count, 0] * part / levels.size
        while place < count - 1 and sums[place + 1, 0] < edge:
            place += 1
        total = sums[place, 1] + (edge - sums[place, 0]) * (held[place] - centre)
        level = np.float32(centre + (total - before) * levels.size / sums[count, 0])
        level = min(max(level, np.float32(held[0])), np.float32(held[count - 1]))
        if written == 0 or level > levels[written - 1]:
            levels[written] = level
            written += 1
        before = total


@kernel
def quantile_codebooks(values, weights, offsets, start, stop, codebooks):
    """Write the means of equally filled parts of the blocks, or their distinct values where there are no more."""
    max_count = 0
    for block in range(start, stop):
        max_count = max(max_count, offsets[block + 1] - offsets[block])
    held = np.empty(max_count)
    sums = np.zeros((max_count + 1, 2))
    for block in range(start, stop):
        first = offsets[block]
        last = offsets[block + 1]
        count, centre = distinct(values[first:last], weights[first:last], held, sums)
        if count > codebooks.shape[1]:
            _equally_filled(held[:count], sums, centre, codebooks[block])
        else:
            for k in range(count):
                codebooks[block, k] = held[k]
