"""Energy and size: the published numbers, what lies between them, and whole networks counted another way."""

import math

import numpy as np
import pytest

import quant_engine as qe
from quant_engine.energy import Energy, accumulate_energy, move_energy, multiplied_in, multiply_energy
from quant_engine.network import load
from quant_engine.studies import footprint

NETWORKS = ("fashion-cnn", "fashion-depthwise")

# Horowitz, ISSCC 2014, figure 1.1.9
PUBLISHED = {qe.IntFormat(8): 0.2, qe.FP16: 1.1, qe.FP32: 3.7}
MOVED = {"8 KB cache": (10, 10), "32 KB cache": (20, 20), "1 MB cache": (100, 100), "DRAM": (1300, 2600)}


def everywhere(network, weight, activation=None):
    return qe.QuantizationPlan({name: qe.LayerPlan(weight, activation) for name in network.layers()})


@pytest.mark.parametrize("form", PUBLISHED)
def test_published_multiplications_are_measured(form):
    assert multiply_energy(form) == Energy(PUBLISHED[form], PUBLISHED[form], "measured")


@pytest.mark.parametrize("memory", MOVED)
def test_a_64_bit_read_costs_what_is_published(memory):
    assert move_energy(64, memory) == Energy(*MOVED[memory], "measured")
    assert move_energy(4, memory).high == pytest.approx(MOVED[memory][1] / 16)


def test_integers_between_the_measured_widths_lie_on_the_power_law_through_both():
    exponent = math.log2(3.1 / 0.2) / 2  # 32 bits are 2² times 8
    for bits in range(2, 17):
        found = multiply_energy(qe.IntFormat(bits))
        assert found.picojoules == pytest.approx(0.2 * (bits / 8) ** exponent)
        assert found.basis == ("measured" if bits == 8 else "interpolated" if bits > 8 else "extrapolated")
    assert exponent == pytest.approx(2, abs=0.03)


def test_floats_cost_by_their_significand():
    tf32, bf16, e4m3 = (multiply_energy(form) for form in (qe.TF32, qe.BF16, qe.E4M3))
    assert (tf32.picojoules, tf32.basis) == (pytest.approx(1.1), "interpolated")  # as wide as FP16's, not measured
    assert bf16.picojoules < 1.1
    assert bf16.basis == e4m3.basis == "extrapolated"
    between = math.log(multiply_energy(qe.FloatFormat(8, 15)).picojoules / 1.1) / math.log(3.7 / 1.1)
    assert between == pytest.approx(math.log(16 / 11) / math.log(24 / 11))


def test_fixed_point_is_an_integer_and_a_codebook_is_looked_up_as_float32():
    assert multiply_energy(qe.FixedPointFormat(3, 4)) == multiply_energy(qe.IntFormat(8))
    assert multiply_energy(qe.NF4) == multiply_energy(qe.FP32)
    assert accumulate_energy(qe.FixedPointFormat(3, 4)).picojoules == 0.1
    assert accumulate_energy(qe.NF4).picojoules == 0.9


def test_two_formats_multiply_in_the_wider_one():
    assert multiplied_in(qe.IntFormat(4), qe.IntFormat(8)) == qe.IntFormat(8)
    assert multiplied_in(qe.IntFormat(8), qe.BF16) == qe.BF16
    assert multiplied_in(qe.E4M3, qe.FP32) == qe.FP32


def test_a_sum_is_as_firm_as_its_least_firm_part():
    measured, guessed = multiply_energy(qe.FP16), multiply_energy(qe.E2M1)
    both = measured + guessed * 10
    assert both.basis == "extrapolated"
    assert both.picojoules == pytest.approx(1.1 + 10 * guessed.picojoules)


def test_an_unknown_memory_is_refused():
    with pytest.raises(qe.QuantError, match="tape"):
        move_energy(8, "tape")


@pytest.mark.parametrize("name", NETWORKS)
def test_multiplications_are_those_that_torch_counts(name):
    import torch
    from torch.nn import functional
    from torch.utils.flop_counter import FlopCounterMode

    network = load(name)
    for layer, info in network.layers().items():
        weight, x = torch.from_numpy(np.array(network.weight(layer))), torch.zeros(1, *info.input_shape)
        with FlopCounterMode(display=False) as counter:
            if weight.ndim == 4:
                groups = info.input_shape[0] // info.shape[1]
                out = functional.conv2d(x, weight, padding=info.shape[2] // 2, groups=groups)
            else:
                out = functional.linear(x, weight)
        assert counter.get_total_flops() == 2 * info.multiplications  # a multiplication and an addition
        assert tuple(out.shape[1:]) == info.output_shape


def test_the_convolutional_network_is_counted_by_hand():
    found = footprint(load("fashion-cnn")).layers
    by_hand = {
        "conv1": 28 * 28 * 16 * 9,
        "conv2": 14 * 14 * 32 * 16 * 9,
        "conv3": 7 * 7 * 64 * 32 * 9,
        "fc1": 576 * 96,
        "fc2": 96 * 10,
    }
    assert {name: layer.multiplications for name, layer in found.items()} == by_hand


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_float32_takes_four_bytes_a_weight(name):
    network = load(name)
    weights = sum(network.weight(layer).size for layer in network.layers())
    plain = footprint(network)
    assert plain.size_bytes == 4 * weights
    assert plain.move.low == pytest.approx(1300 * weights / 2)
    assert plain.compute.picojoules == pytest.approx((3.7 + 0.9) * plain.multiplications)


@pytest.mark.parametrize("name", NETWORKS)
def test_eight_bit_integers_multiply_for_an_eighteenth_and_move_a_quarter(name):
    network, spec = load(name), qe.QuantizerSpec(qe.IntFormat(8))
    plain, small = footprint(network), footprint(network, everywhere(network, spec, spec))
    weights, layers = plain.size_bytes // 4, len(network.layers())
    assert small.size_bytes == weights + 4 * layers  # a scale a layer
    assert small.compute.picojoules == pytest.approx((0.2 + 0.1) * plain.multiplications)
    assert small.compute.basis == "measured"
    assert small.move.high == pytest.approx(2600 * small.size_bytes / 8)


def test_weights_alone_in_few_bits_save_moving_and_no_multiplying():
    network, spec = load("fashion-cnn"), qe.QuantizerSpec(qe.IntFormat(4))
    plain, small = footprint(network), footprint(network, everywhere(network, spec))
    assert small.compute == plain.compute
    assert small.move.picojoules < plain.move.picojoules / 7.9


def test_only_planned_layers_change_and_fitted_plans_count_like_their_specs():
    network, spec = load("fashion-cnn"), qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0))
    plan = qe.QuantizationPlan({"conv3": qe.LayerPlan(spec)})
    plain, small = footprint(network), footprint(network, plan)
    assert {name for name in plain.layers if plain.layers[name] != small.layers[name]} == {"conv3"}
    assert small.layers["conv3"].size_bytes == 64 * 32 * 9 // 2 + 64 * 4
    assert footprint(network, network.freeze(plan)) == small


def test_a_plan_for_another_network_is_refused():
    spec = qe.QuantizerSpec(qe.IntFormat(8))
    with pytest.raises(qe.QuantError, match="conv9"):
        footprint(load("fashion-cnn"), qe.QuantizationPlan({"conv9": qe.LayerPlan(spec)}))
