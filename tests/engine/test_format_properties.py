"""What holds for floats, fixed point and codebooks of any kind, in every granularity, under any clipping."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

import quant_engine as qe
from tests.engine.strategies import arrays, granularities, other_formats, specs

MOST = 1e6
tensors = arrays(magnitude=MOST)
every_clipping = st.sampled_from([qe.MinMax(), qe.Percentile(80), qe.MinMSE(), qe.FixedRange(-3.0, 2.0)])
every_scale_format = st.sampled_from([None, None, qe.E8M0, qe.FP16, qe.E5M2])
plain = specs(format=other_formats, symmetric=st.just(True), clipping=st.just(qe.MinMax()))


@st.composite
def any_specs(draw, granularities=granularities):
    """Draw a spec of whatever goes together; what stands for itself has neither clipping nor scale format."""
    form, granularity = draw(other_formats), draw(granularities)
    if not form.scaled:
        return qe.QuantizerSpec(form, granularity)
    return qe.QuantizerSpec(form, granularity, True, draw(every_clipping), draw(every_scale_format))


def fitted_within_float32(x, spec):
    """Return the quantizer if its levels are normal float32 numbers, far enough apart to tell."""
    fitted, values = qe.fit(x, spec), np.abs(spec.format.values())
    scales = fitted.scale[fitted.scale > 0]
    assume(scales.size == 0 or scales.min() * values[values > 0].min() > 1e-36)
    return fitted


@given(tensors, any_specs())
def test_quantizing_the_values_again_changes_nothing(x, spec):
    fitted = fitted_within_float32(x, spec)
    once = fitted.encode(x)
    again = fitted.encode(once.dequantize())
    np.testing.assert_array_equal(again.codes, once.codes)


@given(arrays((9,), MOST), arrays((40,), MOST), any_specs(st.just(qe.PerTensor())))
def test_a_greater_value_is_given_no_smaller_level(x, others, spec):
    assert (np.diff(qe.fit(x, spec).fake_quantize(np.sort(others))) >= 0).all()


@given(tensors, any_specs())
def test_every_value_is_given_the_nearest_level_of_its_block(x, spec):
    fitted, grid = fitted_within_float32(x, spec), spec.granularity.blocks(x.shape)
    x_hat = fitted.fake_quantize(x)
    for block in range(grid.count):
        part, levels = grid.slices(block), fitted.levels(block)
        values, chosen = x[part].reshape(-1, 1).astype(np.float64), x_hat[part].reshape(-1)
        assert np.isin(chosen, levels).all()
        rounding = 2 * np.spacing(max(np.abs(x[part]).max(), np.abs(levels).max()))
        assert (np.abs(chosen - values[:, 0]) <= np.abs(values - levels).min(axis=1) + rounding).all()


@given(tensors, any_specs())
def test_the_levels_chosen_lie_between_the_thresholds(x, spec):
    fitted, grid = qe.fit(x, spec), spec.granularity.blocks(x.shape)
    x_hat = fitted.fake_quantize(x)
    for block in range(grid.count):
        part = grid.slices(block)
        places = np.searchsorted(fitted.thresholds(block), x[part], side="right")
        np.testing.assert_array_equal(x_hat[part], fitted.levels(block)[places])


@given(tensors, plain)
def test_four_times_the_tensor_is_four_times_the_result_of_scaled_formats(x, spec):
    assume(spec.format.scaled and 0 in spec.format.values())  # without 0, a block of zeros becomes what it can
    x[np.abs(x) < 1e-3] = 0.0
    fitted_within_float32(x, spec)
    np.testing.assert_array_equal(qe.fake_quantize(4 * x, spec), 4 * qe.fake_quantize(x, spec))


@given(tensors, plain)
def test_values_that_stand_for_themselves_are_the_same_in_every_granularity(x, spec):
    assume(not spec.format.scaled)
    alone = qe.fake_quantize(x, qe.QuantizerSpec(spec.format))
    np.testing.assert_array_equal(qe.fake_quantize(x, spec), alone)
    inside = np.clip(x, np.float32(spec.format.lowest), np.float32(spec.format.highest))
    np.testing.assert_array_equal(alone, spec.format.decode(spec.format.encode(inside)))
