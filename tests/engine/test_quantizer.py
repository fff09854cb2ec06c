"""What a fitted quantizer does: its parameters, its properties, its levels and thresholds."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import quant_engine as qe
from tests import reference
from tests.engine.strategies import arrays, granularities, integer_formats, specs

FITTED = {"clipping": st.just(qe.MinMax())}


def block_shape(x, spec):
    return spec.granularity.blocks(x.shape).block


def of_each_value(per_block, x, spec):
    return reference.spread(per_block, x.shape, block_shape(x, spec))


@given(arrays(), specs(**FITTED))
def test_scale_and_zero_point_follow_from_the_extremes_of_each_block(x, spec):
    fitted = qe.fit(x, spec)
    for place, values in reference.blocks(x, block_shape(x, spec)):
        expected = reference.affine_parameters(
            values.min(), values.max(), spec.format.qmin, spec.format.qmax, spec.symmetric
        )
        assert (fitted.scale[place], fitted.zero_point[place]) == expected


@given(arrays(), specs())
def test_codes_and_values_are_the_documented_formulas(x, spec):
    q = qe.quantize(x, spec)
    scale, zero_point = (of_each_value(a, x, spec) for a in (q.scale, q.zero_point))
    codes = reference.encode(x, scale, zero_point, spec.format.qmin, spec.format.qmax)
    np.testing.assert_array_equal(q.codes, codes)
    np.testing.assert_array_equal(
        q.dequantize().view(np.int32), reference.decode(codes, scale, zero_point).view(np.int32)
    )


@given(arrays(), specs())
def test_fake_quantize_is_dequantize_of_quantize_to_the_bit(x, spec):
    expected = qe.dequantize(qe.quantize(x, spec))
    np.testing.assert_array_equal(qe.fake_quantize(x, spec).view(np.int32), expected.view(np.int32))


@given(arrays(), specs())
def test_quantizing_again_with_the_same_parameters_changes_nothing(x, spec):
    fitted = qe.fit(x, spec)
    once = fitted.encode(x)
    np.testing.assert_array_equal(fitted.encode(once.dequantize()).codes, once.codes)


@given(arrays(), specs(granularity=st.just(qe.PerTensor())))
def test_a_larger_value_never_gets_a_smaller_code(x, spec):
    codes = qe.quantize(np.sort(x, axis=None), spec).codes.astype(int)
    assert (np.diff(codes) >= 0).all()


@given(arrays(), specs())
def test_zero_is_exact(x, spec):
    fitted = qe.fit(x, spec)
    assert not fitted.fake_quantize(np.zeros_like(x)).view(np.int32).any()


@given(arrays(), specs())
def test_inside_the_outermost_levels_the_error_is_at_most_half_a_step(x, spec):
    q = qe.quantize(x, spec)
    scale, zero_point = (of_each_value(a, x, spec) for a in (q.scale, q.zero_point))
    lowest, highest = ((end - zero_point).astype(np.float32) * scale for end in (spec.format.qmin, spec.format.qmax))
    x_hat = q.dequantize()
    rounding = np.spacing(np.maximum(np.abs(x), np.abs(x_hat))).astype(np.float64)
    error = np.abs(x_hat.astype(np.float64) - x)
    inside = (x >= lowest) & (x <= highest)
    assert (error[inside] <= (scale / 2.0 + rounding)[inside]).all()
    outside = ~inside
    np.testing.assert_array_equal(x_hat[outside], np.where(x < lowest, lowest, highest)[outside])


@given(arrays(magnitude=1e30), specs(**FITTED))
def test_four_times_the_tensor_is_four_times_the_result_under_minmax(x, spec):
    blocks = [values for _, values in reference.blocks(x, block_shape(x, spec))]
    assume(all(np.abs(values).max() > 1e-30 or not values.any() for values in blocks))  # normal scales
    np.testing.assert_array_equal(qe.fake_quantize(4 * x, spec), 4 * qe.fake_quantize(x, spec))


@given(arrays(), specs(most_bits=8))
def test_levels_are_what_the_codes_decode_to(x, spec):
    fitted = qe.fit(x, spec)
    codes = spec.format.values()
    for block, (place, _) in enumerate(reference.blocks(x, block_shape(x, spec))):
        expected = reference.decode(codes, fitted.scale[place], fitted.zero_point[place])
        np.testing.assert_array_equal(fitted.levels(block), expected)
        np.testing.assert_array_equal(fitted.levels(place), expected)


@given(arrays(), specs(most_bits=8))
def test_a_threshold_is_the_least_float32_that_reaches_the_next_code(x, spec):
    fitted = qe.fit(x, spec)
    ends = spec.format.qmin, spec.format.qmax
    codes = np.arange(ends[0] + 1, ends[1] + 1)
    for block, (place, _) in enumerate(reference.blocks(x, block_shape(x, spec))):
        edges = fitted.thresholds(block)
        below = np.nextafter(edges, np.float32(-np.inf))
        scale, zero_point = fitted.scale[place], fitted.zero_point[place]
        assert (reference.encode(edges, scale, zero_point, *ends) >= codes).all()
        assert (reference.encode(below, scale, zero_point, *ends) < codes).all()


@given(arrays(), specs(most_bits=8, granularity=st.just(qe.PerTensor())))
def test_encode_agrees_with_the_thresholds(x, spec):
    fitted = qe.fit(x, spec)
    bucket = np.searchsorted(fitted.thresholds(), x, side="right")
    np.testing.assert_array_equal(fitted.encode(x).codes, bucket + spec.format.qmin)


@given(arrays((5, 6)), granularities, st.booleans())
def test_the_blocks_do_not_know_of_each_other(x, granularity, symmetric):
    spec = qe.QuantizerSpec(qe.IntFormat(4), granularity, symmetric)
    alone = qe.QuantizerSpec(qe.IntFormat(4), symmetric=symmetric)
    whole = qe.quantize(x, spec).codes
    grid = granularity.blocks(x.shape)
    for block in range(grid.count):
        place = grid.slices(block)
        np.testing.assert_array_equal(whole[place], qe.quantize(x[place], alone).codes)


@given(integer_formats(), st.booleans())
def test_asymmetric_data_uses_both_outermost_codes(form, negative):
    x = np.linspace(0, 3, 50, dtype=np.float32) * (-1 if negative else 1)
    codes = qe.quantize(x, qe.QuantizerSpec(form, symmetric=False)).codes
    assert (codes.min(), codes.max()) == (form.qmin, form.qmax)


def test_symmetric_unsigned_codes_take_zero_to_a_and_clip_negatives():
    q = qe.quantize([-1.0, -0.1, 0.0, 1.5], qe.QuantizerSpec(qe.IntFormat(4, signed=False)))
    assert q.scale.tolist() == [np.float32(0.1)]
    assert q.zero_point.tolist() == [0]
    assert q.codes.tolist() == [0, 0, 0, 15]


def test_the_full_range_has_one_code_beyond_minus_a():
    fitted = qe.fit([-0.5, 0.7], qe.QuantizerSpec(qe.IntFormat(4)))
    assert fitted.levels()[0] == -8 * fitted.scale[0]
    assert fitted.encode([-0.8]).codes.tolist() == [-8]


def test_asymmetric_ranges_are_widened_to_hold_zero():
    fitted = qe.fit([1.0, 2.0], qe.QuantizerSpec(qe.IntFormat(8, signed=False), symmetric=False))
    assert (fitted.levels()[0], fitted.zero_point[0]) == (0.0, 0)
    assert fitted.levels()[-1] == pytest.approx(2.0, rel=1e-6)


def test_finer_blocks_may_lose_more():
    x = np.float32([7, 3, 1, 0, 3, 2, 1, 0])
    whole = qe.fit(x, qe.QuantizerSpec(qe.IntFormat(4)))
    groups = qe.fit(x, qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(4)))
    assert whole.measure(x).mse == 0.0
    # 3 = 7s in the second group: 2 becomes 5s = 15/7, and 1 becomes 2s = 6/7 — each off by 1/7
    assert groups.measure(x).mse == pytest.approx(2 / 49 / 8, rel=1e-6)


def test_a_tie_between_codes_goes_to_the_even_one():
    q = qe.Quantizer(qe.QuantizerSpec(qe.IntFormat(4)), [1.0], [0])
    assert q.encode([0.5, 1.5, 2.5, -0.5, -1.5]).codes.tolist() == [0, 2, 2, 0, -2]


def test_codes_are_of_the_smallest_type_and_values_are_float32():
    q = qe.quantize([0.5], qe.QuantizerSpec(qe.IntFormat(9, signed=False), symmetric=False))
    assert (q.codes.dtype, q.dequantize().dtype) == (np.uint16, np.float32)
    assert (q.scale.dtype, q.zero_point.dtype) == (np.float32, np.int32)


@pytest.mark.parametrize(
    ("granularity", "shape"),
    [(qe.PerTensor(), (1, 1)), (qe.PerChannel(0), (64, 1)), (qe.PerGroup(2), (64, 128))],
    ids=str,
)
def test_scale_and_zero_point_have_the_shape_of_the_block_grid(granularity, shape):
    fitted = qe.fit(np.ones((64, 256), np.float32), qe.QuantizerSpec(qe.IntFormat(4), granularity))
    assert fitted.scale.shape == fitted.zero_point.shape == shape


# --- what is no quantizer, and no codes -------------------------------------------------------------------------------

SYMMETRIC, ASYMMETRIC = (qe.QuantizerSpec(qe.IntFormat(4), symmetric=symmetric) for symmetric in (True, False))
WITHOUT_ZERO_POINT = [SYMMETRIC, *map(qe.QuantizerSpec, (qe.E2M1, qe.NF4, qe.BF16, qe.FixedPointFormat(2, 5)))]
ANY_FORMAT = [*WITHOUT_ZERO_POINT, ASYMMETRIC, *map(qe.QuantizerSpec, (qe.IntFormat(8), qe.KMeans(3), qe.E4M3))]
ANY_FORMAT += map(
    qe.QuantizerSpec, (qe.BlockFormat("Q4_1"), qe.VectorCodebook(2, 3), qe.VectorCodebook(5, 3, 2, "pad"))
)
X = np.random.default_rng(3).standard_normal((3, 32)).astype(np.float32)


def test_zero_points_are_codes_and_0_where_there_are_none():
    one = np.ones((1, 1), np.float32)
    for zero_point in (1.5, np.nan, np.inf, 0.0, True, "0", None, 1j, 2**33, 2**70, -(2**31) - 1, 100, -9, 8):
        for spec in (SYMMETRIC, ASYMMETRIC):
            with pytest.raises(qe.QuantError, match=r"not all zero points can be: .*; give"):
                qe.Quantizer(spec, one, [[zero_point]])
    for spec in WITHOUT_ZERO_POINT:
        with pytest.raises(qe.QuantError, match=r"give (0|scales of 1)"):
            qe.Quantizer(spec, one, [[1]])
    for zero_point in (-8, 7, np.uint64(7), np.int8(-8)):
        assert qe.Quantizer(ASYMMETRIC, one, [[zero_point]]).zero_point.tolist() == [[zero_point]]
    for form, end in ((qe.IntFormat(4, narrow=True), -8), (qe.IntFormat(8, signed=False), 256)):
        with pytest.raises(qe.QuantError, match=f"not all zero points can be: {end} at"):
            qe.Quantizer(qe.QuantizerSpec(form, symmetric=False), one, [[end]])


def test_a_quantizer_is_made_of_a_spec_and_numbers_of_its_format():
    one, none = np.ones((1, 1), np.float32), np.zeros((1, 1), int)
    for spec in (None, "int4", qe.IntFormat(4)):
        with pytest.raises(qe.QuantError, match="give a QuantizerSpec"):
            qe.Quantizer(spec, one, none)
    for scale in ("1", 1j, None, [[np.nan]], [[-1.0]], [[0.0]]):
        with pytest.raises(qe.QuantError, match="scale"):
            qe.Quantizer(SYMMETRIC, scale, none)
    with pytest.raises(qe.QuantError, match=r"learned of shape \(3,\): IntFormat.* learns nothing; give None"):
        qe.Quantizer(SYMMETRIC, one, none, np.ones(3))
    with pytest.raises(qe.QuantError, match="stand for themselves; give scales of 1"):
        qe.Quantizer(qe.QuantizerSpec(qe.BF16), 2 * one, none)
    blocks = qe.fit(X, qe.QuantizerSpec(qe.BlockFormat("Q4_0")))
    with pytest.raises(qe.QuantError, match="zero_point is not 0 everywhere"):
        qe.Quantizer(blocks.spec, blocks.scale, blocks.zero_point + 1, blocks.learned)


def test_codes_are_of_the_format_wherever_they_are_given():
    for spec in ANY_FORMAT:
        q, fitted = qe.quantize(X, spec), qe.fit(X, spec)
        low, high = spec.format.code_range
        for bad in (low - 1, high + 1, 200_000, 2**70, 1.0, 1.5, np.nan, True, "1", None):
            codes = np.full(q.codes.shape, bad)
            with pytest.raises(qe.QuantError, match=r"not all codes are codes of .*; give"):
                dataclasses.replace(q, codes=codes)
            with pytest.raises(qe.QuantError, match=r"not all codes are codes of .*; give"):
                fitted.decode(codes)
        one_bad = q.codes.astype(np.int64)
        one_bad[2, 1] = high + 1
        with pytest.raises(qe.QuantError, match=rf": {high + 1} at \(2, 1"):
            dataclasses.replace(q, codes=one_bad)


def test_a_tensor_of_codes_fits_together():
    for spec in ANY_FORMAT:
        q = qe.quantize(X, spec)
        wrong = [
            {"spec": 4},
            {"codes": q.codes[0, ..., 0]},
            {"codes": None},
            {"scale": np.concatenate([q.scale, q.scale]), "zero_point": np.concatenate([q.zero_point, q.zero_point])},
            {"scale": q.scale[0]},
            {"scale": -q.scale - 1},
            {"zero_point": q.zero_point + 100},
            {"learned": np.full((7, 7), 2.0)},
            *({"length": length} for length in (-3, 0, 99, 31.0, True, "32", np.nan)),
        ]
        for change in wrong:
            with pytest.raises(qe.QuantError):
                dataclasses.replace(q, **change)


def test_a_tensor_of_codes_made_by_hand_is_the_one_that_a_quantizer_makes():
    for spec in ANY_FORMAT:
        q = qe.quantize(X, spec)
        again = dataclasses.replace(q, codes=q.codes.astype(np.int64))
        assert again.codes.dtype == q.codes.dtype == spec.format.dtype
        assert (again.shape, again.length, again.bits_per_value) == (q.shape, q.length, q.bits_per_value)
        np.testing.assert_array_equal(again.dequantize(), q.dequantize())


def test_codes_that_stand_for_no_number_are_refused():
    for form, code, said in ((qe.E5M2, 0x7C, "inf"), (qe.E4M3, 0x7F, "nan"), (qe.FP16, 0xFE00, "nan")):
        q = qe.quantize(X, qe.QuantizerSpec(form))
        codes = q.codes.copy()
        codes[1, 2] = code
        with pytest.raises(qe.QuantError, match=rf"stand for {said} at \(1, 2\); give finite"):
            dataclasses.replace(q, codes=codes)
    few = qe.quantize(np.float32([[1, 1, 2, 2]]), qe.QuantizerSpec(qe.KMeans(4)))
    with pytest.raises(qe.QuantError, match="fewer distinct values"):
        dataclasses.replace(few, codes=few.codes + 2)


def test_a_change_of_the_callers_codes_does_not_reach_the_tensor():
    q, mine = qe.quantize(X, SYMMETRIC), np.zeros_like(X, np.int8)
    made = dataclasses.replace(q, codes=mine)
    mine[:] = 100
    assert not made.dequantize().any()


def test_codes_of_another_format_are_not_decoded():
    with pytest.raises(qe.QuantError, match=r"codes are of IntFormat\(bits=8.*use dequantize"):
        qe.fit(X, SYMMETRIC).decode(qe.quantize(X, qe.QuantizerSpec(qe.IntFormat(8))))
