"""Integer-only inference: exact rational arithmetic, gemmlowp's text, int64 and onnxruntime are the oracles."""

import dataclasses
import functools
import math
import re
from collections import Counter
from fractions import Fraction

import numba
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from quant_engine import (
    E4M3,
    NF4,
    FixedPointFormat,
    FixedRange,
    IntFormat,
    KMeans,
    LayerPlan,
    MinMSE,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    PerToken,
    QuantError,
    QuantizationPlan,
    QuantizerSpec,
    quantize,
)
from quant_engine.integer_only import (
    Accumulator,
    agreement,
    bits_of,
    compile_plan,
    count_operations,
    fixed_point,
    integer_accuracy,
    trace_output,
    with_integer_bias,
)
from quant_engine.integer_only.attribution import attribute_difference
from quant_engine.integer_only.lowering import validate_width
from quant_engine.integer_only.simulating import biases_of, simulate
from quant_engine.integer_only.steps import AddUp, Memory, MultiplyAccumulate, Requantize, Rescale
from quant_engine.kernels import integer
from quant_engine.network import load
from quant_engine.studies import footprint
from tests import reference

MODELS = ("fashion-cnn", "fashion-depthwise")
UINT8 = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
WEIGHTS = {
    8: QuantizerSpec(IntFormat(8), PerChannel(0)),
    4: QuantizerSpec(IntFormat(4), PerChannel(0), clipping=MinMSE()),
}
INT32 = st.integers(-(2**31), 2**31 - 1)
EDGES = [0, 1, -1, 2**30, -(2**30), 2**31 - 1, -(2**31), 3 << 29, -(3 << 29), 12345678]


@functools.cache
def network(name):
    return load(name)


@functools.cache
def frozen(name, weight_bits=8):
    layer = LayerPlan(WEIGHTS[weight_bits], UINT8)
    return network(name).freeze(QuantizationPlan(dict.fromkeys(network(name).layers(), layer)))


@functools.cache
def program(name, weight_bits=8, rounding="gemmlowp"):
    return compile_plan(network(name), frozen(name, weight_bits), rounding)


@functools.cache
def codes(name, images=6):
    return program(name).quantize(network(name).data()[0][:images])


@functools.cache
def agreed(name, weight_bits):
    return agreement(network(name), frozen(name, weight_bits))


def rescaled(total, multiplier, shift, once):
    out = np.empty((1, 1), np.int32)
    one = np.array([total], np.int32), np.array([multiplier], np.int32), np.array([shift], np.int32)
    integer.rescale(one[0][None], one[1], one[2], once, out)
    return int(out[0, 0])


# --- requantization ---------------------------------------------------------------------------------------------------


@given(INT32, st.integers(-(2**31) + 1, 2**31 - 1))
def test_the_high_product_is_gemmlowps_and_the_nearest_whole_number(a, b):
    out = np.empty(1, np.int32)
    integer.high_products(np.array([a], np.int32), np.int32(b), out)
    assert out[0] == reference.high_multiply(a, b)
    assert abs(Fraction(a * b, 2**31) - int(out[0])) <= Fraction(1, 2)


@given(INT32, st.integers(0, 31))
def test_the_shift_is_gemmlowps_and_rounds_half_away_from_zero(x, exponent):
    out = np.empty(1, np.int32)
    integer.divisions(np.array([x], np.int32), exponent, out)
    exact = Fraction(abs(x), 2**exponent)
    away = int(exact + Fraction(1, 2)) * (1 if x >= 0 else -1)
    assert out[0] == reference.divide_by_power(x, exponent) == away


@given(st.floats(2.0**-31, 2.0**20))
def test_a_multiplier_is_within_half_of_its_last_bit(number):
    multiplier, shift = fixed_point(number)
    assert 2**30 <= multiplier < 2**31
    assert abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) / Fraction(number) - 1) <= Fraction(1, 2**31)


def test_what_no_multiplier_stands_for_is_refused():
    for wrong in (np.inf, np.nan, -0.5, -1e-300, 2.0**31, 10**400, "1", None, True, 1j):
        with pytest.raises(QuantError, match="number="):
            fixed_point(wrong)
    assert fixed_point(2.0**31 - 1) == (2**31 - 1, 31)


def test_a_vanishing_multiplier_is_zero_and_rounding_up_may_need_another_bit():
    assert fixed_point(0.0) == fixed_point(2.0**-40) == (0, 0)
    assert fixed_point(1 - 2.0**-40) == (2**30, 1)


@given(INT32, st.integers(2**30, 2**31 - 1), st.integers(-31, 1), st.booleans())
def test_requantization_is_tflites(total, multiplier, shift, once):
    expected = min(max(reference.requantized(total, multiplier, shift, once), -(2**31)), 2**31 - 1)
    assert rescaled(total, multiplier, shift, once) == expected


@given(st.integers(-(2**24), 2**24), st.floats(1e-6, 1.0))
def test_rounding_once_is_exact_and_twice_is_so_within_the_shift(total, number):
    multiplier, shift = fixed_point(number)
    exact = total * Fraction(multiplier) * Fraction(2) ** (shift - 31)
    assert abs(rescaled(total, multiplier, shift, True) - exact) <= Fraction(1, 2)
    assert abs(rescaled(total, multiplier, shift, False) - exact) <= Fraction(1, 2) + Fraction(
        1, 2 ** (1 - min(shift, 0))
    )


def test_rounding_twice_goes_up_a_little_below_a_half():
    multiplier, shift = fixed_point(0.092)  # 5 · 0.092 = 0.46; in eighths 3.68, rounded 4, which is a half
    assert {once: rescaled(5, multiplier, shift, once) for once in (False, True)} == {False: 1, True: 0}


@pytest.mark.parametrize("total", EDGES)
@pytest.mark.parametrize("shift", [-31, -30, -1, 0, 1, 8])
def test_the_ends_of_int32_are_requantized_without_overflow(total, shift):
    for once in (False, True):
        exact = reference.requantized(total, 2**31 - 1, shift, once)
        assert rescaled(total, 2**31 - 1, shift, once) == min(max(exact, -(2**31)), 2**31 - 1)


# --- layers -----------------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 1, 1), (4, 1, 1), (1, 3, 2), (2, 2, 3), (1, 5, 2), (3, 1, 2), (2, 3, 9)]),
    st.tuples(st.integers(1, 5), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
    st.integers(0, 255),
)
def test_a_convolution_is_that_of_int64(seed, form, size, stride, padding, zero_point):
    rng, (groups, channels, members) = np.random.default_rng(seed), form
    x = rng.integers(0, 256, (3, groups * channels, 5, 4), dtype=np.uint8)
    weight = rng.integers(-128, 128, (groups * members, channels, *size)).astype(np.int8)
    bias = rng.integers(-(2**20), 2**20, groups * members).astype(np.int32)
    layer = MultiplyAccumulate("layer", weight, bias, zero_point, 255, groups, stride, padding)
    expected = reference.convolved(x, weight, bias, zero_point, groups, stride, padding)
    assert np.array_equal(layer.run(x, Accumulator(), Memory()), expected)


@given(st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_a_linear_layer_is_that_of_int64(seed, zero_point):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (4, 37), dtype=np.uint8)
    weight = rng.integers(-128, 128, (5, 37)).astype(np.int8)
    bias = rng.integers(-1000, 1000, 5).astype(np.int32)
    found = MultiplyAccumulate("layer", weight, bias, zero_point, 255).run(x, Accumulator(), Memory())
    assert np.array_equal(found, (x.astype(np.int64) - zero_point) @ weight.astype(np.int64).T + bias)


def onnx_run(op, inputs, initializers, output, **attributes):
    """Run one operator of onnxruntime: named arrays in, one array out."""
    node = helper.make_node(op, [*inputs, *initializers], ["out"], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [helper.make_tensor_value_info("out", output, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, inputs
    )[0]


@pytest.mark.parametrize(
    ("name", "layer"), [("fashion-cnn", "conv1"), ("fashion-cnn", "conv3"), ("fashion-depthwise", "dw2")]
)
def test_the_sums_of_a_real_layer_are_those_of_onnxruntimes_conv_integer(name, layer):
    step, x, sums = next(part for part in program(name).trace(codes(name)) if getattr(part[0], "name", "") == layer)
    found = onnx_run(
        "ConvInteger",
        {"x": x},
        {"w": step.weight, "xz": np.uint8(step.zero_point), "wz": np.int8(0)},
        TensorProto.INT32,
        group=step.groups,
        pads=[1, 1, 1, 1],
    )
    assert np.array_equal(sums, found + step.bias[:, None, None])


def test_a_real_layer_gives_the_codes_of_onnxruntimes_qlinear_conv_but_at_ties():
    name = "fashion-cnn"
    compiled = program(name, 8, "single")
    parts = list(compiled.trace(codes(name)))
    step, x, sums = parts[3]
    requantize, _, out = parts[4]
    assert isinstance(requantize, Requantize)
    scale, sum_scale = compiled.scales["conv2"]
    output_scale, _ = compiled.scales["conv3"]
    found = onnx_run(
        "QLinearConv",
        {"x": x},
        {
            "xs": np.float32(scale),
            "xz": np.uint8(step.zero_point),
            "w": step.weight,
            "ws": (sum_scale / scale).astype(np.float32),
            "wz": np.zeros(len(step.weight), np.int8),
            "ys": np.float32(output_scale),
            "yz": np.uint8(requantize.zero_point),
            "b": step.bias,
        },
        TensorProto.UINT8,
        pads=[1, 1, 1, 1],
    )
    found = np.maximum(found, requantize.zero_point)  # the ReLU
    steps = sums * (sum_scale / output_scale)[:, None, None]
    apart = np.abs(steps - np.floor(steps) - 0.5)
    assert np.array_equal(found[apart > 1e-4], out[apart > 1e-4])
    assert (np.abs(found.astype(int) - out) <= 1).all()


# --- whole networks ---------------------------------------------------------------------------------------------------


def slow(step, x):
    """One step in numpy's int64."""
    if isinstance(step, MultiplyAccumulate) and step.weight.ndim == 4:
        return reference.convolved(x, step.weight, step.bias, step.zero_point, step.groups, step.stride, step.padding)
    if isinstance(step, MultiplyAccumulate):
        return (x - step.zero_point) @ step.weight.astype(np.int64).T + step.bias
    if isinstance(step, Requantize | Rescale):
        flat = x.reshape(*x.shape[:2], -1)
        out = np.empty_like(flat)
        for place in np.ndindex(flat.shape):
            c = place[1]
            out[place] = reference.requantized(int(flat[place]), int(step.multiplier[c]), int(step.shift[c]), step.once)
        out = out.reshape(x.shape)
        return out if isinstance(step, Rescale) else np.clip(out + step.zero_point, step.lowest, step.highest)
    if isinstance(step, AddUp):
        return np.maximum(x, 0).sum(axis=(2, 3))
    if type(step).__name__ == "Largest":
        n, c, h, w = x.shape
        return x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))
    return x.reshape(len(x), -1)


@pytest.mark.parametrize("rounding", ["gemmlowp", "single"])
@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_that_of_slow_int64_step_by_step(name, rounding):
    compiled = program(name, 8, rounding)
    for step, x, out in compiled.trace(codes(name)[:2]):
        assert np.array_equal(out, slow(step, x.astype(np.int64))), step
    assert np.array_equal(compiled.run(codes(name)), compiled.run(codes(name)[::-1])[::-1])


@pytest.mark.choice(3)
@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize("name", MODELS)
def test_integers_and_simulation_agree_or_say_why_not(name, weight_bits):
    """2,000 equal labels where both round alike; where biases or products are rounded further, every other label."""
    found = agreed(name, weight_bits)
    assert np.array_equal(found.labels["biases"], found.labels["single"])
    assert found.integer == integer_accuracy(network(name), program(name, weight_bits))
    assert found.unlike("simulated", "gemmlowp") == len(found.differences) <= 30
    assert abs(found.integer.correct - found.simulated.correct) <= len(found.differences)
    assert found.explained
    for difference in found.differences:
        one, other = difference.labels
        alone = found.labels["biases"][difference.image] == other != one
        assert (found.labels["simulated"][difference.image], alone) == (one, difference.biases_alone)
        assert difference.leads[0] >= 0 >= difference.leads[1]  # both compared the same two logits
        as_simulated, exact, biased, multiplied, halved = difference.values
        assert abs(as_simulated - multiplied) <= difference.allowed
        assert difference.margin <= difference.allowed
        assert sum(times for _, times in difference.causes) == max(difference.count, 1)
        if difference.layer != "logits":
            assert difference.allowed < 0.2
            assert abs(exact - as_simulated) < 1e-4 > abs(multiplied - biased)  # float32 and multiplier hardly count
            assert abs(exact - biased) < 0.1
            assert math.floor(halved + 0.5) == difference.codes[1]
            assert abs(difference.codes[0] - difference.codes[1]) == 1
    turned: Counter[str] = Counter()
    for difference in found.differences:
        turned.update(dict(difference.causes))
    assert turned["bias"] + turned["rounding"] >= 0.9 * turned.total()


def test_the_simulation_that_is_compared_is_the_networks_own():
    name = "fashion-depthwise"
    assert np.array_equal(agreed(name, 8).labels["simulated"], network(name).predict(frozen(name)))


def test_what_a_difference_comes_from_is_worked_out_again():
    """The first code that differs, in fractions: with the real bias, the integers' bias, and the product rounded twice.

    What dw1 takes is the largest of two by two, so the values that may have gone there are followed one by one.
    """
    name, layer = "fashion-depthwise", "stem"
    difference = next(found for found in agreed(name, 8).differences if found.layer == "dw1")
    image = program(name).quantize(network(name).data()[0][difference.image : difference.image + 1])[0]
    channel, row, column = difference.place
    places = [(2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)]
    twice, once = (
        max(
            (trace_output(program(name, 8, way), image, layer, channel, place) for place in places),
            key=lambda p: p.total,
        )
        for way in ("gemmlowp", "single")
    )
    step = Fraction(twice.sum_scale) / Fraction(twice.output_scale)
    bias = Fraction(float(network(name).bias(layer)[channel])) / Fraction(twice.sum_scale)
    exact = [(twice.total - twice.bias + bias) * step, twice.total * step]
    assert difference.values[1:3] == pytest.approx([float(v + twice.requantized.zero_point) for v in exact], abs=1e-9)
    as_simulated, *_, multiplied, halved = (math.floor(value + 0.5) for value in difference.values)
    assert (as_simulated, halved) == difference.codes
    assert difference.values[4] == twice.requantized.high / 2**twice.requantized.right + twice.requantized.zero_point
    assert (as_simulated, twice.requantized.code) == difference.codes
    assert once.requantized.code == multiplied
    if len(difference.causes) == 1:
        assert (difference.causes[0][0] == "rounding") == (once.requantized.code != twice.requantized.code)


def test_an_error_of_the_program_is_not_explained_away():
    compiled = program("fashion-cnn")
    steps = list(compiled.steps)
    steps[1] = dataclasses.replace(steps[1], multiplier=(steps[1].multiplier * 0.97).astype(np.int32))
    wrong = dataclasses.replace(compiled, steps=tuple(steps))
    images = network("fashion-cnn").data()[0][:1]
    subject, plan = network("fashion-cnn"), frozen("fashion-cnn")
    given = {k: v[0] for k, v in simulate(subject, plan, images).items()}
    found = attribute_difference(wrong, plan, biases_of(subject, plan), compiled.quantize(images)[0], given, 0, (0, 1))
    assert found.layer == "conv2"
    assert not found.explained


@pytest.mark.parametrize(("bits", "signed"), [(8, True), (5, False)])
def test_signed_and_narrow_activations_run_too(bits, signed):
    spec = QuantizerSpec(IntFormat(bits, signed=signed), symmetric=False)
    subject = network("fashion-cnn")
    plan = subject.freeze(QuantizationPlan(dict.fromkeys(subject.layers(), LayerPlan(WEIGHTS[8], spec))))
    found, simulated = agreement(subject, plan), subject.evaluate(plan)
    assert found.simulated == simulated
    assert found.explained
    assert abs(found.integer.correct - simulated.correct) <= 6


def test_codes_and_biases_of_a_plans_own_are_used():
    subject = network("fashion-cnn")
    given = {}
    for name, layer in frozen("fashion-cnn").layers.items():
        matrix = subject.weight(name).reshape(subject.layers()[name].matrix_shape)
        given[name] = LayerPlan(quantize(matrix, WEIGHTS[8]), layer.activation, bias=subject.bias(name))
    same = compile_plan(subject, QuantizationPlan(given))
    assert np.array_equal(same.run(codes("fashion-cnn")), program("fashion-cnn").run(codes("fashion-cnn")))
    moved = QuantizationPlan(
        given | {"fc2": dataclasses.replace(given["fc2"], bias=subject.bias("fc2") + np.float32(3))}
    )
    other = compile_plan(subject, moved)
    unlike = other.run(codes("fashion-cnn")) - same.run(codes("fashion-cnn"))
    assert unlike * other.logit_scale == pytest.approx(np.full(unlike.shape, 3.0), abs=2 * other.logit_scale)


@pytest.mark.parametrize(
    "weight",
    [
        QuantizerSpec(IntFormat(8), PerTensor()),
        QuantizerSpec(IntFormat(6), PerChannelGroup(4, remainder="short")),
        QuantizerSpec(FixedPointFormat(0, 7)),
    ],
)
def test_scales_of_channels_groups_and_fixed_points_are_taken(weight):
    subject = network("fashion-cnn")
    plan = subject.freeze(QuantizationPlan(dict.fromkeys(subject.layers(), LayerPlan(weight, UINT8))))
    compiled = compile_plan(subject, plan, "single")
    images = subject.data()[0][:100]
    expected = subject.predict(with_integer_bias(compiled, plan))[:100]
    assert np.array_equal(compiled.predict(compiled.quantize(images)), expected)


# --- no float in the path ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [np.float32, np.float64, np.int64, np.int8, np.float16])
def test_what_is_no_code_is_refused(wrong):
    with pytest.raises(QuantError, match=f"{np.dtype(wrong)}.*uint8 codes, as `quantize` gives"):
        program("fashion-cnn").run(codes("fashion-cnn").astype(wrong))


def test_images_of_another_shape_and_codes_beyond_the_input_are_refused():
    with pytest.raises(QuantError, match=r"codes of shape \(6, 784\); give \(images, 1, 28, 28\)"):
        program("fashion-cnn").run(codes("fashion-cnn").reshape(6, 784))
    spec = QuantizerSpec(IntFormat(4, signed=False), symmetric=False)
    subject = network("fashion-cnn")
    narrow = compile_plan(subject, QuantizationPlan(dict.fromkeys(subject.layers(), LayerPlan(WEIGHTS[8], spec))))
    with pytest.raises(QuantError, match="the code 255 is beyond the input's greatest, 15"):
        narrow.run(np.full((1, 1, 28, 28), 255, np.uint8))


@pytest.mark.parametrize("name", MODELS)
def test_every_number_that_a_program_holds_or_passes_on_is_an_integer(name):
    for step, x, out in program(name).trace(codes(name)[:1]):
        held = [getattr(step, field.name) for field in dataclasses.fields(step)]
        assert all(not isinstance(value, float) for value in held)
        arrays = [x, out, *(value for value in held if isinstance(value, np.ndarray))]
        assert all(np.issubdtype(array.dtype, np.integer) for array in arrays)


@pytest.mark.parametrize("name", MODELS)
def test_the_machine_code_of_the_kernels_knows_no_float(name):
    program(name).run(codes(name))
    used = (integer.convolve, integer.multiply, integer.requantize, integer.rescale, integer.add_up, integer.largest)
    for function in used:
        for signature in function.signatures:
            assert "float" not in str(signature)
    for function in (integer.multiply, integer.requantize, integer._add_products, integer._lift):
        anew = numba.njit(error_model="numpy")(function.py_func)
        for signature in function.signatures:
            anew.compile(signature)
        text = "\n".join(anew.inspect_llvm().values())
        assert not re.search(r"\b(double|float|half|fadd|fmul|sitofp|fptosi)\b", text)


# --- overflow ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_no_sum_leaves_its_bounds(name):
    for step, _, out in program(name).trace(codes(name)):
        if isinstance(step, MultiplyAccumulate | AddUp):
            each = out.astype(np.int64).reshape(*out.shape[:2], -1)
            assert (each >= step.bounds.low[:, None]).all()
            assert (each <= step.bounds.high[:, None]).all()
    assert all(bounds.bits <= 32 for bounds in program(name).bounds.values())


@pytest.mark.parametrize("name", MODELS)
def test_every_layers_bounds_are_reached_in_every_channel(name):
    for step in program(name).steps:
        if not isinstance(step, MultiplyAccumulate):
            continue
        outputs, channels = step.weight.shape[:2]
        first = np.arange(outputs) // (outputs // step.groups) * channels
        for expected, pulls in ((step.bounds.high, step.weight > 0), (step.bounds.low, step.weight < 0)):
            x = np.zeros((outputs, step.groups * channels, *step.weight.shape[2:]), np.uint8)
            for o in range(outputs):  # an image for each channel, as large as the window
                x[o, first[o] : first[o] + channels] = np.where(pulls[o], step.max_code, 0)
            sums = step.run(x, Accumulator(), Memory()).reshape(outputs, outputs, -1)
            middle = sums[:, :, sums.shape[2] // 2]
            assert np.array_equal(middle.diagonal(), expected), step.name


def ends_by_hand(subject, plan, layer, granularity):
    """Return the least and the greatest sum of each channel in Python's own integers, weight by weight."""
    quantizer = plan[layer].activation
    scale, zero_point = float(quantizer.scale.item()), int(quantizer.zero_point.item())
    matrix = subject.weight(layer).reshape(len(subject.weight(layer)), -1)
    steps = np.abs(matrix).max(axis=1) / np.float32(127)
    if isinstance(granularity, PerTensor):
        steps[:] = steps.max()
    found = []
    for row, step, real in zip(matrix, steps, subject.bias(layer), strict=True):
        low = high = round(float(real) / (scale * float(step)))
        for weight in row:
            code = int(np.rint(weight / step))
            ends = code * (0 - zero_point), code * (255 - zero_point)
            low, high = low + min(ends), high + max(ends)
        found.append((low, high))
    return found


@pytest.mark.parametrize(
    ("name", "layer", "granularity", "bits"),
    [
        ("fashion-cnn", "fc1", PerTensor(), 22),
        ("fashion-cnn", "fc1", PerChannel(0), 24),
        ("fashion-cnn", "conv1", PerChannel(0), 18),
        ("fashion-cnn", "conv3", PerTensor(), 21),
        ("fashion-depthwise", "dw3", PerChannel(0), 19),
    ],
)
def test_bounds_and_their_bits_are_those_worked_out_weight_by_weight(name, layer, granularity, bits):
    """One scale for the layer leaves most channels of fc1 few codes; a scale for each uses ±127 in all, so 24 bits."""
    weight = QuantizerSpec(IntFormat(8), granularity)
    subject = network(name)
    plan = subject.freeze(QuantizationPlan(dict.fromkeys(subject.layers(), LayerPlan(weight, UINT8))))
    compiled = compile_plan(subject, plan)
    bounds, expected = compiled.bounds[layer], ends_by_hand(subject, plan, layer, granularity)
    assert list(zip(bounds.low.tolist(), bounds.high.tolist(), strict=True)) == expected
    low, high = min(low for low, _ in expected), max(high for _, high in expected)
    fewest = next(b for b in range(1, 64) if -(2 ** (b - 1)) <= low and high < 2 ** (b - 1))
    assert bounds.bits == fewest == bits
    if layer == "dw3":
        pooled, (_, tall, wide) = compiled.bounds["pool3"], subject.layers()["pw4"].output_shape
        assert pooled.low.tolist() == [0] * len(pooled.low)
        highs = [high for _, high in ends_by_hand(subject, plan, "pw4", granularity)]
        assert pooled.high.tolist() == [tall * wide * max(high, 0) for high in highs]


MOST_ADDED = 66_311  # products of 127 · 255 that 2³¹ − 1 holds: 32,385 · 66,311 = 2,147,481,735


@pytest.mark.parametrize("zero_point", [0, 255])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_widest_sum_is_right_and_one_input_or_a_bias_more_is_refused(zero_point, sign):
    room = 2**31 - 1 - 127 * 255 * MOST_ADDED + (sign * (1 if zero_point == 0 else -1) < 0)

    def layer(inputs, bias=0):
        weight = np.full((1, inputs), 127 * sign, np.int8)
        return MultiplyAccumulate("wide", weight, np.array([bias], np.int32), zero_point, 255)

    towards = sign if zero_point == 0 else -sign  # of the sum that is furthest from 0
    for bias in (0, towards * room):
        widest = layer(MOST_ADDED, bias)
        validate_width(widest.bounds)
        codes = np.full((1, MOST_ADDED), 255 if zero_point == 0 else 0, np.uint8)
        expected = towards * 127 * 255 * MOST_ADDED + bias
        assert widest.run(codes, Accumulator(), Memory()).item() == expected
        assert expected in (widest.bounds.low.item(), widest.bounds.high.item())
    for beyond in (layer(MOST_ADDED + 1), layer(MOST_ADDED, towards * (room + 1)), layer(10 * MOST_ADDED)):
        expected = towards * 127 * 255 * beyond.weight.size + int(beyond.bias[0])
        assert expected in (beyond.bounds.low.item(), beyond.bounds.high.item())
        with pytest.raises(QuantError, match=rf"layer 'wide', channel 0: .*{expected}.* needs 3[36] bits"):
            validate_width(beyond.bounds)


def test_a_sum_over_the_picture_that_could_overflow_is_refused_when_compiling():
    subject = network("fashion-depthwise")
    _, steps = program("fashion-depthwise").scales["pw4"]
    bias = subject.bias("pw4").copy()
    bias[7] = 2.0**31 / 49 * steps[7]
    layer = dataclasses.replace(frozen("fashion-depthwise")["pw4"], bias=bias)
    with pytest.raises(QuantError, match=r"'pool3', channel 7: its sums can reach from 0 to .* needs 33 bits"):
        compile_plan(subject, QuantizationPlan({**frozen("fashion-depthwise").layers, "pw4": layer}))


def test_an_input_that_no_shift_reaches_is_refused():
    subject = network("fashion-cnn")
    tiny = dataclasses.replace(UINT8, clipping=FixedRange(0.0, 1e-30))
    layer = dataclasses.replace(frozen("fashion-cnn")["conv2"], activation=tiny)
    with pytest.raises(QuantError, match=r"layer 'conv1', channel \d+: .*beyond any shift"):
        compile_plan(subject, QuantizationPlan({**frozen("fashion-cnn").layers, "conv2": layer}))


def test_bits_are_those_of_twos_complement():
    for number in (*range(-300, 300), 2**31 - 1, -(2**31)):
        bits = bits_of(number)
        assert -(2 ** (bits - 1)) <= number < 2 ** (bits - 1)
        assert bits == 1 or not -(2 ** (bits - 2)) <= number < 2 ** (bits - 2)


def test_a_sum_beyond_sixteen_bits_is_refused_by_layer_and_channel():
    narrow = program("fashion-cnn").accumulating(16)
    with pytest.raises(QuantError, match=r"layer 'conv\d', channel \d+: the sum -?\d+ .* needs 1[789] bits.* has 16"):
        narrow.run(codes("fashion-cnn"))


def test_a_sum_that_wraps_is_the_true_one_modulo_the_word():
    steps = list(program("fashion-cnn").trace(codes("fashion-cnn")))
    step, x, sums = steps[3]
    for bits in (16, 12):
        wrapped = step.run(x, Accumulator(bits, "wrap"), Memory()).astype(np.int64)
        assert ((wrapped - sums) % (1 << bits) == 0).all()
        assert np.abs(wrapped).max() <= 1 << (bits - 1)
        assert (wrapped != sums).any()
        assert wrapped.flat[7] == Accumulator(bits).wrapped(int(sums.flat[7]))


def test_enough_bits_change_nothing_and_too_few_ruin_the_network():
    subject, whole = network("fashion-cnn"), program("fashion-cnn")
    most = max(bounds.bits for bounds in whole.bounds.values())
    assert np.array_equal(whole.accumulating(most).run(codes("fashion-cnn")), whole.run(codes("fashion-cnn")))
    assert integer_accuracy(subject, whole.accumulating(14, "wrap"), "calibration").value < 0.5


@pytest.mark.parametrize(
    ("bits", "overflow"), [(7, "wrap"), (33, "wrap"), (16.0, "wrap"), (True, "wrap"), (16, "saturate")]
)
def test_other_accumulators_are_refused(bits, overflow):
    with pytest.raises(QuantError):
        program("fashion-cnn").accumulating(bits, overflow)


# --- channels without weights, or nearly ------------------------------------------------------------------------------


def with_dead_channels(name, first, then, unit, weight=0.0, bias=0.45, channels=4):
    """Return a network some of whose channels have a bias but hardly a weight; `unit` scales a layer and is undone."""
    subject = network(name)
    w, b = subject.weight(first).copy(), subject.bias(first).copy()
    w[:channels] *= np.float32(weight)
    b[:channels] = bias
    scaled = w * np.float32(unit), b * np.float32(unit)
    return subject.with_parameters({first: scaled, then: (subject.weight(then) / np.float32(unit), subject.bias(then))})


def labels_in_both_ways(subject, weight=WEIGHTS[8], activation=UINT8, images=400):
    """Return the labels as simulated and in integers."""
    plan = subject.freeze(QuantizationPlan(dict.fromkeys(subject.layers(), LayerPlan(weight, activation))))
    compiled = compile_plan(subject, plan)
    return subject.predict(plan)[:images], compiled.predict(compiled.quantize(subject.data()[0][:images]))


@pytest.mark.parametrize("unit", [1e-6, 0.01, 1.0, 1e4])
def test_a_dead_channel_keeps_its_bias_in_every_unit(unit):
    simulated, integer = labels_in_both_ways(with_dead_channels("fashion-cnn", "conv1", "conv2", unit))
    assert (simulated != integer).sum() <= 2


def test_dead_and_nearly_dead_channels_keep_their_bias_wherever_they_are():
    symmetric = QuantizerSpec(IntFormat(8))
    for subject, weight, activation in (
        *(
            (with_dead_channels("fashion-cnn", "conv1", "conv2", 0.01, w), WEIGHTS[8], UINT8)
            for w in (1e-12, 1e-7, 1e-4)
        ),
        (with_dead_channels("fashion-cnn", "conv1", "conv2", 0.01), WEIGHTS[8], symmetric),
        (with_dead_channels("fashion-cnn", "conv1", "conv2", 0.01, 1e-7), QuantizerSpec(IntFormat(8)), UINT8),
        (with_dead_channels("fashion-cnn", "conv3", "fc1", 1.0), WEIGHTS[4], UINT8),
        (with_dead_channels("fashion-depthwise", "dw1", "pw1", 0.01), WEIGHTS[8], UINT8),
        (with_dead_channels("fashion-depthwise", "pw4", "fc", 0.01), WEIGHTS[8], UINT8),  # an average in between
    ):
        simulated, integer = labels_in_both_ways(subject, weight, activation)
        assert (simulated != integer).sum() <= 4  # as without dead channels: ties


@pytest.mark.parametrize("bias", [-1e4, 0.0, 1.0, 1e4])
def test_a_dead_class_keeps_its_logit_and_leaves_the_others_as_fine(bias):
    subject = network("fashion-cnn")
    weight, biases = subject.weight("fc2").copy(), subject.bias("fc2").copy()
    weight[3], biases[3] = 0, bias
    changed = subject.with_parameters({"fc2": (weight, biases)})
    plan = changed.freeze(frozen("fashion-cnn"))
    compiled = compile_plan(changed, plan)
    images = changed.data()[0][:100]
    logits = compiled.run(compiled.quantize(images)) * compiled.logit_scale
    expected = changed.logits(plan)[:100]
    assert logits[:, 3] == pytest.approx(expected[:, 3], rel=1e-6, abs=0.51 * compiled.logit_scale)
    usual = np.abs(program("fashion-cnn").run(codes("fashion-cnn")) * program("fashion-cnn").logit_scale)
    others = np.delete(np.arange(10), 3)
    assert np.abs(logits - expected)[:, others].max() <= 0.05 * usual.max()
    assert compiled.logit_scale <= 2 * program("fashion-cnn").logit_scale


def test_a_bias_far_beyond_its_channels_weights_is_held_by_a_coarser_step():
    subject = network("fashion-cnn")
    _, steps = program("fashion-cnn").scales["fc2"]
    bias = subject.bias("fc2").copy()
    bias[4] = 2.0**30.9 * steps[4]
    layer = dataclasses.replace(frozen("fashion-cnn")["fc2"], bias=bias)
    plan = QuantizationPlan({**frozen("fashion-cnn").layers, "fc2": layer})
    compiled = compile_plan(subject, plan)
    logits = compiled.run(codes("fashion-cnn"))[:, 4] * compiled.logit_scale
    assert logits == pytest.approx(subject.logits(plan)[: len(logits), 4], rel=1e-6)


def test_a_bias_beyond_int32_names_the_input_and_a_wider_range_or_a_smaller_bias_helps():
    subject, usual = network("fashion-cnn"), frozen("fashion-cnn")
    narrow = dataclasses.replace(UINT8, clipping=FixedRange(0.0, 1e-6))
    given = {**usual.layers, "conv2": dataclasses.replace(usual["conv2"], activation=narrow)}
    with pytest.raises(
        QuantError, match=r"layer 'conv2', channel \d+: the bias .* input scale .* a wider range"
    ) as found:
        compile_plan(subject, QuantizationPlan(given))
    assert "weights are" not in str(found.value)
    compile_plan(subject, QuantizationPlan({**given, "conv2": usual["conv2"]}))
    smaller = dataclasses.replace(given["conv2"], bias=subject.bias("conv2") * np.float32(1e-6))
    compile_plan(subject, QuantizationPlan({**given, "conv2": smaller}))


def test_a_bias_that_is_not_finite_says_so():
    for wrong in (np.nan, np.inf):
        bias = network("fashion-cnn").bias("fc2").copy()
        bias[2] = wrong
        with pytest.raises(QuantError, match=f"bias.* {wrong}"):
            compile_plan(with_bias("fc2", bias), frozen("fashion-cnn"))


def with_bias(layer, bias):
    return network("fashion-cnn").with_parameters({layer: (network("fashion-cnn").weight(layer), bias)})


# --- what cannot be done ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (LayerPlan(None, UINT8), "leaves its weight in floating point"),
        (LayerPlan(WEIGHTS[8]), "leaves its activation in floating point"),
        (LayerPlan(QuantizerSpec(E4M3), UINT8), "weight: .*is no integer format"),
        (LayerPlan(QuantizerSpec(NF4), UINT8), "weight: .*is no integer format"),
        (LayerPlan(QuantizerSpec(KMeans(16)), UINT8), "weight: .*is no integer format"),
        (LayerPlan(WEIGHTS[8], QuantizerSpec(E4M3)), "activation: .*is no integer format"),
        (LayerPlan(WEIGHTS[8], UINT8, dynamic=True), "dynamic=False"),
        (
            LayerPlan(WEIGHTS[8], QuantizerSpec(IntFormat(8, signed=False), PerToken(), symmetric=False), dynamic=True),
            "dynamic",
        ),
        (LayerPlan(WEIGHTS[8], dataclasses.replace(UINT8, granularity=PerChannel(1))), "scales, but a sum over inputs"),
        (
            LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(9, remainder="short")), UINT8),
            "scales inside one output channel",
        ),
        (LayerPlan(QuantizerSpec(IntFormat(8), symmetric=False), UINT8), "use symmetric=True"),
        (LayerPlan(QuantizerSpec(IntFormat(8, signed=False)), UINT8), "unsigned codes"),
        (LayerPlan(QuantizerSpec(IntFormat(10)), UINT8), "10 bits"),
        (LayerPlan(WEIGHTS[8], QuantizerSpec(IntFormat(12, signed=False), symmetric=False)), "12 bits"),
        (LayerPlan(WEIGHTS[8], dataclasses.replace(UINT8, rounding="floor")), "rounds to nearest"),
    ],
)
def test_what_integers_cannot_do_is_refused_with_the_layer_and_the_reason(layer, message):
    subject = network("fashion-cnn")
    with pytest.raises(QuantError, match=f"layer 'conv3'.*{message}"):
        compile_plan(subject, QuantizationPlan({**frozen("fashion-cnn").layers, "conv3": layer}))


def test_other_roundings_layers_channels_and_places_are_refused():
    compiled = program("fashion-cnn")
    with pytest.raises(QuantError, match="rounding='up'"):
        compile_plan(network("fashion-cnn"), frozen("fashion-cnn"), "up")
    for layer, channel, place in (
        ("conv9", 0, (0, 0)),
        ("conv1", 16, (0, 0)),
        ("conv1", 0, (28, 0)),
        ("fc1", 0, (0, 0)),
    ):
        with pytest.raises(QuantError, match=r"no layer|from 0 to 15|does not exist"):
            trace_output(compiled, codes("fashion-cnn")[0], layer, channel, place)


# --- one number followed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ["gemmlowp", "single"])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_followed_by_hand_is_what_the_kernels_compute(name, rounding):
    rng, image = np.random.default_rng(5), codes(name)[3]
    compiled = program(name, 8, rounding)
    parts = list(compiled.trace(image[None]))
    for number, (step, _, sums) in enumerate(parts):
        if not isinstance(step, MultiplyAccumulate):
            continue
        later = next(
            (p for p in parts[number + 1 :] if isinstance(p[0], Requantize | Rescale | MultiplyAccumulate)), None
        )
        for corner in (True, False):
            place = tuple(0 if corner else int(rng.integers(size)) for size in sums.shape[2:])
            channel = int(rng.integers(sums.shape[1]))
            pixel = trace_output(compiled, image, step.name, channel, place)
            assert pixel.raw + pixel.correction + pixel.bias == pixel.total == pixel.held == sums[(0, channel, *place)]
            assert pixel.simulated == pytest.approx(pixel.total * pixel.sum_scale, rel=1e-9, abs=1e-9)
            if later is not None:
                at = (0, channel, *place) if pixel.gathered is None else (0, channel)
                assert pixel.requantized.code == later[2][at]


def test_a_narrower_accumulator_wraps_what_is_followed():
    pixel = trace_output(program("fashion-cnn"), codes("fashion-cnn")[0], "conv3", 2, (2, 5))
    assert pixel.total > 2**15
    narrow = pixel.narrowed(16)
    assert narrow.held == narrow.requantized.total == pixel.total - 2**16
    assert narrow.requantized.code == 0 < pixel.requantized.code
    assert pixel.narrowed(24).requantized == pixel.requantized


def test_operations_are_those_counted_by_hand():
    found = count_operations(network("fashion-cnn"), program("fashion-cnn"), 4)
    products = 16 * 9 * 28 * 28 + 32 * 144 * 14 * 14 + 64 * 288 * 7 * 7 + 96 * 576 + 10 * 96
    assert found.multiplications == found.additions == products
    assert found.requantizations == 16 * 784 + 32 * 196 + 64 * 49 + 96 + 10
    assert found.comparisons == 3 * (16 * 196 + 32 * 49 + 64 * 9)
    assert found.compute.picojoules == pytest.approx(
        products * 0.3 + found.requantizations * 3.4 + found.comparisons * 0.1
    )
    assert found.weight_bits == 4 * sum(info.parameters for info in network("fashion-cnn").layers().values())


def test_operations_of_the_depthwise_network_are_those_counted_by_hand_with_its_average():
    subject = network("fashion-depthwise")
    found = count_operations(subject, program("fashion-depthwise"))
    products = 24 * 9 * 784 + 24 * (9 + 48) * 196 + 48 * (9 + 96) * 196 + 96 * (9 + 128) * 49 + 128 * (9 + 160) * 49
    products += 160 * 10
    assert found.multiplications == products == 3_131_328
    assert found.additions == products + 160 * 49
    assert found.requantizations == 24 * 784 + (24 + 48 + 48 + 96) * 196 + (96 + 128 + 128) * 49 + 160 + 10
    assert found.comparisons == 3 * (24 * 196 + 96 * 49)
    integers = found.multiplications * 0.2 + (found.additions + found.comparisons) * 0.1 + found.requantizations * 3.4
    assert found.compute.picojoules == pytest.approx(integers)
    in_float32 = products * (3.7 + 0.9)  # Horowitz 2014: a multiplication and an addition
    assert footprint(subject).compute.picojoules / found.compute.picojoules == pytest.approx(in_float32 / integers)
    assert 11 < in_float32 / integers < 13
