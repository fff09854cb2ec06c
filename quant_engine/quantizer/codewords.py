"""Codewords of vectors, learned by k-means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Float64Array
from quant_engine.kernels import affine, learning, vectors
from quant_engine.kernels.parallel import over_ranges
from quant_engine.kernels.vectors import Book, Layout

ROUNDS, SHORT_ROUNDS, ROUND_WORK = 40, 300, 1 << 32  # at most; where a round is short; products of all rounds there
STILL = 1e-6  # a round that lowers the error by less, relatively, is the last
TURNS, TURN_WORK = 4, 1 << 25  # from as many starts, of which the best remains; products of a round of all
MIN_POINTS, POINTS_EACH = 1 << 16, 256  # learned from: of large tensors, so many and so many a codeword …
LAST_ROUNDS = 2  # … and rounds on everything after that
STARTS_EACH, MAX_START_WORK = 64, 1 << 31  # points a codeword to choose starts among; products of points and codewords
FRAMED = 1024  # vectors whose median is the centre …
OFF = 16  # … where it is off 0 by so many deviations; else 0, from where values stay as they are
CHUNK, CHUNK_EACH = 1 << 14, 4  # points that are added up together: so many, or so many a codeword
MAX_WORK = 1 << 38  # products of one round


@dataclass(frozen=True)
class Cut:
    """How a tensor is cut: its vectors, how many, into how many parts."""

    layout: Layout
    count: int
    parts: int

    @property
    def width(self) -> int:
        """Coordinates of a vector of one part."""
        return self.layout.dim // self.parts

    def work(self, book: Book) -> int:
        """Return how many products it takes to code the tensor."""
        return self.count * book.columns.size


def book_of(learned: Float32Array) -> Book:
    """Return codewords (stages, parts, K, d), NaN where there are fewer, as kernels search them."""
    missing = _missing(learned)
    there = np.where(missing[..., None], learned[:, :, :1], learned).astype(np.float64)
    centres = np.median(there, axis=2)
    offsets = there - centres[:, :, None]
    units = _unit(np.abs(offsets).max(axis=(2, 3)))
    columns, halves = _searched(offsets * units[..., None, None], missing)
    held = np.where(missing[..., None], np.float32(0), learned)
    return Book(held, columns, halves, centres, units, _lanes(columns))


def learn(x: Float32Array, cut: Cut, stages: int, codewords: int, rng: np.random.Generator) -> Float32Array:
    """Return codewords (stages, parts, codewords, d), each stage learned on what those before leave of `x`.

    Where a part has fewer distinct vectors, the codewords left over are NaN.

    Raises:
        QuantError: where comparing every vector with every codeword would take minutes.
    """
    if cut.count * codewords * cut.layout.dim > MAX_WORK:
        raise QuantError(
            f"{cut.count:,} vectors of {cut.layout.dim} values and {codewords:,} codewords are "
            f"{cut.count * codewords * cut.layout.dim:,} products a round, and more than {MAX_WORK:,} are refused; "
            "choose fewer codewords"
        )
    rest, found = x, []
    for stage in range(stages):
        found.append(_stage(rest, cut, codewords, rng))
        if stage + 1 < stages:
            rest = rest - _rebuilt(rest, cut, book_of(found[-1][None]))
    return np.stack(found)


def _rebuilt(x: Float32Array, cut: Cut, book: Book) -> Float32Array:
    out, totals = np.empty_like(x), np.zeros(affine.TOTALS)
    over_ranges(
        cut.count,
        lambda start, stop: vectors.fake_quantize_vectors(x, cut.layout, book, start, stop, out, totals.copy()),
        cost=cut.work(book),
    )
    return out


def _stage(x: Float32Array, cut: Cut, codewords: int, rng: np.random.Generator) -> Float32Array:
    """Return the codewords (parts, codewords, d) of one stage."""
    frame = _frame(x, cut)
    some = _drawn(cut.count, max(MIN_POINTS, POINTS_EACH * codewords), rng)
    points = _points(x, cut, some, frame)
    found = _best(points, codewords, rng)
    if some.size < cut.count:
        points = _points(x, cut, np.arange(cut.count), frame)
        found, _ = _settled(points, found, LAST_ROUNDS)
    centres, unit = frame
    return (found[:, :, : cut.width] / unit + centres[:, None]).astype(np.float32)


def _best(points: Float32Array, codewords: int, rng: np.random.Generator) -> Float64Array:
    """Return, for every part, the codewords with the least error of some turns from other starts."""
    work = points.size * codewords
    rounds, turns = (
        min(limit, fill // max(work, 1)) for limit, fill in ((SHORT_ROUNDS, ROUND_WORK), (TURNS, TURN_WORK))
    )
    found, min_error = _settled(points, _starts(points, codewords, rng), max(rounds, ROUNDS))
    for _ in range(1, turns):
        other, error = _settled(points, _starts(points, codewords, rng), max(rounds, ROUNDS))
        found[error < min_error] = other[error < min_error]
        min_error = np.minimum(error, min_error)
    return found


def _frame(x: Float32Array, cut: Cut) -> tuple[Float64Array, float]:
    """Return the centre of every part's vectors, roughly, and the unit in which the largest value is about 1."""
    numbers = np.unique(np.linspace(0, cut.count - 1, FRAMED).astype(np.int64))
    some = _points(x, cut, numbers, (np.zeros((cut.parts, cut.width)), 1.0))
    some = some[:, : cut.width]
    centres = np.median(some, axis=2).astype(np.float64)
    spread = np.median(np.abs(some - centres[..., None]), axis=2)
    centres[np.abs(centres) <= OFF * spread] = 0.0
    return centres, float(_unit(np.abs(x).max(initial=0.0)))


def _unit(reach: Any) -> Float64Array:
    """Return the power of two that brings the reach to between ½ and 1."""
    return np.ldexp(1.0, -np.frexp(np.asarray(reach, np.float64))[1])


def _drawn(count: int, limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the numbers of all vectors, or of `limit` drawn among them, ascending."""
    return np.arange(count) if count <= limit else np.sort(rng.choice(count, limit, replace=False))


def _points(x: Float32Array, cut: Cut, numbers: NDArray[np.int64], frame: tuple[Float64Array, float]) -> Float32Array:
    """Return the points (parts, width, n) of the vectors of these numbers."""
    points = np.zeros((cut.parts, _padded(cut.width), numbers.size), np.float32)
    over_ranges(
        numbers.size,
        lambda start, stop: learning.lay_out(x, cut.layout, numbers, frame, start, stop, points),
        cost=points.size,
    )
    return points


def _padded(width: int) -> int:
    """Return the width that kernels search: 1, 2, 4 or a multiple of 8."""
    return next((w for w in vectors.LANES if width <= w), -(-width // vectors.WIDEST) * vectors.WIDEST)


def _lanes(columns: Float32Array) -> tuple[np.float32, ...]:
    """Return the lanes that kernels search columns of this width with."""
    return vectors.LANES[min(columns.shape[-1], vectors.WIDEST)]


def _missing(codewords: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which codewords (…, K, d) there are not."""
    return np.asarray(np.isnan(codewords).any(axis=-1))


def _searched(codewords: Float64Array, missing: NDArray[np.bool_]) -> tuple[Float32Array, Float32Array]:
    """Return columns and halves, as `Book` holds them, of codewords (…, K, d) in their unit."""
    *before, count, width = codewords.shape
    columns = np.zeros((*before, count + count % 2, _padded(width)), np.float32)
    columns[..., :count, :width] = np.where(missing[..., None], 0.0, -codewords)
    halves = np.full(columns.shape[:-1], np.inf, np.float32)
    halves[..., :count] = np.where(missing, np.inf, 0.5 * np.square(columns[..., :count, :], dtype=np.float64).sum(-1))
    return columns, halves


def _starts(points: Float32Array, codewords: int, rng: np.random.Generator) -> Float64Array:
    """Return codewords to start from, (parts, codewords, width), NaN where fewer points are distinct."""
    parts, _, count = points.shape
    draws = rng.random((parts, codewords))
    some = max(min(STARTS_EACH * codewords, MAX_START_WORK // codewords), codewords)
    found = _spread(np.ascontiguousarray(points[:, :, _drawn(count, some, rng)]), draws)
    if some < count and np.isnan(found).any():  # too few are distinct among some, perhaps not among all
        found = _spread(points, draws)
    return found


def _spread(points: Float32Array, draws: Float64Array) -> Float64Array:
    """Return points that lie apart, as many as there are draws, as float64 (parts, K, width)."""
    places = np.empty(draws.shape, np.int64)
    over_ranges(
        points.shape[0],
        lambda start, stop: learning.spread_starts(points, draws, start, stop, places),
        cost=points.size * draws.shape[1],
    )
    found = np.take_along_axis(points, np.maximum(places, 0)[:, None], axis=2).transpose(0, 2, 1).astype(np.float64)
    return np.where(places[..., None] >= 0, found, np.nan)


def _settled(points: Float32Array, codewords: Float64Array, rounds: int) -> tuple[Float64Array, Float64Array]:
    """Return the codewords after Lloyd's steps, each the mean of the points nearest to it, and every part's error.

    The steps end where the error stays. A codeword that no point is nearest to moves to the point with the largest
    error in the bucket with the largest error.
    """
    codewords, before = codewords.copy(), np.full(points.shape[0], np.inf)
    missing = _missing(codewords)
    active = np.arange(points.shape[0])
    places = np.empty((points.shape[0], points.shape[2]), np.int32)
    for _ in range(rounds):
        sums, counts, squares = _assigned(points, active, codewords, places)
        means = sums / np.maximum(counts, 1)[..., None]
        errors = np.maximum(squares - np.square(sums).sum(-1) / np.maximum(counts, 1), 0.0)
        codewords[active] = np.where((counts > 0)[..., None], means, codewords[active])
        empty = (counts == 0) & ~missing[active]
        for i in np.flatnonzero(empty.any(axis=1)):
            part = active[i]
            _repair(points[part], places[part], codewords[part], np.flatnonzero(empty[i]), errors[i])
        error = errors.sum(axis=1)
        falling = (before[active] - error > STILL * error) | empty.any(axis=1)
        before[active] = error
        active = active[falling]
        if not active.size:
            break
    return codewords, before


def _assigned(
    points: Float32Array, active: NDArray[np.int64], codewords: Float64Array, places: NDArray[np.int32]
) -> tuple[Float64Array, NDArray[np.int64], Float64Array]:
    """Return what each codeword of the active parts is given: sums, how many, sums of squares."""
    _, width, count = points.shape
    each = codewords.shape[1]
    columns, halves = _searched(codewords, _missing(codewords))
    book = columns, halves, _lanes(columns)
    chunk = max(CHUNK, CHUNK_EACH * each)
    chunks = -(-count // chunk)
    tasks = active.size * chunks
    sums, counts = np.zeros((tasks, halves.shape[1], width)), np.zeros((tasks, halves.shape[1]), np.int64)
    squares = np.zeros(counts.shape)

    def work(start: int, stop: int) -> None:
        learning.assign(points, active, book, chunk, start, stop, places, sums, counts, squares)

    over_ranges(tasks, work, cost=active.size * count * each)
    found = (array.reshape(active.size, chunks, *array.shape[1:]).sum(axis=1) for array in (sums, counts, squares))
    sums, counts, squares = found
    return sums[:, :each], counts[:, :each], squares[:, :each]


def _repair(
    points: Float32Array,
    places: NDArray[np.int32],
    codewords: Float64Array,
    empty: NDArray[np.int64],
    errors: Float64Array,
) -> None:
    """Move codewords that nothing is nearest to into the buckets with the largest errors."""
    for codeword in empty:
        bucket = int(errors.argmax())
        held = np.flatnonzero(places == bucket)
        if not held.size:
            return
        distances = np.square(points[:, held].astype(np.float64) - codewords[bucket][:, None]).sum(axis=0)
        farthest = held[distances.argmax()]
        codewords[codeword] = points[:, farthest]
        places[farthest] = codeword
        errors[bucket] -= distances.max()
