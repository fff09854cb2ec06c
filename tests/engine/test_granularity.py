"""Block shapes: which values share a scale, in which order, and what is refused."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quant_engine import (
    GRANULARITIES,
    FixedRange,
    IntFormat,
    PerBlock,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerSample,
    PerTensor,
    PerToken,
    QuantError,
    QuantizerSpec,
    QuantWarning,
    fit,
    quantize,
)
from quant_engine.granularity import BlockGrid
from tests import reference
from tests.engine.strategies import block_granularities, flat_granularities, granularities

shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=6)
planes = hnp.array_shapes(min_dims=2, max_dims=4, max_side=9)
grids = st.one_of(
    st.builds(lambda granularity, shape: granularity.blocks(shape), granularities, shapes),
    st.builds(
        lambda granularity, shape: granularity.blocks(shape),
        block_granularities | st.builds(PerSample, block_granularities),
        planes,
    ),
)


def numbered(shape):
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


@given(grids)
def test_flatten_and_restore_undo_each_other(grid):
    x = numbered(grid.shape)
    np.testing.assert_array_equal(grid.restore(grid.flatten(x)), x)


@given(grids)
def test_to_grid_and_from_grid_undo_each_other(grid):
    per_block = np.arange(grid.count)
    np.testing.assert_array_equal(grid.from_grid(grid.to_grid(per_block)), per_block)
    assert grid.to_grid(per_block).shape == grid.grid


@given(grids)
def test_every_block_is_one_run_of_the_flat_array(grid):
    x = numbered(grid.shape)
    number = grid.to_grid(np.arange(grid.count))
    flat = grid.flatten(x)
    for place, values in reference.blocks(x, grid.block):
        run = flat[grid.offsets[number[place]] : grid.offsets[number[place] + 1]]
        np.testing.assert_array_equal(np.sort(run), np.sort(values.reshape(-1)))


@given(grids)
def test_slices_give_the_blocks_in_row_major_order(grid):
    x = numbered(grid.shape)
    for block, (_, values) in enumerate(reference.blocks(x, grid.block)):
        np.testing.assert_array_equal(x[grid.slices(block)], values)


@given(grids)
def test_offsets_rise_from_nothing_to_everything(grid):
    assert grid.offsets[0] == 0
    assert grid.offsets[-1] == math.prod(grid.shape)
    assert (np.diff(grid.offsets) > 0).all()
    assert len(grid.offsets) == grid.count + 1


def test_the_documented_grids():
    assert PerTensor().blocks((64, 128)).grid == (1, 1)
    assert PerChannel(0).blocks((64, 128)).grid == (64, 1)
    assert PerChannel(-1).blocks((64, 128)).grid == (1, 128)
    assert PerChannelGroup(16).blocks((64, 128)).grid == (4, 1)
    assert PerGroup(1).blocks((64, 128)).grid == (64, 128)
    assert PerGroup(32).blocks((64, 3, 128)).grid == (64, 3, 4)


def test_a_short_remainder_is_the_last_block_alone():
    grid = PerGroup(48, remainder="short").blocks((2, 250))
    assert np.diff(grid.offsets).tolist() == [48, 48, 48, 48, 48, 10] * 2
    assert PerChannelGroup(3, remainder="short").blocks((7, 2)).offsets.tolist() == [0, 6, 12, 14]


def test_a_block_longer_than_its_axis_is_the_whole_axis_if_short_remainders_are_allowed():
    assert PerGroup(100, remainder="short").blocks((4, 6)).block == (1, 6)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
@pytest.mark.parametrize(
    "granularity", [PerTensor(), PerChannel(0), PerChannelGroup(2, remainder="short"), PerGroup(2)]
)
def test_an_empty_tensor_has_empty_blocks(granularity, shape):
    if shape[-1] % 2 and isinstance(granularity, PerGroup):
        granularity = PerGroup(3)
    grid = granularity.blocks(shape)
    assert grid.count >= 1
    assert not grid.offsets.any()
    assert grid.restore(grid.flatten(np.empty(shape, np.float32))).shape == shape


def test_a_group_size_that_does_not_divide_is_refused_with_size_axis_shape_and_remedy():
    with pytest.raises(QuantError, match=r'group size 48 .* axis 1 of shape \(32, 250\).*divisor of 250.*"short"'):
        PerGroup(48).blocks((32, 250))
    with pytest.raises(QuantError, match=r'channel group 5 .* axis 0 of shape \(32, 250\).*divisor of 32.*"short"'):
        PerChannelGroup(5).blocks((32, 250))


@pytest.mark.parametrize("granularity", [PerChannel(2), PerChannelGroup(2, -3), PerGroup(2, axis=5)])
def test_an_axis_the_tensor_does_not_have_is_refused_with_axis_and_shape(granularity):
    with pytest.raises(QuantError, match=rf"axis {granularity.axis} .* shape \(4, 6\)"):
        granularity.blocks((4, 6))


@pytest.mark.parametrize("granularity", [PerChannel(), PerChannelGroup(1), PerGroup(1)])
def test_a_scalar_has_no_axis_to_split(granularity):
    with pytest.raises(QuantError, match=r"shape \(\).*PerTensor"):
        granularity.blocks(())


@pytest.mark.parametrize("size", [0, -4, 2.0, "8", None, True])
def test_a_block_length_that_is_no_positive_integer_is_refused(size):
    with pytest.raises(QuantError, match=f"size={size!r} .* 1 or more"):
        PerGroup(size)
    with pytest.raises(QuantError, match=f"channels={size!r} .* 1 or more"):
        PerChannelGroup(size)


@pytest.mark.parametrize("axis", [0.0, "0", None, True])
@pytest.mark.parametrize("make", [PerChannel, lambda axis: PerGroup(2, axis), lambda axis: PerChannelGroup(2, axis)])
def test_an_axis_that_is_no_integer_is_refused(make, axis):
    with pytest.raises(QuantError, match=f"axis={axis!r}"):
        make(axis)


@pytest.mark.parametrize("kind", [PerGroup, PerChannelGroup])
def test_an_unknown_remainder_is_refused_with_the_choices(kind):
    with pytest.raises(QuantError, match=r'remainder=\'drop\'.*"refuse", "short" or "pad"'):
        kind(4, remainder="drop")


@pytest.mark.parametrize("block", [-1, 6])
def test_a_block_that_does_not_exist_is_refused_with_the_blocks_there_are(block):
    with pytest.raises(QuantError, match=rf"block {block} .* shape \(6, 4\) has blocks 0 to 5"):
        PerChannel(0).blocks((6, 4)).slices(block)


def test_numbers_from_numpy_are_the_same_granularity():
    for made, plain in [
        (PerGroup(np.int64(4), axis=np.int32(0)), PerGroup(4, axis=0)),
        (PerChannelGroup(np.int64(4), np.int64(1)), PerChannelGroup(4, 1)),
        (PerChannel(np.int64(1)), PerChannel(1)),
    ]:
        assert made == plain
        assert made.to_json() == plain.to_json()


def test_the_granularity_table_is_keyed_by_class_name():
    assert {name: kind.__name__ for name, kind in GRANULARITIES.items()} == {name: name for name in GRANULARITIES}


@given(shapes)
def test_a_token_is_a_row_of_the_last_axis(shape):
    assert PerToken().blocks(shape) == BlockGrid(shape, (*[1] * (len(shape) - 1), shape[-1]))


@given(flat_granularities, shapes)
def test_each_sample_has_the_blocks_it_has_alone(granularity, shape):
    alone, batch = granularity.blocks((1, *shape[1:])), PerSample(granularity).blocks(shape)
    assert batch.grid == (shape[0], *alone.grid[1:])
    assert batch.block[1:] == alone.block[1:]


def test_a_sample_is_divided_by_a_granularity():
    with pytest.raises(QuantError, match=r"inner=4 is none of PerTensor, .*give an instance"):
        PerSample(4)
    with pytest.raises(QuantError, match=r"group size 7 does not divide axis 2 of shape \(1, 3, 8\)"):
        PerSample(PerGroup(7)).blocks((5, 3, 8))


def test_two_dimensional_blocks_are_rectangles_one_after_the_other():
    grid = PerBlock(2, 3, remainder="short").blocks((3, 5))
    flat = grid.flatten(numbered((3, 5)))
    assert [run.tolist() for run in np.split(flat, grid.offsets[1:-1])] == [
        [0, 1, 2, 5, 6, 7],
        [3, 4, 8, 9],
        [10, 11, 12],
        [13, 14],
    ]


def test_two_dimensional_blocks_lie_along_any_two_axes_inside_one_index_of_the_others():
    convolution = (32, 16, 3, 3)
    assert PerBlock(8, 8, axes=(0, 1)).blocks(convolution).block == (8, 8, 1, 1)
    assert PerBlock(3, 3, axes=(2, 3)).blocks(convolution).grid == (32, 16, 1, 1)  # one kernel
    assert PerBlock(4, 3, axes=(0, -1)).blocks((24, 1, 3, 3)).grid == (6, 1, 3, 1)  # depthwise
    assert PerBlock(1, 64).blocks((1000, 256)).grid == PerGroup(64).blocks((1000, 256)).grid  # an embedding's rows


def test_blocks_of_the_whole_tensor_share_one_scale():
    assert PerBlock(6, 4).blocks((6, 4)) == PerTensor().blocks((6, 4))


def test_two_axes_that_are_one_are_refused():
    with pytest.raises(QuantError, match=r"axes=\(0, -1\) are the same one in shape \(6,\); choose two, or PerGroup"):
        PerBlock(2, 2).blocks((6,))


@pytest.mark.parametrize("axes", [0, (0,), (0, 1, 2), (0, "1"), (0, True)])
def test_what_are_no_two_axes_is_refused(axes):
    with pytest.raises(QuantError, match=r"axes=.* give two integers"):
        PerBlock(2, 2, axes)


def test_rectangles_that_do_not_divide_are_refused_with_the_axis_and_the_remedies():
    with pytest.raises(QuantError, match=r'block of rows 4 .* axis 0 of shape \(6, 8\).*divisor of 6.*"short".*"pad"'):
        PerBlock(4, 4).blocks((6, 8))
    with pytest.raises(QuantError, match=r"block of columns 3 .* axis 1 of shape \(6, 8\)"):
        PerBlock(3, 3).blocks((6, 8))


@pytest.mark.parametrize(
    ("granularity", "blocks"),
    [(PerBlock(4, 4, remainder="pad"), 6), (PerGroup(16, remainder="pad"), 6), (PerChannelGroup(4, 0, "pad"), 2)],
)
def test_padding_is_counted_and_changes_nothing_else(granularity, blocks):
    x = np.random.default_rng(1).standard_normal((6, 10)).astype(np.float32) + 3
    spec, short = (
        QuantizerSpec(IntFormat(4), chosen, symmetric=False)
        for chosen in (granularity, replace(granularity, remainder="short"))
    )
    padded, cut = quantize(x, spec), quantize(x, short)
    np.testing.assert_array_equal(padded.dequantize(), cut.dequantize())
    np.testing.assert_array_equal(padded.scale, cut.scale)
    of_one_block = math.prod(granularity.blocks(x.shape).block)
    assert padded.storage.code_bits == blocks * of_one_block * 4
    assert cut.storage.code_bits == x.size * 4


@pytest.mark.parametrize("block", range(6))
def test_the_range_of_one_block_is_edited_alone(block):
    x = np.random.default_rng(2).standard_normal((6, 10)).astype(np.float32)
    granularity = PerBlock(2, 5)
    spec = QuantizerSpec(IntFormat(4), granularity, symmetric=False)
    before = fit(x, spec)
    places = [granularity.blocks(x.shape).slices(i) for i in range(6)]
    lo, hi = (list(end) for end in zip(*((x[s].min(), x[s].max()) for s in places), strict=True))
    lo[block], hi[block] = -0.25, 0.5
    after = fit(x, replace(spec, clipping=FixedRange(tuple(lo), tuple(hi))))
    changed = np.flatnonzero((after.scale != before.scale).reshape(-1))
    assert changed.tolist() == [block]
    assert after.scale.reshape(-1)[block] == np.float32(0.75 / 15)
    outside = np.ones(x.shape, bool)
    outside[granularity.blocks(x.shape).slices(block)] = False
    np.testing.assert_array_equal(after.fake_quantize(x)[outside], before.fake_quantize(x)[outside])


def test_a_scale_for_each_value_of_a_vector_is_said_with_its_bits():
    spec = QuantizerSpec(IntFormat(4), PerChannel(0))
    with pytest.warns(QuantWarning, match=r"each of the 8 values .* 36 bits a value; use PerTensor\(\)"):
        quantize(np.linspace(-1, 1, 8, dtype=np.float32), spec)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantize(np.ones((8, 1), np.float32), spec)
        quantize(np.ones(1, np.float32), spec)
