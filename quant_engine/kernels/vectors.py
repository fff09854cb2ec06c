"""Nearest codewords of vectors, and what learning them takes.

‖x − c‖² = ‖x‖² − 2 x·c + ‖c‖², of which ½‖c‖² − x·c decides; it is kept in registers for a run of vectors while the
codewords pass by. Values count from a centre and in a unit (a power of two) that suit the codewords, so that what
float32 rounds off is small beside their distances, and neither tiny nor huge values leave it.

A tensor is flat here: rows of `length` values, cut into vectors of `dim` (the last of a row filled up with zeros), and
these into parts with codewords of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.cpython.unsafe import tuple as tuples
from numpy.typing import NDArray

from quant_engine.kernels.affine import NO_SUMS, _add, _grown
from quant_engine.kernels.compile import add_product, helper, kernel, magnitude_bits

RUN = 256  # vectors coded together
WIDEST = 8  # coordinates that one pass over a run takes
LANES = {width: (np.float32(0),) * width for width in (1, 2, 4, WIDEST)}  # each width is a program of its own
with_item: Any = tuples.tuple_setitem
FAR = np.float64(1e30)  # in units; what lies beyond is taken to lie there, so that products stay finite


class Book(NamedTuple):
    """Codewords of every stage and part, and the same as the search takes them.

    A missing codeword is a row of zeros in `codewords` and has an infinite `halves`, which nothing is nearest to.
    """

    codewords: NDArray[np.float32]  # (stages, parts, K, d)
    columns: NDArray[np.float32]  # (stages, parts, K or K + 1, width): −(codeword − centre) · unit, then zeros
    halves: NDArray[np.float32]  # (stages, parts, K or K + 1): half the square length of these
    centres: NDArray[np.float64]  # (stages, parts, d)
    units: NDArray[np.float64]  # (stages, parts)
    lanes: tuple[np.float32, ...]  # of LANES, that of the width


class Layout(NamedTuple):
    """How a flat tensor is cut: `length` of a row, `dim` of a vector."""

    length: int
    dim: int


class Room(NamedTuple):
    """Memory to work in for one run of vectors."""

    rest: Any  # (d, RUN): what the stages so far leave
    points: Any  # (width, RUN)
    min_scores: Any  # (RUN,)
    places: Any  # (stages, RUN) int32


@kernel
def _room(book):
    stages, _, _, d = book.codewords.shape
    return Room(
        np.empty((d, RUN), np.float32),
        np.zeros((book.columns.shape[3], RUN), np.float32),
        np.empty(RUN, np.float32),
        np.empty((stages, RUN), np.int32),
    )


@helper
def _coordinates(columns, j, first, lanes):
    """Return as many coordinates of a codeword as there are lanes, in registers."""
    found = lanes
    for q in range(len(lanes)):
        found = with_item(found, q, columns[j, first + q])
    return found


@helper
def _score(score, codeword, points, q, i):
    for k in range(len(codeword)):
        score = add_product(score, points[q + k, i], codeword[k])
    return score


@kernel
def _scan(columns, halves, points, min_scores, places, lanes):
    """Lower `min_scores` to the score of a better codeword, two at a time, and write its place."""
    for j in range(0, halves.size, 2):
        one = _coordinates(columns, j, 0, lanes)
        other = _coordinates(columns, j + 1, 0, lanes)
        one_half, other_half = halves[j], halves[j + 1]
        one_place, other_place = np.int32(j), np.int32(j + 1)
        for i in range(min_scores.size):
            best = min_scores[i]
            place = places[i]
            score = _score(one_half, one, points, 0, i)
            place = one_place if score < best else place
            best = score if score < best else best
            score = _score(other_half, other, points, 0, i)
            places[i] = other_place if score < best else place
            min_scores[i] = score if score < best else best


@kernel
def _scan_wide(columns, halves, points, min_scores, places, lanes):
    """Do what `_scan` does for codewords of many coordinates, a multiple of WIDEST."""
    scores = np.empty(min_scores.size, np.float32)
    for j in range(halves.size):
        place = np.int32(j)
        for i in range(min_scores.size):
            scores[i] = halves[j]
        for q in range(0, columns.shape[1] - WIDEST, WIDEST):
            some = _coordinates(columns, j, q, lanes)
            for i in range(min_scores.size):
                scores[i] = _score(scores[i], some, points, q, i)
        last = columns.shape[1] - WIDEST
        some = _coordinates(columns, j, last, lanes)
        for i in range(min_scores.size):
            score = _score(scores[i], some, points, last, i)
            places[i] = place if score < min_scores[i] else places[i]
            min_scores[i] = score if score < min_scores[i] else min_scores[i]


@kernel
def _search(columns, halves, points, min_scores, places, lanes):
    """Write the places of the nearest codewords to as many points as there are places, of equals the first."""
    for i in range(min_scores.size):
        min_scores[i] = np.inf
        places[i] = 0
    if columns.shape[1] == len(lanes):
        _scan(columns, halves, points, min_scores, places, lanes)
    else:
        _scan_wide(columns, halves, points, min_scores, places, lanes)


@helper
def _coordinate(value, centre, unit):
    inside = (np.float64(value) - centre) * unit
    inside = inside if inside < FAR else FAR
    return np.float32(inside if inside > -FAR else -FAR)


@helper
def _where(layout, vector, offset):
    """Return where a value of a vector lies in its row, and in the flat tensor."""
    per_row = (layout.length + layout.dim - 1) // layout.dim
    along = (vector % per_row) * layout.dim + offset
    return along, (vector // per_row) * layout.length + along


@kernel
def _take(x, layout, offset, first, rest, count):
    """Write a part of `count` vectors, one coordinate a row, and return the largest bit pattern of |x|."""
    max_size = np.int32(0)
    for i in range(count):
        along, place = _where(layout, first + i, offset)
        for q in range(rest.shape[0]):
            value = x[place + q] if along + q < layout.length else np.float32(0)
            rest[q, i] = value
            size = magnitude_bits(value)
            max_size = size if size > max_size else max_size
    return max_size


@kernel
def _code(book, part, room, count):
    """Write the places of the codewords of every stage for what lies in `room.rest`, which these are taken off."""
    stages, _, _, d = book.codewords.shape
    for stage in range(stages):
        centre, unit = book.centres[stage, part], book.units[stage, part]
        for q in range(d):
            for i in range(count):
                room.points[q, i] = _coordinate(room.rest[q, i], centre[q], unit)
        places = room.places[stage, :count]
        given = book.columns[stage, part], book.halves[stage, part], room.points, room.min_scores[:count]
        _search(*given, places, book.lanes)
        codewords = book.codewords[stage, part]
        for i in range(count):
            for q in range(d):
                room.rest[q, i] -= codewords[places[i], q]


@kernel
def encode_vectors(x, layout, book, start, stop, codes):
    """Write the codes of the vectors `start` to `stop`, and return the largest bit pattern of |x|.

    `codes` has a row a vector; part after part, each stage after stage.
    """
    stages, parts, _, d = book.codewords.shape
    room, max_size = _room(book), np.int32(0)
    for first in range(start, stop, RUN):
        count = min(RUN, stop - first)
        for part in range(parts):
            max_size = max(max_size, _take(x, layout, part * d, first, room.rest, count))
            _code(book, part, room, count)
            for stage in range(stages):
                for i in range(count):
                    codes[first + i, part * stages + stage] = room.places[stage, i]
    return max_size


@kernel
def fake_quantize_vectors(x, layout, book, start, stop, out, totals):
    """Write x̂ of the vectors `start` to `stop` to `out` (unless it is empty) and add the metrics to `totals`."""
    stages, parts, _, d = book.codewords.shape
    room, sums, keep = _room(book), NO_SUMS, out.size > 0
    for first in range(start, stop, RUN):
        count = min(RUN, stop - first)
        for part in range(parts):
            _take(x, layout, part * d, first, room.rest, count)
            _code(book, part, room, count)
            for i in range(count):
                along, place = _where(layout, first + i, part * d)
                for q in range(min(d, layout.length - along)):
                    value = book.codewords[0, part, room.places[0, i], q]
                    for stage in range(1, stages):
                        value += book.codewords[stage, part, room.places[stage, i], q]
                    sums = _grown(sums, x[place + q], value, False)
                    if keep:
                        out[place + q] = value
    _add(sums, totals)


@kernel
def decode_vectors(codes, layout, codewords, start, stop, out):
    """Write the sums of the codewords that the codes of the vectors `start` to `stop` number."""
    stages, parts, _, d = codewords.shape
    for vector in range(start, stop):
        for part in range(parts):
            along, place = _where(layout, vector, part * d)
            for q in range(min(d, layout.length - along)):
                value = codewords[0, part, codes[vector, part * stages], q]
                for stage in range(1, stages):
                    value += codewords[stage, part, codes[vector, part * stages + stage], q]
                out[place + q] = value
