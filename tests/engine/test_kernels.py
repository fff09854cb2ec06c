"""Every kernel against its obvious twin; a kernel without a test here fails the suite."""

import importlib
import itertools
import math
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher

from quant_engine import kernels
from quant_engine.distribution.indexed import IndexedValues
from quant_engine.kernels import (
    adaround,
    affine,
    choice,
    codebooks,
    compile,
    describe,
    direct,
    entropy,
    floating,
    ggml,
    index,
    integer,
    lanes,
    learning,
    moments,
    observe,
    rounding,
    search,
    segments,
    softmax,
    table,
    vectors,
)
from quant_engine.kernels.choice import Guided
from quant_engine.quantizer.codewords import book_of
from quant_engine.quantizer.thresholds import searched, with_levels
from tests import reference
from tests.engine.strategies import arrays

MODULES = [
    importlib.import_module(f"quant_engine.kernels.{found.name}") for found in pkgutil.iter_modules(kernels.__path__)
]
KERNELS = {
    f"{module.__name__.rpartition('.')[2]}.{name}"
    for module in MODULES
    for name, found in vars(module).items()
    if isinstance(found, Dispatcher) and not name.startswith("_") and found.py_func.__module__ == module.__name__
}
INLINED = {"index.key_bin"}  # helpers that exist only inside the kernels

rng = np.random.default_rng(70)
X = rng.standard_normal(1000).astype(np.float32)
CODES = rng.integers(-8, 8, 1000).astype(np.int8)
OFFSETS = np.array([0, 1, 300, 300 + 64, 999, 1000])
SCALE = np.float32([0.1, 0.02, 0.3, 0.05, 0.7])
ZERO_POINT = np.float32([0, 3, -8, 7, 1])
ENDS = np.float32(-8), np.float32(7)
LEVELS = np.sort(rng.standard_normal(9))
EVERY = np.repeat(np.arange(5), np.diff(OFFSETS))  # the block of each value
PARTS = [(0, 1000), (0, 7), (7, 350), (350, 1000), (299, 301)]


def test_every_kernel_has_a_test_here_that_is_called_by_its_name():
    tested = {name for name in globals() if name.startswith("test_") and name.endswith("_agrees")}
    assert tested == {f"test_{name.replace('.', '_')}_agrees" for name in KERNELS - INLINED}


def test_affine_block_extremes_agrees():
    low, high = np.full(5, np.inf, np.float32), np.full(5, -np.inf, np.float32)
    for start, stop in itertools.pairwise([0, 1, 7, 350, 999, 1000]):  # parts that end inside blocks
        affine.block_extremes(X, OFFSETS, start, stop, low, high)
    np.testing.assert_array_equal((low, high), reference.block_extremes(X, OFFSETS))


def test_affine_encode_blocks_agrees():
    expected = reference.encode(X, SCALE[EVERY], ZERO_POINT[EVERY], -8, 7)
    for start, stop in PARTS:
        codes = np.full(1000, 99, np.int8)
        peak = affine.encode_blocks(X, OFFSETS, SCALE, ZERO_POINT, *ENDS, start, stop, codes)
        np.testing.assert_array_equal(codes[start:stop], expected[start:stop])
        assert (np.delete(codes, slice(start, stop)) == 99).all()
        assert np.int32(peak).view(np.float32) == np.abs(X[start:stop]).max()


def test_affine_decode_blocks_agrees():
    out = np.full(1000, np.nan, np.float32)
    for start, stop in itertools.pairwise([0, 7, 350, 1000]):
        affine.decode_blocks(CODES, OFFSETS, SCALE, ZERO_POINT, start, stop, out)
    np.testing.assert_array_equal(out, reference.decode(CODES, SCALE[EVERY], ZERO_POINT[EVERY]))


def assert_totals(totals, x, x_hat, lo, hi):
    expected = reference.metrics(x, x_hat, lo, hi)
    x, error = x.astype(np.float64), x_hat.astype(np.float64) - x
    assert totals[affine.SQUARED_ERROR] == pytest.approx(expected["mse"] * x.size, rel=1e-12)
    assert totals[affine.CLIPPED_SQUARED_ERROR] == pytest.approx(expected["clipping_mse"] * x.size, rel=1e-12)
    assert totals[affine.CLIPPED] == expected["clipped"]
    assert totals[affine.POWER] == pytest.approx(np.dot(x, x), rel=1e-12)
    assert totals[affine.PRODUCT] == pytest.approx(np.dot(x, error), rel=1e-9)
    assert totals[affine.MAX_ERROR] == expected["max_abs"]


def test_affine_fake_quantize_blocks_agrees():
    scale, zero_point = SCALE[EVERY], ZERO_POINT[EVERY]
    x_hat = reference.decode(reference.encode(X, scale, zero_point, -8, 7), scale, zero_point)
    lo, hi = ((end - zero_point) * scale for end in ENDS)
    for keep, (start, stop) in itertools.product((True, False), PARTS):
        part = slice(start, stop)
        out, totals = np.empty(1000 * keep, np.float32), np.zeros(affine.TOTALS)
        affine.fake_quantize_blocks(X, OFFSETS, SCALE, ZERO_POINT, *ENDS, start, stop, out, totals)
        assert_totals(totals, X[part], x_hat[part], lo[part], hi[part])
        if keep:
            np.testing.assert_array_equal(out[part], x_hat[part])


NOISE = rng.random(1000, np.float32)
WHOLE = {
    rounding.FLOOR: np.floor,
    rounding.CEIL: np.ceil,
    rounding.ZERO: np.trunc,
    rounding.STOCHASTIC: lambda steps: np.floor(steps) + (steps - np.floor(steps) > NOISE),
}


def test_rounding_encode_blocks_agrees():
    for (mode, whole), (start, stop) in itertools.product(WHOLE.items(), PARTS):
        expected, codes = reference.encode(X, SCALE[EVERY], ZERO_POINT[EVERY], -8, 7, whole), np.zeros(1000, np.int8)
        peak = rounding.encode_blocks(X, OFFSETS, SCALE, ZERO_POINT, *ENDS, start, stop, codes, mode, NOISE)
        np.testing.assert_array_equal(codes[start:stop], expected[start:stop])
        assert not np.delete(codes, slice(start, stop)).any()
        assert np.int32(peak).view(np.float32) == np.abs(X[start:stop]).max()


def test_rounding_fake_quantize_blocks_agrees():
    scale, zero_point = SCALE[EVERY], ZERO_POINT[EVERY]
    lo, hi = ((end - zero_point) * scale for end in ENDS)
    for (mode, whole), keep, (start, stop) in itertools.product(WHOLE.items(), (True, False), PARTS):
        x_hat, part = (
            reference.decode(reference.encode(X, scale, zero_point, -8, 7, whole), scale, zero_point),
            slice(start, stop),
        )
        out, totals = np.empty(1000 * keep, np.float32), np.zeros(affine.TOTALS)
        rounding.fake_quantize_blocks(X, OFFSETS, SCALE, ZERO_POINT, *ENDS, start, stop, out, totals, mode, NOISE)
        assert_totals(totals, X[part], x_hat[part], lo[part], hi[part])
        if keep:
            np.testing.assert_array_equal(out[part], x_hat[part])


TABLE = np.float32([-2.0, -0.75, -0.1, 0.0, 0.3, 4.0])
TABLE_EDGES = np.nextafter(0.5 * (TABLE[1:] + TABLE[:-1]), np.float32(np.inf))
TABLE_PLACES = reference.nearest_levels(X / SCALE[EVERY], TABLE)
MINIFLOAT = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])  # one bit of mantissa, least exponent 0: the code is the place
MINIFLOAT_SHAPE = 1, 0, 6.0, np.float32(-0.0)


def assert_quantizes(kernel, given, x_hat, lo, hi):
    for keep, (start, stop) in itertools.product((True, False), PARTS):
        part = slice(start, stop)
        out, totals = np.empty(1000 * keep, np.float32), np.zeros(affine.TOTALS)
        kernel(X, OFFSETS, SCALE, *given, start, stop, out, totals)
        assert_totals(totals, X[part], x_hat[part], lo[part], hi[part])
        if keep:
            np.testing.assert_array_equal(out[part], x_hat[part])


def assert_encodes(kernel, given, expected):
    for start, stop in PARTS:
        codes = np.full(1000, 99, np.uint8)
        peak = kernel(X, OFFSETS, SCALE, *given, start, stop, codes)
        np.testing.assert_array_equal(codes[start:stop], expected[start:stop])
        assert (np.delete(codes, slice(start, stop)) == 99).all()
        assert np.int32(peak).view(np.float32) == np.abs(X[start:stop]).max()


def test_table_fake_quantize_blocks_agrees():
    scale = SCALE[EVERY]
    expected = TABLE[TABLE_PLACES] * scale, TABLE[0] * scale, TABLE[-1] * scale
    for thresholds, levels in every_form(TABLE_EDGES, TABLE):
        assert_quantizes(table.fake_quantize_blocks, (levels, thresholds), *expected)


def test_table_encode_blocks_agrees():
    for thresholds, _ in every_form(TABLE_EDGES, TABLE):
        assert_encodes(table.encode_blocks, (thresholds,), TABLE_PLACES)


@pytest.mark.parametrize("count", [8, 11, 12, 15])
def test_up_to_fifteen_thresholds_count_at_and_beside_each_of_them_filled_up_or_not(count):
    edges = np.sort(np.random.default_rng(count).standard_normal(count).astype(np.float32))
    edges[2] = edges[3]
    beside = [np.nextafter(edges, np.float32(to)) for to in (-np.inf, np.inf)]
    x = np.concatenate([edges, *beside, X, np.float32([-np.inf, -0.0, 0.0, np.inf])])
    codes = np.empty(x.size, np.uint8)
    one, offsets = np.ones(1, np.float32), np.array([0, x.size])
    table.encode_blocks(x, offsets, one, searched(edges), 0, x.size, codes)
    np.testing.assert_array_equal(codes, np.searchsorted(edges, x, side="right"))


def every_form(edges, levels):
    """Yield thresholds and levels in every form that kernels take: compared, halved, guided by their leading bits."""
    nan = np.float32(np.nan)
    yield with_levels(edges, levels)
    yield np.append(edges, np.full((1 << edges.size.bit_length()) - 1 - edges.size, nan)), levels
    offset, shift = np.float32(0.1), 20
    base = offset.view(np.int32) >> shift
    key = ((np.abs(edges) + offset).view(np.int32) >> shift) - base
    half = key.max() + 1
    first = [(np.where(edges < 0, half - 1 - key, half + key) < cell).sum() for cell in range(2 * half)]
    room = np.append(edges, [nan] * edges.size)
    yield Guided(room, np.int32(first), offset, np.int32(shift), np.int32(base), np.int64(edges.size)), levels


def test_choice_cell_agrees():
    guide = searched(np.linspace(-3, 2, 100, dtype=np.float32))
    assert all(lower <= higher for lower, higher in itertools.pairwise(choice.cell(u, guide) for u in np.sort(X)))
    assert 0 <= choice.cell(np.float32(-3e38), guide) < choice.cell(np.float32(3e38), guide) < guide.cells.size


def test_table_scale_blocks_agrees():
    values = X.copy()
    for start, stop in itertools.pairwise([0, 7, 350, 1000]):
        table.scale_blocks(values, OFFSETS, SCALE, start, stop)
    np.testing.assert_array_equal(values, X * SCALE[EVERY])


def test_table_best_scales_agrees():
    values, offsets = np.array([-1.0, -0.3, 0.0, 0.2, 1.0]), np.array([0, 250, 500, 1000])
    scales = np.zeros(3)
    for start, stop in ((0, 1), (1, 3)):
        table.best_scales(X, offsets, values, 1.0, 100, start, stop, scales)
    for scale, (start, stop) in zip(scales, itertools.pairwise(offsets), strict=True):
        x = X[start:stop]
        grid = np.linspace(0.0, 2.0 * np.abs(x).max(), 1001)[1:]
        assert reference.levels_mse(x, values * scale) <= 1.001 * reference.best_scale_mse(x, values, grid)


def test_floating_fake_quantize_blocks_agrees():
    scale = SCALE[EVERY]
    place = reference.nearest_levels(np.abs(X / scale), MINIFLOAT)  # no value of X lies half-way
    x_hat = np.copysign(MINIFLOAT[place], X).astype(np.float32) * scale
    ends = np.float32(6) * scale
    assert_quantizes(floating.fake_quantize_blocks, (MINIFLOAT_SHAPE,), x_hat, -ends, ends)


def test_floating_encode_blocks_agrees():
    place = reference.nearest_levels(np.abs(X / SCALE[EVERY]), MINIFLOAT)
    assert_encodes(floating.encode_blocks, (MINIFLOAT_SHAPE, 8), place + 8 * (X < 0))


GGML_STORED = SCALE * np.float32([1, -1, 1, -1, 0])
GGML_BLOCKS = np.stack([GGML_STORED, ZERO_POINT, 1 / SCALE, ZERO_POINT / 7, SCALE], axis=1)
GGML_SHAPES = [(*map(np.float32, ends), away) for *ends, away in ((8, 0, 15, False), (0, -8, 7, True))]


def test_ggml_first_extremes_agrees():
    x, peaks = np.round(X, 1), np.zeros(5, np.float32)  # so that some are as great as others
    for start, stop in ((0, 2), (2, 5)):
        ggml.first_extremes(x, OFFSETS, start, stop, peaks)
    np.testing.assert_array_equal(peaks, reference.first_extremes(x, OFFSETS))


def test_ggml_encode_blocks_agrees():
    for shape, (start, stop) in itertools.product(GGML_SHAPES, PARTS):
        codes = np.full(1000, 99, np.int8)
        peak = ggml.encode_blocks(X, OFFSETS, GGML_BLOCKS, shape, start, stop, codes)
        expected = reference.ggml_encode(X, *GGML_BLOCKS[EVERY, 2:4].T, shape)
        np.testing.assert_array_equal(codes[start:stop], expected[start:stop])
        assert (np.delete(codes, slice(start, stop)) == 99).all()
        assert np.int32(peak).view(np.float32) == np.abs(X[start:stop]).max()


def test_ggml_fake_quantize_blocks_agrees():
    scale, minimum, inverse, origin, d = GGML_BLOCKS[EVERY].T
    for shape, keep, (start, stop) in itertools.product(GGML_SHAPES, (True, False), PARTS):
        part, offset = slice(start, stop), shape[0]
        x_hat = reference.ggml_decode(reference.ggml_encode(X, inverse, origin, shape), scale, minimum, offset)
        each = itertools.product(shape[1:3], ((scale, minimum), (d, origin)))
        ends = np.stack([reference.ggml_decode(end, *numbers, offset) for end, numbers in each])
        out, totals = np.empty(1000 * keep, np.float32), np.zeros(affine.TOTALS)
        ggml.fake_quantize_blocks(X, OFFSETS, GGML_BLOCKS, shape, start, stop, out, totals)
        assert_totals(totals, X[part], x_hat[part], ends.min(axis=0)[part], ends.max(axis=0)[part])
        if keep:
            np.testing.assert_array_equal(out[part], x_hat[part])


def test_ggml_decode_blocks_agrees():
    for shape in GGML_SHAPES:
        out = np.full(1000, np.nan, np.float32)
        for start, stop in itertools.pairwise([0, 7, 350, 1000]):
            ggml.decode_blocks(CODES, OFFSETS, GGML_BLOCKS, shape, start, stop, out)
        np.testing.assert_array_equal(out, reference.ggml_decode(CODES, *GGML_BLOCKS[EVERY, :2].T, shape[0]))


VECTOR_ROWS = rng.standard_normal((300, 7)).astype(np.float32)  # more vectors than one run of the kernels
CUT = vectors.Layout(7, 4)
LEARNED = rng.standard_normal((2, 2, 5, 2)).astype(np.float32)  # stages, parts, codewords, width
LEARNED[1] *= np.float32(0.3)
LEARNED[1, 0, 4] = np.nan
VECTOR_CODES, VECTOR_VALUES = reference.nearest_codewords(reference.cut_vectors(VECTOR_ROWS, 4), LEARNED)
VECTOR_VALUES = VECTOR_VALUES.reshape(300, 8)[:, :7]
VECTOR_PARTS = [(0, 600), (0, 1), (1, 400), (400, 600)]


def test_vectors_encode_vectors_agrees():
    for start, stop in VECTOR_PARTS:
        codes = np.full((600, 4), 99, np.uint8)
        peak = vectors.encode_vectors(VECTOR_ROWS.reshape(-1), CUT, book_of(LEARNED), start, stop, codes)
        np.testing.assert_array_equal(codes[start:stop], VECTOR_CODES[start:stop])
        assert (np.delete(codes, slice(start, stop), axis=0) == 99).all()
        values = reference.cut_vectors(VECTOR_ROWS, 4)[start:stop]
        assert np.int32(peak).view(np.float32) == np.abs(values).max()


def test_vectors_fake_quantize_vectors_agrees():
    for keep, rows in itertools.product((True, False), [slice(0, 300), slice(0, 1), slice(1, 170), slice(170, 300)]):
        out, totals = np.full(2100 * keep, np.nan, np.float32), np.zeros(affine.TOTALS)
        given = VECTOR_ROWS.reshape(-1), CUT, book_of(LEARNED), 2 * rows.start, 2 * rows.stop
        vectors.fake_quantize_vectors(*given, out, totals)
        x, x_hat = VECTOR_ROWS[rows].reshape(-1), VECTOR_VALUES[rows].reshape(-1)
        assert_totals(totals, x, x_hat, -np.inf, np.inf)
        if keep:
            np.testing.assert_array_equal(out.reshape(300, 7)[rows].reshape(-1), x_hat)
            assert np.isnan(np.delete(out.reshape(300, 7), rows, axis=0)).all()


def test_vectors_decode_vectors_agrees():
    out = np.full(2100, np.nan, np.float32)
    for start, stop in itertools.pairwise([0, 1, 400, 600]):
        vectors.decode_vectors(VECTOR_CODES, CUT, LEARNED, start, stop, out)
    np.testing.assert_array_equal(out.reshape(300, 7), VECTOR_VALUES)


POINTS = np.zeros((2, 4, 600), np.float32)  # two parts of three coordinates, and one that only fills the width up
POINTS[:, :3] = rng.standard_normal((2, 3, 600))


def test_learning_lay_out_agrees():
    numbers, frame = np.array([599, 0, 7, 3, 4]), (np.array([[0.5, 0.0], [-1.0, 2.0]]), 0.25)
    points = np.full((2, 2, 5), np.nan, np.float32)
    for start, stop in ((0, 2), (2, 5)):
        learning.lay_out(VECTOR_ROWS.reshape(-1), CUT, numbers, frame, start, stop, points)
    cut = reference.cut_vectors(VECTOR_ROWS, 4)[numbers].reshape(5, 2, 2)
    np.testing.assert_array_equal(points, ((cut - frame[0]) * 0.25).astype(np.float32).transpose(1, 2, 0))


def test_learning_assign_agrees():
    codewords = rng.standard_normal((2, 6, 3))
    columns, halves = np.zeros((2, 6, 4), np.float32), 0.5 * np.square(codewords.astype(np.float32)).sum(axis=2)
    columns[:, :, :3] = -codewords
    tasks = 3  # of 250, 250 and 100 points
    places, sums, counts = np.zeros((2, 600), np.int32), np.zeros((tasks, 6, 4)), np.zeros((tasks, 6), np.int64)
    squares = np.zeros((tasks, 6))
    for start, stop in ((0, 1), (1, 3)):
        given = POINTS, np.array([1]), (columns, halves, vectors.LANES[4]), 250, start, stop
        learning.assign(*given, places, sums, counts, squares)
    expected = reference.square_distances(POINTS[1, :3].T, codewords[1]).argmin(axis=1)
    np.testing.assert_array_equal(places[1], expected)
    assert not places[0].any()
    for j in range(6):
        held = POINTS[1][:, expected == j].astype(np.float64)
        assert counts[:, j].sum() == held.shape[1]
        np.testing.assert_allclose(sums[:, j].sum(axis=0), held.sum(axis=1), rtol=1e-12, atol=1e-12)
        assert squares[:, j].sum() == pytest.approx(np.square(held).sum(), rel=1e-12)


def test_learning_spread_starts_agrees():
    draws, places = rng.random((2, 8)), np.zeros((2, 8), np.int64)
    for start, stop in ((0, 1), (1, 2)):
        learning.spread_starts(POINTS, draws, start, stop, places)
    for part in range(2):
        assert places[part, 0] == int(draws[part, 0] * 600)
        for k in range(1, 8):
            chosen = POINTS[part][:, places[part, :k]].T
            running = np.cumsum(reference.square_distances(POINTS[part].T, chosen).min(axis=1))
            assert places[part, k] == np.searchsorted(running, draws[part, k] * running[-1], side="right")
    few = np.repeat(POINTS[:1, :, :3], 200, axis=2)
    learning.spread_starts(few, draws, 0, 1, places)
    assert len(set(places[0, :3] // 200)) == 3  # all that are distinct, then none
    assert (places[0, 3:] == -1).all()


def test_affine_compare_agrees():
    x_hat, totals = X + np.float32(0.1) * X[::-1], np.zeros(affine.TOTALS)
    affine.compare(X, x_hat, np.float32(-1), np.float32(2), totals)
    assert_totals(totals, X, x_hat, -1, 2)


def test_observe_count_aligned_agrees():
    counts = np.ones(64, np.int64)
    observe.count_aligned(X, 8.0, -32, counts)
    np.testing.assert_array_equal(counts - 1, reference.aligned_counts(X, 1 / 8, -32, 64))


@pytest.mark.parametrize("beyond", [0.0, np.inf, np.nan])
def test_describe_largest_magnitude_agrees(beyond):
    x = np.concatenate([X, np.float32([beyond, -0.5])])
    np.testing.assert_equal(describe.largest_magnitude(x, 3, x.size), np.abs(x[3:]).max())


def test_describe_shifted_moments_agrees():
    x = np.where(X > 1, 0, X).astype(np.float32)
    off = x[5:990].astype(np.float64) - 0.3
    *sums, zeros = describe.shifted_moments(x, 0.3, 5, 990)
    assert sums == pytest.approx([math.fsum(off**power) for power in (1, 2, 3, 4)], rel=1e-12)
    assert zeros == (x[5:990] == 0).sum()


def test_describe_count_even_agrees():
    counts = np.zeros((4, 16), np.int64)
    low, high = float(X.min()), float(X.max())
    describe.count_even(X, low, 16 / (high - low), 0, X.size, counts)
    np.testing.assert_array_equal(counts.sum(0), np.histogram(X.astype(np.float64), 16, (low, high))[0])


def test_describe_count_codes_agrees():
    counts = np.zeros((4, 20), np.int64)
    describe.count_codes(CODES[3:50], -10, counts)
    np.testing.assert_array_equal(counts.sum(0), np.bincount(CODES[3:50].astype(int) + 10, minlength=20))


@pytest.mark.parametrize("size", [0, 2, 38, 40])
def test_describe_count_pairs_agrees(size):
    counts = np.zeros((2, 1 << 16), np.uint32)
    pairs = CODES.astype(np.int8)[:size].view(np.uint16)
    describe.count_pairs(pairs, counts)
    np.testing.assert_array_equal(counts.sum(0), np.bincount(pairs, minlength=1 << 16))


@pytest.mark.parametrize("of_magnitudes", [False, True])
@pytest.mark.parametrize("room", [10, 2000])
def test_describe_between_agrees(room, of_magnitudes):
    values, held = np.abs(X) if of_magnitudes else X, np.zeros(room, np.float32)
    inside = values[(values >= np.float32(0.2)) & (values <= np.float32(0.9))]
    found = describe.between(X, np.float32(0.2), np.float32(0.9), of_magnitudes, held)
    assert found == ((values < np.float32(0.2)).sum(), inside.size)
    np.testing.assert_array_equal(held[: inside.size], inside[:room])


def test_compile_ordered_agrees():
    values = np.float32([-np.inf, -3e38, -1, -1e-45, -0.0, 0.0, 1e-45, 1, 3e38, np.inf])
    keys = [compile.ordered(value) for value in values]
    assert keys == sorted(keys)
    assert compile.ordered(np.float32(np.nan)) > keys[-1]


def test_compile_unordered_agrees():
    for value in np.float32([-np.inf, -1e-45, -0.0, 0.0, 2.5, np.inf]):
        back = np.float32(compile.unordered(np.int32(compile.ordered(value))))
        assert back.view(np.int32) == value.view(np.int32)


def test_direct_even_error_agrees():
    found = direct.even_error(X, 0.3, -4, 3, 0, 600) + direct.even_error(X, 0.3, -4, 3, 600, 1000)
    assert found == pytest.approx(1000 * reference.even_mse(X, 0.3, -4, 3).item(), rel=1e-12)


def even_errors_of(kernel, source):
    steps, least, greatest = np.array([0.3, 0.02, 2.0, 0.3]), np.array([-4, -128, 0, -1]), np.array([3, 127, 15, 0])
    found = np.full(4, np.nan)
    kernel(source, steps, least, greatest, 0, 3, found)
    kernel(source, steps, least, greatest, 3, 4, found)
    for error, *configuration in zip(found, steps, least, greatest, strict=True):
        assert error == pytest.approx(1000 * reference.even_mse(X, *configuration).item(), rel=1e-11)


def test_direct_even_errors_agrees():
    even_errors_of(direct.even_errors, X)


COUNTS = rng.integers(1, 5, 1000).astype(np.float64)
REPEATED = np.repeat(X, COUNTS.astype(int))


def test_direct_counted_even_error_agrees():
    parts = [direct.counted_even_error((X, COUNTS), 0.3, -4, 3, *part) for part in ((0, 600), (600, 1000))]
    expected = REPEATED.size * reference.even_mse(REPEATED, 0.3, -4, 3).item()
    assert sum(parts) == pytest.approx(expected, rel=1e-12)


def test_direct_counted_even_errors_agrees():
    steps, least, greatest, found = np.array([0.3, 0.02]), np.array([-4, 0]), np.array([3, 255]), np.empty(2)
    direct.counted_even_errors((X, COUNTS), steps, least, greatest, 0, 1, found)
    direct.counted_even_errors((X, COUNTS), steps, least, greatest, 1, 2, found)
    for error, *configuration in zip(found, steps, least, greatest, strict=True):
        expected = REPEATED.size * reference.even_mse(REPEATED, *configuration).item()
        assert error == pytest.approx(expected, rel=1e-12)


def test_direct_levels_error_agrees():
    found = direct.levels_error(X, LEVELS, 0, 1) + direct.levels_error(X, LEVELS, 1, 1000)
    assert found == pytest.approx(1000 * reference.levels_mse(X, LEVELS), rel=1e-12)


def test_direct_count_bins_agrees():
    expected, edges = np.histogram(X.astype(np.float64), 31)
    counts = np.zeros(31, np.int64)
    for start, stop in ((0, 400), (400, 1000)):
        direct.count_bins(X, edges, start, stop, counts)
    np.testing.assert_array_equal(counts, expected)


def both_indexes():
    """Return the sorted index, which is exact, and a histogram so fine beside so few values that it nearly is."""
    return (IndexedValues.in_order(X).index, 1e-12), (IndexedValues.in_bins(X, float(np.abs(X).max())).index, 1e-4)


def test_index_sums_below_agrees():
    thresholds = np.array([-1e9, -1.0, 0.0, float(X[5]), 1e-3, 2.0, 1e9])
    for found, tolerance in both_indexes():
        sums = np.full((8, 3), np.nan)
        index.sums_below(found, thresholds, sums)
        np.testing.assert_allclose(sums, reference.sums_below(X, thresholds), rtol=tolerance, atol=1000 * tolerance)


def test_index_add_moments_agrees():
    found = IndexedValues.in_bins(X, float(np.abs(X).max())).index
    sums = np.zeros((2 * found.half, 4))
    index.add_moments(X, found.unit, found.offset, found.base, found.half, sums)
    np.testing.assert_allclose(sums[:, :3].sum(axis=0), reference.moments(X), rtol=1e-12)
    np.testing.assert_allclose(sums[found.half :, :3].sum(axis=0), reference.moments(X[X >= 0]), rtol=1e-12)
    means = sums[:, 1][sums[:, 0] > 0] / sums[:, 0][sums[:, 0] > 0]
    assert (np.diff(means) > 0).all()  # bins follow each other as the values do


def test_index_sum_runs_agrees():
    values = np.concatenate([np.sort(X[:100]), np.full(28, np.inf, np.float32)]).reshape(2, index.RUN)
    sums = np.zeros((2, 3))
    index.sum_runs(values, 0, 2, sums)
    np.testing.assert_allclose(
        sums, [reference.moments(np.sort(X[:100])[:64]), reference.moments(np.sort(X[:100])[64:])]
    )


def test_index_accumulate_agrees():
    rows = np.stack([X, X * X, 1e-6 * X], axis=1).astype(np.float64)
    sums = rows.copy()
    index.accumulate(sums)
    exact = np.array([[math.fsum(column[: i + 1]) for column in rows.T] for i in range(1000)])
    assert (np.abs(sums - exact) <= 2.0**-52 * np.cumsum(np.abs(rows), axis=0)).all()  # the bound of Kahan's sum


def test_index_spread_bins_agrees():
    bins = [np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.0]), np.array([])]
    spread = np.empty((3, 3))
    index.spread_bins(np.array([reference.moments(values) for values in bins]), spread)
    low, high, density = spread[0]
    assert ((low + high) / 2, (high - low) ** 2 / 12) == pytest.approx((bins[0].mean(), bins[0].var()))
    assert density * (high - low) == pytest.approx(3)
    assert spread[1].tolist() == [3, 3, 0]
    assert not spread[2].any()


def test_index_levels_error_agrees():
    for found, tolerance in both_indexes():
        expected = 1000 * reference.levels_mse(X, LEVELS)
        assert index.levels_error(found, LEVELS) == pytest.approx(expected, rel=max(tolerance, 1e-12))


def test_index_even_errors_agrees():
    even_errors_of(index.even_errors, both_indexes()[0][0])


def test_index_polish_agrees():
    steps, errors = np.array([0.5, 0.11, 0.3]), np.empty(3)
    starts = steps.copy()
    index.polish(both_indexes()[0][0], -7, 7, 50, steps, errors)
    for start, step, error in zip(starts, steps, errors, strict=True):
        assert error == pytest.approx(1000 * reference.even_mse(X, step, -7, 7).item(), rel=1e-10)
        assert error <= 1000 * reference.even_mse(X, start, -7, 7).item()
        assert step == pytest.approx(reference.least_squares_step(X, step, -7, 7), rel=1e-6)  # a fixed point


def test_index_fine_errors_agrees():
    steps, least, greatest = np.array([1e-4, 5e-5]), np.array([-32768, -30000]), np.array([32767, 30000])
    errors = np.empty(2)
    index.fine_errors(both_indexes()[0][0], steps, least, greatest, errors)
    expected = [1000 * reference.fine_mse(X, *c) for c in zip(steps, least, greatest, strict=True)]
    np.testing.assert_allclose(errors, expected, rtol=1e-9)


def test_entropy_divergences_agrees():
    for bins, zero, levels in ((40, 20, 4), (41, 20, 7), (40, 0, 6), (40, 39, 6), (40, 11, 40), (9, 4, 2)):
        counts = np.histogram(X, bins)[0] * (rng.random(bins) < 0.8)
        counts[: bins // 8] = 0
        ends, expected = reference.divergences(counts, zero, levels)
        first = max(zero - ends[0][0], ends[0][1] - zero - 1)
        found = np.full(expected.size, np.nan)
        for start, stop in ((0, 1), (1, expected.size)):
            entropy.divergences(counts.astype(np.float64), zero, levels, 1e-4, first, start, stop, found)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)


def logits(classes, reach, dtype):
    """Return logits of two models; in two rows all classes are alike."""
    plain = (reach * rng.standard_normal((9, classes))).astype(dtype)
    changed = (plain + 0.3 * reach * rng.standard_normal(plain.shape)).astype(dtype)
    plain[:2], changed[1] = 1, 1
    return plain, changed


LOGITS = [logits(*of, dtype) for of in ((1, 1), (3, 1e-3), (37, 8), (500, 300)) for dtype in (np.float32, np.float64)]


@pytest.mark.parametrize(("plain", "changed"), LOGITS)
def test_softmax_divergences_agrees(plain, changed):
    found, same = np.full((3, 9), np.nan), np.zeros(9, bool)
    for start, stop in ((0, 4), (4, 9)):
        softmax.divergences(plain, changed, start, stop, *found, same)
    z, w = plain.astype(np.float64), changed.astype(np.float64)
    p, q = reference.log_softmax(z), reference.log_softmax(w)
    np.testing.assert_allclose(found[0], (np.exp(p) * (p - q)).sum(axis=1), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[1:], [(z**2).sum(axis=1), ((z - w) ** 2).sum(axis=1)], rtol=1e-12)
    np.testing.assert_array_equal(same, z.argmax(axis=1) == w.argmax(axis=1))


@pytest.mark.parametrize(("plain", "changed"), LOGITS)
def test_softmax_log_sums_agrees(plain, changed):
    for rows in (plain, changed):
        found = np.full(9, np.nan)
        for start, stop in ((0, 4), (4, 9)):
            softmax.log_sums(rows, start, stop, found)
        np.testing.assert_allclose(found, rows[:, 0] - reference.log_softmax(rows.astype(np.float64))[:, 0], rtol=1e-14)


def test_moments_spreads_agrees():
    found = np.full((5, moments.SPREADS), np.nan)
    moments.spreads(X, OFFSETS, 0, 2, found)
    moments.spreads(X, OFFSETS, 2, 5, found)
    for row, (start, stop) in zip(found, itertools.pairwise(OFFSETS), strict=True):
        x = X[start:stop].astype(np.float64)
        side = x[x > 0]
        mean = [np.square(side).mean(), side.mean()] if side.size else [0.0, 0.0]
        np.testing.assert_allclose(row, [x.mean(), x.var(), np.abs(x - x.mean()).mean(), *mean], rtol=1e-12, atol=1e-15)


def test_search_best_even_steps_agrees():
    steps = np.zeros(4)
    offsets = np.array([0, 250, 500, 750, 1000])
    search.best_even_steps(X, offsets, 100, np.float32(-7), np.float32(7), 0, 4, steps)
    for step, (start, stop) in zip(steps, itertools.pairwise(offsets), strict=True):
        x = X[start:stop]
        grid = reference.even_mse(x, np.abs(x).max() / 7 * np.arange(1, 1001) / 1000, -7, 7)
        assert reference.even_mse(x, step, -7, 7).item() <= 1.01 * grid.min()


def test_search_best_offset_steps_agrees():
    x = X + np.float32(1)
    steps, zeros = np.zeros(2), np.zeros(2, np.int64)
    search.best_offset_steps(x, np.array([0, 500, 1000]), 100, 15, 0, 2, steps, zeros)
    for step, zero, part in zip(steps, zeros, (x[:500], x[500:]), strict=True):
        shares = np.linspace(1 / 32, 1, 32)
        grid = reference.offset_mse(part, [(part.min() * a, part.max() * b) for a in shares for b in shares], 15)
        assert reference.even_mse(part, step, -zero, 15 - zero).item() <= 1.03 * grid.min()


CODEBOOKS = np.sort(rng.standard_normal((5, 6)).astype(np.float32), axis=1)
CODEBOOKS[1, 4:] = CODEBOOKS[3, 1:] = np.nan
FILLED = np.array([6, 4, 6, 1, 6])


def codebook_thresholds():
    """Return the least float32 above the middle of each two codewords, filled up with NaN to 2^3 − 1."""
    found = np.full((5, 7), np.nan, np.float32)
    for row, count in enumerate(FILLED):
        middle = 0.5 * (CODEBOOKS[row, : count - 1].astype(np.float64) + CODEBOOKS[row, 1:count])
        near = middle.astype(np.float32)
        found[row, : count - 1] = np.where(near <= middle, np.nextafter(near, np.float32(np.inf)), near)
    return found


def nearest_codewords():
    blocks = itertools.pairwise(OFFSETS)
    codes = [
        reference.nearest_levels(X[start:stop], CODEBOOKS[row, : FILLED[row]])
        for row, (start, stop) in enumerate(blocks)
    ]
    return np.concatenate(codes)


def test_codebooks_encode_blocks_agrees():
    for start, stop in PARTS:
        codes = np.full(1000, 99, np.uint8)
        peak = codebooks.encode_blocks(X, OFFSETS, codebook_thresholds(), start, stop, codes)
        np.testing.assert_array_equal(codes[start:stop], nearest_codewords()[start:stop])
        assert (np.delete(codes, slice(start, stop)) == 99).all()
        assert np.int32(peak).view(np.float32) == np.abs(X[start:stop]).max()


def test_codebooks_fake_quantize_blocks_agrees():
    x_hat = CODEBOOKS[EVERY, nearest_codewords()]
    low, high = CODEBOOKS[EVERY, 0], CODEBOOKS[EVERY, FILLED[EVERY] - 1]
    for (start, stop), keep in itertools.product(PARTS, (True, False)):
        out, totals = np.full(1000 if keep else 0, np.nan, np.float32), np.zeros(affine.TOTALS)
        given = X, OFFSETS, CODEBOOKS, FILLED, codebook_thresholds()
        codebooks.fake_quantize_blocks(*given, start, stop, out, totals)
        part = slice(start, stop)
        assert_totals(totals, X[part], x_hat[part], low[part], high[part])
        if keep:
            np.testing.assert_array_equal(out[part], x_hat[part])
            assert np.isnan(np.delete(out, part)).all()


def test_codebooks_decode_blocks_agrees():
    out, codes = np.full(1000, 9, np.float32), rng.integers(0, 6, 1000).astype(np.uint8)
    for start, stop in itertools.pairwise([0, 7, 350, 1000]):
        codebooks.decode_blocks(codes, OFFSETS, CODEBOOKS, start, stop, out)
    np.testing.assert_array_equal(out, CODEBOOKS[EVERY, codes])


def prefix_sums(x, weights):
    """Return count and Σ (x − mean) before each value and after the last."""
    moments = np.stack([weights, weights * (x - np.average(x, weights=weights))], axis=1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(moments, axis=0)])


def link_costs(sums):
    """Return −(Σx)² / count of every run of values, infinite for those that do not end after they start."""
    differences = sums[None] - sums[:, None]
    forward = differences[..., 0] > 0
    return np.where(forward, -(differences[..., 1] ** 2) / np.where(forward, differences[..., 0], 1), np.inf)


def path_cost(costs, path):
    assert path[0] == 0
    assert path[-1] == len(costs) - 1
    return sum(costs[i, j] for i, j in itertools.pairwise(path))


def runs_of_values():
    """Yield values in order with weights: random, in even steps (where every price leaves a choice), and clustered."""
    for count in (1, 2, 5, 40):
        yield np.sort(rng.standard_normal(count)), rng.integers(1, 5, count).astype(np.float64)
        yield np.arange(count) * 0.5, np.ones(count)
        yield np.sort(rng.integers(0, 4, count) + 1e-3 * np.arange(count)), np.full(count, 0.3)


def test_segments_shortest_path_agrees():
    for x, weights in runs_of_values():
        sums = prefix_sums(x, weights)
        costs = link_costs(sums)
        for price in (0.0, 1e-3, 0.1, 1.0, 1e3):
            found = segments.shortest_path(sums, price)
            assert path_cost(costs + price, found) == pytest.approx(reference.min_path(costs + price), rel=1e-12)


def test_segments_joined_agrees():
    x, weights = np.arange(64.0), np.ones(64)  # equal steps: at one price, paths of many numbers of links are as good
    costs = link_costs(prefix_sums(x, weights))
    few, many = np.arange(0, 65, 8), np.arange(0, 65, 4)
    for links in range(few.size, many.size - 1):
        path = segments.joined(few, many, links)
        other = segments.joined(few, many, few.size + many.size - 2 - links)
        assert (path.size, path[0], path[-1]) == (links + 1, 0, 64)
        assert (np.diff(path) > 0).all()
        both = path_cost(costs, path) + path_cost(costs, other)
        assert both <= path_cost(costs, few) + path_cost(costs, many) + 1e-9


def test_segments_best_path_agrees():
    for x, weights in runs_of_values():
        sums = prefix_sums(x, weights)
        costs = link_costs(sums)
        for links in {1, 2, 3, x.size // 2, x.size - 1, x.size, x.size + 9}:
            if links > 0:
                path, gain, bound = segments.best_path(sums, links)
                least = reference.min_path(costs, min(links, x.size))
                assert path.size - 1 == min(links, x.size)
                assert -path_cost(costs, path) == pytest.approx(-least, rel=1e-12, abs=1e-12)
                assert (gain, bound) == pytest.approx((-least, -least), rel=1e-12, abs=1e-12)


def test_segments_distinct_agrees():
    x = np.float32([-1, -1, 0.5, 2, 2, 2, 7])
    for weights, kept in ((np.empty(0), [2, 1, 3, 1]), (np.array([1, 0.5, 0, 1, 0, 2, 4]), [1.5, 0, 3, 4])):
        held, sums = np.full(7, np.nan), np.zeros((8, 2))
        count, mean = segments.distinct(x, weights, held, sums)
        values = np.array([-1, 0.5, 2, 7])[np.array(kept) > 0]
        kept = np.array([weight for weight in kept if weight])
        assert held[:count].tolist() == values.tolist()
        assert mean == pytest.approx(np.average(values, weights=kept))
        np.testing.assert_allclose(sums[: count + 1], prefix_sums(values, kept), atol=1e-12)
    held, sums = np.full(3, np.nan), np.zeros((4, 2))
    count, _ = segments.distinct(np.float32([-9, 0, 9]), np.array([1e-30, 1, 1e-30]), held, sums)
    assert (count, sums[1, 0]) == (1, 1)


def test_segments_means_agrees():
    x, weights = np.sort(rng.standard_normal(9)) + 1e6, rng.integers(1, 4, 9).astype(np.float64)
    path, found = np.array([0, 1, 4, 9]), np.empty(3)
    segments.means(x, prefix_sums(x, weights), path, found)
    runs = [slice(start, stop) for start, stop in itertools.pairwise(path)]
    np.testing.assert_allclose(found, [np.average(x[run], weights=weights[run]) for run in runs], rtol=1e-15)
    assert found[0] == x[0]


def sorted_blocks():
    blocks = [np.sort(X[start:stop]) for start, stop in itertools.pairwise(OFFSETS)]
    return np.concatenate(blocks), blocks


def test_segments_optimal_codebooks_agrees():
    values, blocks = sorted_blocks()
    found = np.full((5, 4), np.nan)
    for start, stop in ((0, 2), (2, 5)):
        segments.optimal_codebooks(values, np.empty(0, np.float32), OFFSETS, start, stop, found)
    for block, codebook in zip(blocks, found, strict=True):
        levels, part = codebook[~np.isnan(codebook)], block[:64]
        assert levels.size == min(block.size, 4)
        if block.size == 64:
            expected = reference.min_partition_error(part, np.ones(part.size), 4)
            assert reference.levels_mse(part, levels) * part.size == pytest.approx(expected, rel=1e-9)


def test_segments_quantile_codebooks_agrees():
    values, blocks = sorted_blocks()
    found = np.full((5, 4), np.nan)
    for start, stop in ((0, 2), (2, 5)):
        segments.quantile_codebooks(values, np.empty(0, np.float32), OFFSETS, start, stop, found)
    for block, codebook in zip(blocks, found, strict=True):
        expected = reference.quantile_means(block, np.ones(block.size, int), 4)
        np.testing.assert_allclose(codebook[~np.isnan(codebook)], expected, rtol=1e-5, atol=1e-7)


# --- integers alone; test_integer_only.py holds the same kernels against whole networks -------------------------------

TOTALS = np.concatenate([rng.integers(-(2**31), 2**31, 94), [0, 1, -1, 2**31 - 1, -(2**31), 2**30]]).astype(np.int32)
MULTIPLIERS, SHIFTS = np.int32([2**30, 2**31 - 1, 1_500_000_001]), np.int32([0, -3, 2])
PLANES = np.tile(TOTALS, 2)[:129].reshape(3, 43) >> 4  # two vectors and some more
IMAGES = rng.integers(0, 256, (2, 4, 5, 6)).astype(np.uint8)


def requantized_planes(planes, once):
    by_channel = zip(planes.tolist(), MULTIPLIERS.tolist(), SHIFTS.tolist(), strict=True)
    return np.array([[reference.requantized(t, m, s, once) for t in part] for part, m, s in by_channel], object)


def test_integer_high_products_agrees():
    out = np.empty_like(TOTALS)
    for multiplier in MULTIPLIERS:
        integer.high_products(TOTALS, multiplier, out)
        assert out.tolist() == [reference.high_multiply(t, int(multiplier)) for t in TOTALS.tolist()]


def test_integer_divisions_agrees():
    out = np.empty_like(TOTALS)
    for exponent in (0, 1, 7, 31):
        integer.divisions(TOTALS, exponent, out)
        assert out.tolist() == [reference.divide_by_power(t, exponent) for t in TOTALS.tolist()]


def convolved(x, weight, offset, groups, zero_point, stride, before, after):
    """Each place by itself, in int64: x (in, n, h, w)."""
    frame = ((0, 0), (0, 0), *zip(before, after, strict=True))
    lifted = np.pad(x.astype(np.int64) - zero_point, frame)
    windows = np.lib.stride_tricks.sliding_window_view(lifted, weight.shape[2:], (2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1]]
    each, members = weight.shape[1], len(weight) // groups
    parts = [
        np.einsum("cnhwij,cij->nhw", windows[o // members * each : (o // members + 1) * each], w.astype(np.int64))
        for o, w in enumerate(weight)
    ]
    return np.array(parts) + offset[:, None, None, None]


def test_integer_convolve_agrees():
    for inputs, groups, outputs, kernel, stride, before, after in (
        (4, 1, 3, (3, 3), (1, 1), (1, 1), (1, 1)),
        (4, 2, 6, (3, 3), (2, 2), (1, 1), (1, 1)),
        (4, 4, 4, (5, 3), (1, 2), (2, 0), (2, 0)),
        (6, 2, 18, (1, 1), (1, 1), (0, 0), (0, 0)),
        (5, 1, 9, (2, 4), (3, 1), (0, 1), (1, 2)),
        (1, 1, 2, (5, 6), (1, 1), (0, 0), (0, 0)),
        (3, 3, 6, (3, 7), (1, 1), (1, 3), (1, 3)),
    ):
        for images in (1, 9):
            x = rng.integers(0, 256, (inputs, images, 5, 6)).astype(np.uint8)
            weight = rng.integers(-128, 128, (outputs, inputs // groups, *kernel)).astype(np.int8)
            offset = rng.integers(-(2**30), 2**30, outputs).astype(np.int32)
            expected = convolved(x, weight, offset, groups, 7, stride, before, after)
            out = np.empty(expected.shape, np.int32)
            pairs = integer.paired(weight)
            integer.convolve(x, pairs, offset, groups, kernel, np.int32(7), stride, before, out)
            np.testing.assert_array_equal(out, expected)


def test_integer_paired_agrees():
    for channels, columns in ((3, 3), (4, 2), (1, 3), (1, 1)):
        weight = rng.integers(-128, 128, (3, channels, 2, columns)).astype(np.int8)
        found = integer.paired(weight)
        halves = np.stack([found << 16 >> 16, found >> 16], -1)
        if channels == 1:
            expected = np.pad(weight, ((0, 0), (0, 0), (0, 0), (0, columns % 2))).reshape(3, -1, 2)
        else:
            expected = np.pad(weight, ((0, 0), (0, channels % 2), (0, 0), (0, 0))).reshape(3, -1, 2, 2, columns)
            expected = np.moveaxis(expected, 2, -1).reshape(3, -1, 2)
        np.testing.assert_array_equal(halves, expected)


def test_integer_multiply_agrees():
    x, weight = IMAGES.reshape(2, -1), rng.integers(-128, 128, (5, 120)).astype(np.int8)
    offset, out = rng.integers(-999, 999, 5).astype(np.int32), np.empty((5, 2), np.int32)
    integer.multiply(x, weight, offset, out)
    np.testing.assert_array_equal(out.T, offset + x.astype(np.int64) @ weight.T.astype(np.int64))


def test_lanes_pair_agrees():
    for first, second in itertools.product((0, 1, -1, 255, -255, 2**15 - 1, -(2**15)), repeat=2):
        assert int(lanes.pair(first, second)) & 0xFFFFFFFF == (second & 0xFFFF) << 16 | (first & 0xFFFF)


@compile.kernel
def by_lanes(a, b, total, places, out, codes):
    """Write what each operation on lanes makes of vectors that begin anywhere."""
    x, y = lanes.load(a, 1), lanes.load(b, 2)
    lanes.store(out[0], 3, lanes.add_pairs(lanes.spread(total), x, y))
    lanes.store(out[1], 3, lanes.add(x, y))
    lanes.store(out[2], 3, lanes.both_bits(x, y))
    lanes.store(out[3], 3, lanes.shift_right(x, lanes.spread(np.int32(places))))
    lanes.store(out[4], 3, lanes.minimum(x, y))
    lanes.store(out[5], 3, lanes.maximum(x, y))
    lanes.store(out[6], 3, lanes.scaled(x, np.int64(total), np.int64(1) << np.int64(places - 1), np.int64(places)))
    lanes.store_codes(codes, 3, x)


def test_operations_on_lanes_are_those_of_numpy_lane_by_lane():
    halves = rng.integers(-(2**15) + 1, 2**15, (2, lanes.LANES + 2, 2))
    a, b = (np.array([lanes.pair(*both) for both in one], np.int32) for one in halves.tolist())
    for total, places in ((-(2**31) + 5, 31), (123_456_789, 12)):
        out, codes = np.zeros((7, lanes.LANES + 4), np.int32), np.zeros(lanes.LANES + 4, np.uint8)
        by_lanes(a, b, np.int32(total), places, out, codes)
        x, y = a[1:-1].astype(np.int64), b[2:].astype(np.int64)
        products = total + (halves[0, 1:-1] * halves[1, 2:]).sum(axis=1)
        scaled = (x * total + (1 << (places - 1))) >> places
        expected = (products, x + y, x & y, x >> min(places, 31), np.minimum(x, y), np.maximum(x, y), scaled)
        assert np.array_equal(out[:, 3:-1], np.array(expected).astype(np.int32))
        assert np.array_equal(codes[3:-1], x.astype(np.uint8))
        assert not out[:, [0, 1, 2, -1]].any()
        assert not codes[[0, 1, 2, -1]].any()


def test_integer_requantize_agrees():
    for once, (lowest, highest, kind) in itertools.product((False, True), ((-128, 127, np.int8), (0, 255, np.uint8))):
        out = np.empty(PLANES.shape, kind)
        integer.requantize(PLANES, MULTIPLIERS, SHIFTS, once, 3, lowest, highest, out)
        assert out.tolist() == np.clip(requantized_planes(PLANES, once) + 3, lowest, highest).tolist()


def test_integer_rescale_agrees():
    for once in (False, True):
        out = np.empty_like(PLANES)
        integer.rescale(PLANES, MULTIPLIERS, SHIFTS, once, out)
        assert out.tolist() == np.clip(requantized_planes(PLANES, once), -(2**31), 2**31 - 1).tolist()


def test_integer_add_up_agrees():
    small, out = PLANES[:, :20].reshape(3, 2, 10) >> 12, np.empty((3, 2), np.int32)
    for lowest in (0, -7):
        integer.add_up(small, np.int32(lowest), out)
        np.testing.assert_array_equal(out, np.maximum(small, lowest).sum(axis=2))


def test_integer_largest_agrees():
    planes, out = IMAGES.reshape(8, 5, 6), np.empty((8, 2, 3), np.uint8)
    integer.largest(planes, out)  # the fifth row has no partner
    np.testing.assert_array_equal(out, planes[:, :4].reshape(8, 2, 2, 3, 2).max(axis=(2, 4)))


@given(st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False))
def test_ordered_bits_compare_as_the_values_do(a, b):
    keys = compile.ordered(np.float32(a)), compile.ordered(np.float32(b))
    assert (keys[0] < keys[1]) == (a < b or (a == b == 0 and np.signbit(a) > np.signbit(b)))


@given(arrays(magnitude=3e38), st.lists(st.floats(-3e38, 3e38), min_size=1, max_size=5))
def test_the_sorted_index_counts_what_lies_below_any_threshold(x, thresholds):
    found = IndexedValues.in_order(x.reshape(-1)).index
    sums = np.empty((len(thresholds) + 1, 3))
    index.sums_below(found, np.sort(thresholds), sums)
    expected = [(x < threshold).sum() for threshold in np.sort(thresholds)]
    assert sums[:, 0].tolist() == [*expected, x.size]


def adaround_state():
    """Return V and Adam's means, and lower codes, steps and zero points: flat ones, extremes among them."""
    state, grid = np.zeros((3, 1300), np.float32), np.zeros((3, 1300), np.float32)
    state[0], state[1] = 3 * X.repeat(2)[:1300], 0.01 * rng.standard_normal(1300)
    state[0, :6] = 0, 60, -60, 200, -200, 1e-6
    state[2] = 0.01 * rng.random(1300)
    grid[0], grid[1], grid[2] = rng.integers(-10, 10, 1300), rng.random(1300), 3
    return state, grid


def rectified(v):
    with np.errstate(over="ignore"):
        return np.clip(1.2 / (1 + np.exp(-v.astype(np.float64))) - 0.1, 0, 1)


def test_adaround_roundings_agrees():
    state, _ = adaround_state()
    h = np.empty(1300, np.float32)
    adaround.roundings(state, h)
    np.testing.assert_allclose(h, rectified(state[0]), atol=2e-7)


def test_adaround_reconstruct_agrees():
    state, (lower, step, zero) = adaround_state()
    w_hat = np.empty(1300, np.float32)
    adaround.reconstruct(state, np.stack([lower, step, zero]), ENDS, w_hat)
    np.testing.assert_allclose(w_hat, step * (np.clip(lower + rectified(state[0]), -8, 7) - zero), atol=2e-6)


@pytest.mark.parametrize("exponent", [20.0, 2.0, 0.5])
def test_adaround_descend_agrees(exponent):
    state, grid = adaround_state()
    slope, weight, rate = rng.standard_normal(1300).astype(np.float32), 0.2, 0.05
    V, mean, square = state.astype(np.float64)
    lower, step, zero = grid.astype(np.float64)
    h = rectified(V)
    free = (h > 0) & (h < 1)
    far = np.where(free & (h != 0.5), np.abs(2 * h - 1), 1)
    pull = weight * exponent * 2 * np.sign(2 * h - 1) * far ** (exponent - 1)
    error = slope * step * ((lower + h >= -8) & (lower + h <= 7))
    share = (h + 0.1) / 1.2
    wanted = np.where(free, (error - pull) * 1.2 * share * (1 - share), 0)
    mean, square = 0.9 * mean + 0.1 * wanted, 0.999 * square + 0.001 * wanted**2
    V = V - rate * (mean / (1 - 0.9**3)) / (np.sqrt(square / (1 - 0.999**3)) + 1e-8)
    w_hat, corrections = np.empty(1300, np.float32), tuple(np.float32(1 / (1 - d**3)) for d in (0.9, 0.999))
    for start, stop in ((0, 700), (700, 1300)):
        given = ENDS, np.float32(rate), corrections, (np.float32(weight), np.float32(exponent)), w_hat, start, stop
        adaround.descend(slope, state, grid, *given)
    settled = np.abs(2 * h - 1) > 1e-4  # nearer to the middle, the sign of 2h − 1 is float32's
    for found, right in zip(state, (V, mean, square), strict=True):
        np.testing.assert_allclose(found[settled], right[settled], rtol=2e-4, atol=2e-6)
    np.testing.assert_allclose(w_hat, step * (np.clip(lower + rectified(state[0]), -8, 7) - zero), atol=2e-6)
