"""Granularity on tensors as layers have them: any layout, scale formats, ranges set block by block, overhead."""

from __future__ import annotations

import math
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import quant_engine as qe
from quant_engine.network import load
from quant_engine.observers import BlockObservers
from tests import reference
from tests.engine.strategies import arrays, block_granularities, flat_granularities, integer_formats

INT4 = qe.IntFormat(4)
EVERY = {
    "layer": qe.PerTensor(),
    "channel group": qe.PerChannelGroup(4, remainder="short"),
    "channel": qe.PerChannel(0),
    "sub-channel": qe.PerGroup(7, remainder="short"),
    "sub-channel, padded": qe.PerGroup(7, remainder="pad"),
    "2-D block": qe.PerBlock(4, 8, remainder="short"),
    "2-D block, padded": qe.PerBlock(4, 8, remainder="pad"),
    "token": qe.PerToken(),
    "sample": qe.PerSample(qe.PerGroup(5, remainder="short")),
}
SCALES = {  # the outside world's name for a scale format, and its bits
    None: (np.float32, 32),
    qe.FP16: (np.float16, 16),
    qe.BF16: (ml_dtypes.bfloat16, 16),
    qe.E5M2: (ml_dtypes.float8_e5m2, 8),
}


def drawn(shape):
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


ROWS = drawn((10, 24)) * np.exp(2 * drawn((10, 1)))


def peaks(x, granularity):
    """The greatest magnitude of every block, in the shape of the grid: the slow way."""
    grid = granularity.blocks(x.shape)
    found = [np.abs(x[grid.slices(block)]).max() for block in range(grid.count)]
    return np.array(found, np.float64).reshape(grid.grid)


# --- scales that are themselves quantized -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("scale_format", SCALES, ids=str)
def test_scales_of_every_granularity_are_those_of_the_format(name, scale_format):
    kind, bits = SCALES[scale_format]
    spec = qe.QuantizerSpec(INT4, EVERY[name], scale_format=scale_format)
    found = qe.fit(ROWS, spec)
    np.testing.assert_array_equal(found.scale, (peaks(ROWS, EVERY[name]) / 7).astype(kind).astype(np.float32))
    assert found.storage(ROWS.shape).scale_bits == bits * found.scale.size
    divided = reference.spread(found.scale, ROWS.shape, EVERY[name].blocks(ROWS.shape).block)
    np.testing.assert_array_equal(found.encode(ROWS).codes, np.clip(np.rint(ROWS / divided), -8, 7))


@pytest.mark.parametrize("name", EVERY)
def test_powers_of_two_and_scales_under_a_scale_follow_every_granularity(name):
    top = peaks(ROWS, EVERY[name])
    power = qe.fit(ROWS, qe.QuantizerSpec(qe.E2M1, EVERY[name], scale_format=qe.E8M0))
    np.testing.assert_array_equal(power.scale, 2.0 ** (np.floor(np.log2(top)) - 2))
    assert power.storage(ROWS.shape).scale_bits == 8 * top.size
    double = qe.fit(ROWS, qe.QuantizerSpec(qe.E2M1, EVERY[name], scale_format=qe.E4M3))
    apart = tuple(range(int(name == "sample"), top.ndim))
    tensor = ((top / 6).max(axis=apart, keepdims=True) / 448).astype(np.float32)
    expected = (top / 6 / tensor).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * tensor
    np.testing.assert_array_equal(double.scale, expected)
    assert double.storage(ROWS.shape).scale_bits == 8 * top.size + 32 * tensor.size


# --- the true overhead ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(10, 24), (6, 5, 3, 3), (1, 7), (9,)])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("scale_format", [None, qe.FP16, qe.E4M3], ids=str)
def test_bits_per_value_are_all_arrays_that_must_be_kept(shape, symmetric, scale_format):
    x = drawn(shape)
    granularities = (
        qe.PerTensor(),
        qe.PerChannel(0),
        qe.PerChannelGroup(4, remainder="short"),
        qe.PerGroup(4, remainder="short"),
        *([qe.PerBlock(2, 2, remainder="short")] if x.ndim > 1 else []),
    )
    for granularity in granularities:
        q = qe.quantize(x, qe.QuantizerSpec(INT4, granularity, symmetric, scale_format=scale_format))
        bits_of_scale = 32 if scale_format is None else scale_format.bits
        kept = 4 * q.codes.size + bits_of_scale * q.scale.size
        kept += 0 if symmetric else 4 * q.zero_point.size
        kept += 32 if scale_format is qe.E4M3 else 0
        assert q.storage.bits == kept
        assert q.bits_per_value == kept / x.size


@pytest.mark.parametrize(
    ("spec", "bits"),
    [
        (qe.QuantizerSpec(INT4, qe.PerGroup(128)), 4.25),
        (qe.QuantizerSpec(INT4, qe.PerGroup(128), symmetric=False), 4.28125),
        (qe.QuantizerSpec(INT4, qe.PerGroup(128), scale_format=qe.FP16), 4.125),
        (qe.QuantizerSpec(qe.E2M1, qe.PerGroup(32), scale_format=qe.E8M0), 4.25),
        (qe.QuantizerSpec(INT4, qe.PerBlock(16, 32)), 4.0625),
    ],
    ids=str,
)
def test_the_bits_per_value_that_are_published(spec, bits):
    assert spec.storage((128, 256)).bits_per_value == bits


# --- weights of any layout --------------------------------------------------------------------------------------------

LAYOUTS = {  # shape, the axis of output channels
    "linear (out, in)": ((6, 20), 0),
    "linear (in, out)": ((20, 6), 1),
    "convolution (out, in, height, width)": ((6, 4, 3, 3), 0),
    "convolution (height, width, in, out)": ((3, 3, 4, 6), -1),
    "convolution (out, height, width, in)": ((6, 3, 3, 4), 0),
    "transposed convolution (in, out, height, width)": ((4, 6, 3, 3), 1),
    "one-dimensional convolution": ((6, 4, 5), 0),
    "three-dimensional convolution": ((6, 2, 3, 3, 3), 0),
    "depthwise (channels, 1, height, width)": ((6, 1, 3, 3), 0),
    "depthwise (height, width, channels, 1)": ((3, 3, 6, 1), 2),
    "grouped (out, in / groups, height, width)": ((6, 2, 3, 3), 0),
    "embedding (rows, dim)": ((50, 8), 0),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_scale_a_channel_is_torchs_in_every_layout(name):
    shape, axis = LAYOUTS[name]
    x = drawn(shape)
    found = qe.fit(x, qe.QuantizerSpec(INT4, qe.PerChannel(axis)))
    assert found.scale.shape == tuple(n if i == axis % x.ndim else 1 for i, n in enumerate(shape))
    expected = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(x),
        torch.tensor(found.scale.reshape(-1)),
        torch.zeros(found.scale.size, dtype=torch.int32),
        axis % x.ndim,
        -8,
        7,
    )
    np.testing.assert_allclose(found.fake_quantize(x), expected.numpy(), atol=0, rtol=0)


@given(st.sampled_from(sorted(LAYOUTS)), block_granularities | flat_granularities)
def test_memory_order_changes_nothing(name, granularity):
    x = drawn(LAYOUTS[name][0])
    spec = qe.QuantizerSpec(INT4, granularity, symmetric=False)
    plain = qe.quantize(x, spec)
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=-1)[..., ::2], x[::-1][::-1]):
        again = qe.quantize(other, spec)
        np.testing.assert_array_equal(again.codes, plain.codes)
        np.testing.assert_array_equal(again.dequantize(), plain.dequantize())


def test_moving_an_axis_moves_codes_and_scales_with_it():
    x = drawn((6, 4, 3, 3))
    there = qe.quantize(x, qe.QuantizerSpec(INT4, qe.PerGroup(2, axis=1)))
    moved = qe.quantize(np.moveaxis(x, 1, -1), qe.QuantizerSpec(INT4, qe.PerGroup(2, axis=-1)))
    np.testing.assert_array_equal(np.moveaxis(moved.codes, -1, 1), there.codes)
    np.testing.assert_array_equal(np.moveaxis(moved.scale, -1, 1), there.scale)


def test_a_depthwise_layer_has_as_many_scales_as_kernels():
    weight = load("fashion-depthwise").weight("dw1")
    matrix = weight.reshape(len(weight), -1)
    by_kernel = qe.quantize(weight, qe.QuantizerSpec(INT4, qe.PerBlock(3, 3, axes=(2, 3))))
    by_channel = qe.quantize(weight, qe.QuantizerSpec(INT4, qe.PerChannel(0)))
    by_group = qe.quantize(matrix, qe.QuantizerSpec(INT4, qe.PerGroup(9)))
    assert by_kernel.scale.size == by_channel.scale.size == by_group.scale.size == 24
    for other in (by_channel, by_group):
        np.testing.assert_array_equal(other.dequantize().reshape(weight.shape), by_kernel.dequantize())


def test_one_scale_a_layer_zeroes_whole_channels_of_a_depthwise_layer_and_one_a_channel_none():
    matrix = load("fashion-depthwise").weight("dw1").reshape(24, 9)
    step = np.abs(matrix).max() / np.float32(7)
    dead = (np.abs(matrix).max(axis=1) <= step / 2).sum()
    assert dead == 10
    codes = [qe.quantize(matrix, qe.QuantizerSpec(INT4, blocks)).codes for blocks in (qe.PerTensor(), qe.PerChannel())]
    assert [int((c == 0).all(axis=1).sum()) for c in codes] == [dead, 0]


def test_the_padding_row_of_an_embedding_stays_zero():
    table = drawn((12, 10))
    table[0] = 0.0
    for name, granularity in EVERY.items():
        for symmetric in (True, False):
            back = qe.fake_quantize(table, qe.QuantizerSpec(INT4, granularity, symmetric))
            assert not back[0].any(), name
            assert np.isfinite(back).all(), name


@pytest.mark.parametrize("layout", [(6, 5, 3, 3), (3, 3, 5, 6), (50, 7), (8, 1, 3, 3)])
def test_blocks_that_do_not_divide_are_refused_unless_the_caller_says_otherwise(layout):
    x = drawn(layout)
    for granularity in (qe.PerGroup(2), qe.PerChannelGroup(4), qe.PerBlock(4, 2)):
        grid = replace(granularity, remainder="short").blocks(layout)
        if not any(size % block for size, block in zip(grid.shape, grid.block, strict=True)):
            continue
        with pytest.raises(qe.QuantError, match=r"does not divide axis \d of shape .* choose a divisor .*short.*pad"):
            qe.quantize(x, qe.QuantizerSpec(INT4, granularity))
        cut, padded = (
            qe.quantize(x, qe.QuantizerSpec(INT4, replace(granularity, remainder=way))) for way in ("short", "pad")
        )
        np.testing.assert_array_equal(cut.dequantize(), padded.dequantize())
        assert cut.storage.code_bits == 4 * x.size < padded.storage.code_bits
        assert padded.storage.code_bits == 4 * math.prod(grid.block) * grid.count


# --- ranges set block by block ----------------------------------------------------------------------------------------

CLIPPINGS = st.sampled_from([qe.MinMax(), qe.MinMSE(), qe.Percentile(90.0), qe.FixedRange(-1.0, 2.0)])
SCALE_FORMATS = st.sampled_from([None, qe.FP16, qe.E4M3])
granularities = flat_granularities | block_granularities


@settings(max_examples=40)
@given(arrays((6, 7), 1e6), granularities, integer_formats(6), st.booleans(), CLIPPINGS, SCALE_FORMATS)
def test_the_ranges_that_a_method_chooses_give_the_same_quantizer_block_by_block(
    x, granularity, form, symmetric, clipping, scale_format
):
    spec = qe.QuantizerSpec(form, granularity, symmetric, clipping, scale_format)
    ranges = qe.block_ranges(x, spec)
    assume(scale_format is not qe.E4M3 or (np.ptp(ranges, axis=1) > np.finfo(np.float64).tiny).any())
    plain = qe.fit(x, spec)
    assert ranges.shape == (plain.scale.size, 2)
    by_hand = qe.fit(x, replace(spec, clipping=qe.FixedRange(*map(tuple, ranges.T))))
    np.testing.assert_array_equal(by_hand.scale, plain.scale)
    np.testing.assert_array_equal(by_hand.zero_point, plain.zero_point)


@given(arrays((6, 7), 1e6), granularities, st.booleans(), CLIPPINGS, st.data())
def test_editing_blocks_changes_these_blocks_alone(x, granularity, symmetric, clipping, data):
    spec = qe.QuantizerSpec(INT4, granularity, symmetric, clipping)
    grid = granularity.blocks(x.shape)
    chosen = data.draw(st.sets(st.integers(0, grid.count - 1), min_size=1, max_size=3))
    plain, edited = qe.fit(x, spec), qe.fit(x, qe.edit_ranges(x, spec, dict.fromkeys(chosen, (-0.25, 0.5))))
    others = np.delete(np.arange(grid.count), list(chosen))
    for name in ("scale", "zero_point"):
        before, after = (getattr(q, name).reshape(-1) for q in (plain, edited))
        np.testing.assert_array_equal(before[others], after[others])
    scale, zero_point = reference.affine_parameters(-0.25, 0.5, -8, 7, symmetric)
    assert set(edited.scale.reshape(-1)[list(chosen)]) == {np.float32(scale)}
    assert set(edited.zero_point.reshape(-1)[list(chosen)]) == {zero_point}
    kept = np.ones(x.shape, bool)
    for block in chosen:
        kept[grid.slices(block)] = False
    np.testing.assert_array_equal(plain.fake_quantize(x)[kept], edited.fake_quantize(x)[kept])


def test_no_edit_is_the_spec_itself():
    spec = qe.QuantizerSpec(INT4, qe.PerChannel(0))
    assert qe.edit_ranges(ROWS, spec, {}) is spec


def test_edited_specs_travel_as_text_and_in_plans(tmp_path):
    network = load("fashion-depthwise")
    matrix = network.weight("dw1").reshape(24, 9)
    spec = qe.edit_ranges(matrix, qe.QuantizerSpec(INT4, qe.PerChannel(0)), {3: (-0.1, 0.2)})
    assert qe.QuantizerSpec.from_json(spec.to_json()) == spec
    plan = qe.QuantizationPlan({"dw1": qe.LayerPlan(spec)})
    frozen = network.freeze(plan)
    assert frozen["dw1"].weight.scale[3, 0] == np.float32(0.2 / 7)
    frozen.save(tmp_path / "plan.json")
    np.testing.assert_array_equal(
        qe.QuantizationPlan.load(tmp_path / "plan.json")["dw1"].weight.scale, frozen["dw1"].weight.scale
    )


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ({10: (-1.0, 1.0)}, "block 10 does not exist: there are blocks 0 to 9"),
        ({-1: (-1.0, 1.0)}, "block -1 does not exist"),
        ({2: (1.0, 1.0)}, "a clipping range needs lo < hi"),
        ({2: (0.0, np.nan)}, "hi="),
    ],
    ids=str,
)
def test_edits_that_cannot_be_are_refused(edits, reason):
    with pytest.raises(qe.QuantError, match=reason):
        qe.edit_ranges(ROWS, qe.QuantizerSpec(INT4, qe.PerChannel(0)), edits)


@pytest.mark.parametrize("form", [qe.FP16, qe.KMeans(4), qe.BlockFormat("Q4_0")], ids=str)
def test_formats_without_ranges_are_refused(form):
    with pytest.raises(qe.QuantError, match="has no clipping ranges"):
        qe.block_ranges(np.ones((2, 32), np.float32), qe.QuantizerSpec(form))


def test_an_empty_tensor_and_values_that_are_not_finite_have_no_ranges():
    with pytest.raises(qe.QuantError, match="no values"):
        qe.block_ranges(np.ones((0, 3), np.float32), qe.QuantizerSpec(INT4))
    with pytest.raises(qe.QuantError, match="NaN"):
        qe.block_ranges([1.0, np.nan], qe.QuantizerSpec(INT4))


def test_an_edit_of_one_block_of_thousands_is_kept_as_that_edit():
    x = np.random.default_rng(0).standard_normal((64, 4096)).astype(np.float32)
    spec = qe.QuantizerSpec(INT4, qe.PerGroup(32), clipping=qe.Percentile(99))
    once = qe.edit_ranges(x, spec, {5: (-0.5, 0.5)})
    assert len(once.key) < len(spec.key) + 100
    assert qe.QuantizerSpec.from_json(once.key) == once
    twice = qe.edit_ranges(x, once, {5: (-0.25, 0.25), 7: (-1.0, 1.0)})
    assert twice.clipping == qe.EditedRanges(qe.Percentile(99), ((5, -0.25, 0.25), (7, -1.0, 1.0)))
    scale = qe.fit(x, twice).scale.reshape(-1)
    assert scale[[5, 7]].tolist() == [np.float32(0.25 / 7), np.float32(1 / 7)]


def test_edits_are_kept_where_ranges_are_observed_in_batches():
    x = np.random.default_rng(1).standard_normal((40, 6)).astype(np.float32)
    for clipping in (qe.MinMax(), qe.MinMSE(), qe.FixedRange(-2, 2)):
        plain = qe.QuantizerSpec(INT4, qe.PerChannel(1), clipping=clipping)
        edited = replace(plain, clipping=qe.EditedRanges(clipping, ((2, -0.5, 0.5),)))
        found = {}
        for spec in (plain, edited):
            observer = BlockObservers(spec, (6,))
            observer.update(x)
            found[spec] = observer.quantizer().scale.reshape(-1)
        assert found[edited][2] == np.float32(0.5 / 7)
        np.testing.assert_array_equal(np.delete(found[edited], 2), np.delete(found[plain], 2))


def test_edits_that_say_nothing_are_refused():
    for edits, words in (
        ((1, 2), "triples"),
        (((0, 1.0, 1.0),), "not below"),
        (((0, -1, 1), (0, -2, 2)), "edited twice"),
        (((0.5, -1, 1),), "must be an integer"),
    ):
        with pytest.raises(qe.QuantError, match=words):
            qe.EditedRanges(qe.MinMax(), edits)
    with pytest.raises(qe.QuantError, match="no ranges of its own"):
        qe.EditedRanges(qe.EditedRanges(qe.MinMax(), ()), ())
    with pytest.raises(qe.QuantError, match="equal steps"):
        qe.QuantizerSpec(qe.E2M1, clipping=qe.EditedRanges(qe.MinKL(), ((0, -1, 1),)))
