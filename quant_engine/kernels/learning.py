"""Steps of learning codewords (k-means), of many codebooks at once.

`points` (parts, width, n) are the vectors of every part, one coordinate a row, in the unit and from the centre of
`vectors.Book`; coordinates that only fill the width up are 0. Sums are float64, over runs of a fixed number of points,
so that they are the same whatever thread adds which.
"""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import add_any_order, add_product, helper, kernel
from quant_engine.kernels.vectors import RUN, _coordinate, _search, _where


@kernel
def lay_out(x, layout, vectors, frame, start, stop, points):
    """Write the points of the vectors whose numbers are vectors[start:stop]; `frame` is centres (parts, d) and unit."""
    centres, unit = frame
    for first in range(start, stop, RUN):
        for part in range(centres.shape[0]):
            for i in range(first, min(first + RUN, stop)):
                along, place = _where(layout, vectors[i], part * centres.shape[1])
                for q in range(centres.shape[1]):
                    value = x[place + q] if along + q < layout.length else np.float32(0)
                    points[part, q, i] = _coordinate(value, centres[part, q], unit)


@kernel
def _add_points(points, places, sums, counts, squares):
    for i in range(places.size):
        place = places[i]
        counts[place] += 1
        square = 0.0
        for q in range(points.shape[0]):
            value = np.float64(points[q, i])
            sums[place, q] += value
            square += value * value
        squares[place] += square


@helper
def _take_run(points, first, run, count):
    """Copy a run of points: where they are, coordinates may lie so far apart that they share cache lines."""
    for q in range(points.shape[0]):
        for i in range(count):
            run[q, i] = points[q, first + i]


@kernel
def assign(points, active, book, chunk, start, stop, places, sums, counts, squares):
    """Give points to their nearest codewords and add up what each is given: Σx, how many, Σ‖x‖².

    `book` is columns, halves and lanes of every part, as in `vectors.Book`. Task t is chunk t % chunks (of `chunk`
    points) of part active[t // chunks]; the tasks `start` to `stop` are done, each adding to its own `sums`
    (tasks, K, width), `counts` and `squares` (tasks, K).
    """
    columns, halves, lanes = book
    count = points.shape[2]
    chunks = (count + chunk - 1) // chunk
    run, min_scores = np.zeros((points.shape[1], RUN), np.float32), np.empty(RUN, np.float32)
    for task in range(start, stop):
        part = active[task // chunks]
        begin = (task % chunks) * chunk
        for first in range(begin, min(begin + chunk, count), RUN):
            last = min(first + RUN, begin + chunk, count)
            found = places[part, first:last]
            _take_run(points[part], first, run, last - first)
            _search(columns[part], halves[part], run, min_scores[: last - first], found, lanes)
            _add_points(run, found, sums[task], counts[task], squares[task])


@kernel
def _come_nearer(points, place, distances, totals):
    """Lower the square distances to those from the point at `place`, and write their sums over runs."""
    width, count = points.shape
    new = np.empty(RUN, np.float32)
    for run in range(totals.size):
        first = run * RUN
        here = distances[first : min(first + RUN, count)]
        for i in range(here.size):
            new[i] = 0
        for q in range(width):
            centre = points[q, place]
            for i in range(here.size):
                difference = points[q, first + i] - centre
                new[i] = add_product(new[i], difference, difference)
        total = 0.0
        for i in range(here.size):
            here[i] = new[i] if new[i] < here[i] else here[i]
            total = add_any_order(total, np.float64(here[i]))
        totals[run] = total


@kernel
def _drawn(values, target):
    """Return the first place at which the running sum exceeds `target`, or else the last value that is not 0."""
    total, last = 0.0, -1
    for i in range(values.size):
        if values[i] > 0:
            last = i
            total += values[i]
            if total > target:
                break
    return last


@kernel
def spread_starts(points, draws, start, stop, places):
    """Choose, for the parts `start` to `stop`, points to start from: each as likely as far from those before, squared.

    `draws` (parts, K) are uniform in [0, 1). The places come to stand in `places` (parts, K), −1 where all points
    coincide with one that is chosen: so many are distinct.

    Source: Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding (2007), section 2.2.
    """
    count = points.shape[2]
    distances, totals = np.empty(count, np.float32), np.empty((count + RUN - 1) // RUN)
    for part in range(start, stop):
        places[part] = -1
        distances[:] = np.inf
        chosen = np.int64(draws[part, 0] * count)
        for k in range(draws.shape[1]):
            places[part, k] = chosen
            if k + 1 == draws.shape[1]:
                break
            _come_nearer(points[part], chosen, distances, totals)
            target = draws[part, k + 1] * totals.sum()
            run = _drawn(totals, target)
            if run < 0:
                break
            below = totals[:run].sum()
            first = run * RUN
            chosen = first + _drawn(distances[first : first + RUN], target - below)
