"""Static and dynamic activations in plans, against torch modules whose inputs hooks quantize by the reference."""

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine import models, studies
from quant_engine import network as networks
from quant_engine.execution.layer_change import layer_change
from quant_engine.studies import activation_costs
from tests import reference
from tests.engine.trained import folded, run, trained_module

UNSIGNED = qe.IntFormat(3, signed=False)
STATIC = qe.QuantizerSpec(UNSIGNED, symmetric=False)
CHANNELS = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(1), symmetric=True)
TOKENS = qe.QuantizerSpec(UNSIGNED, qe.PerToken(), symmetric=False)
WEIGHT = qe.QuantizerSpec(qe.IntFormat(5), qe.PerChannel(0))
IMAGES = 512  # of the calibration set, on which predictions are compared
TIES = 5  # of them where another order of sums may decide otherwise


@pytest.fixture(scope="module", params=models.ARCHITECTURES)
def network(request):
    return networks.load(request.param)


def axes_of(spec, rank):
    """Return the axes over which one scale reaches, for one image at a time."""
    return {
        "PerTensor": tuple(range(1, rank)),
        "PerChannel": tuple(range(2, rank)),
        "PerToken": (rank - 1,),
    }[type(spec.granularity).__name__]


def by_reference(x, lo, hi, spec):
    """Quantize with one range for each block, given as arrays that broadcast."""
    scale, zero_point = reference.affine_parameters(lo, hi, spec.format.qmin, spec.format.qmax, spec.symmetric)
    return reference.decode(
        reference.encode(x, scale, zero_point, spec.format.qmin, spec.format.qmax), scale, zero_point
    )


def extremes(x, axes):
    return x.min(axes, keepdims=True), x.max(axes, keepdims=True)


def independent_labels(network, plan):
    """Return the labels of torch modules, with weights replaced and inputs quantized on their way in."""
    layers, whole = folded(trained_module(network.name))
    images = network.data("calibration")[0]
    received = {}
    for name, layer in layers.items():
        layer.weight.data = torch.from_numpy(network.weight(name).copy())
        layer.register_forward_pre_hook(lambda _, given, name=name: received.setdefault(name, []).append(given[0]))
    run(whole, images)
    for name, layer in plan.layers.items():
        seen = torch.cat(received[name]).numpy()
        if layer.weight is not None:
            matrix = network.weight(name).reshape(len(network.weight(name)), -1)
            values = qe.fake_quantize(matrix, layer.weight).reshape(network.weight(name).shape)
            layers[name].weight.data = torch.from_numpy(values)

        def hook(_, given, layer=layer, seen=seen):
            spec, x = layer.activation, given[0].numpy()
            axes = axes_of(spec, x.ndim)
            lo, hi = extremes(x, axes) if layer.dynamic else extremes(seen, (0, *axes))
            return torch.from_numpy(by_reference(x, lo, hi, spec))

        if layer.activation is not None:
            layers[name].register_forward_pre_hook(hook)
    return run(whole, images).argmax(axis=1)


def planned(network, weight, activation, dynamic=False):
    return qe.QuantizationPlan({name: qe.LayerPlan(weight, activation, dynamic) for name in network.layers()})


@pytest.mark.choice(3)
@pytest.mark.parametrize(
    ("weight", "activation", "dynamic"),
    [
        (None, STATIC, False),
        (WEIGHT, STATIC, False),
        (WEIGHT, CHANNELS, False),
        (None, STATIC, True),
        (WEIGHT, CHANNELS, True),
        (WEIGHT, TOKENS, True),
    ],
    ids=["static", "static, weights too", "a channel", "an image", "a channel of an image", "a token"],
)
def test_quantized_inputs_give_the_labels_of_an_independent_module(network, weight, activation, dynamic):
    plan = planned(network, weight, activation, dynamic)
    found, expected = network.predict(plan, "calibration"), independent_labels(network, plan)
    assert np.count_nonzero(found != expected) <= TIES
    assert np.count_nonzero(found != network.predict(split="calibration")) > TIES


def test_static_ranges_are_what_all_calibration_images_reach_in_floating_point(network):
    frozen = network.freeze(planned(network, WEIGHT, STATIC))
    assert frozen.frozen
    for name, x in network.activations().items():
        quantizer = frozen[name].activation
        scale, zero_point = reference.affine_parameters(x.min(), x.max(), 0, 7, False)
        assert quantizer.scale.shape == (1,) * x.ndim
        np.testing.assert_allclose(quantizer.scale.item(), scale, rtol=1e-5)
        assert quantizer.zero_point.item() == zero_point


def test_one_layers_static_range_does_not_depend_on_the_other_layers_plans(network):
    last = list(network.layers())[-1]
    alone = network.freeze(qe.QuantizationPlan({last: qe.LayerPlan(activation=STATIC)}))[last].activation
    together = network.freeze(planned(network, WEIGHT, STATIC))[last].activation
    assert alone.scale == together.scale


def test_methods_that_share_a_histogram_get_their_own_ranges(network):
    first = list(network.layers())[1]
    found = []
    for clipping in (qe.MinMSE(), qe.Percentile(99), qe.MinMSE()):
        spec = qe.QuantizerSpec(UNSIGNED, symmetric=False, clipping=clipping)
        found.append(network.freeze(qe.QuantizationPlan({first: qe.LayerPlan(activation=spec)}))[first].activation)
    assert found[0].scale == found[2].scale != found[1].scale
    x = network.activations([first])[first]
    expected = np.percentile(x, 99) / 7
    assert found[1].scale.item() == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("spec", [STATIC, CHANNELS, TOKENS], ids=["an image", "a channel", "a token"])
def test_a_dynamic_range_is_found_on_each_image_alone(network, spec):
    for x in network.activations(stop=5).values():
        quantize = layer_change(qe.LayerPlan(activation=spec, dynamic=True), None).quantize
        whole = quantize(x)
        for image in range(5):
            np.testing.assert_array_equal(quantize(x[image : image + 1])[0], whole[image])


def test_the_evaluations_batch_changes_no_label(network):
    plan, images = planned(network, None, STATIC, dynamic=True), network.data("calibration")[0]
    expected = network.predict(plan, "calibration")
    found = np.concatenate([network.run(part, plan) for part in np.split(images, range(61, 512, 61))]).argmax(axis=1)
    assert np.count_nonzero(found != expected) <= TIES


def test_resuming_from_the_changed_layer_gives_the_labels_of_a_fresh_network(network):
    names = list(network.layers())
    narrow = network.freeze(qe.QuantizationPlan({names[1]: qe.LayerPlan(activation=STATIC)}), 1)[names[1]]
    plans = [
        {names[1]: qe.LayerPlan(activation=STATIC), names[-1]: qe.LayerPlan(WEIGHT)},
        {names[1]: narrow, names[-1]: qe.LayerPlan(WEIGHT)},
        {names[1]: qe.LayerPlan(activation=STATIC, dynamic=True), names[-1]: qe.LayerPlan(WEIGHT)},
        {names[1]: qe.LayerPlan(WEIGHT, STATIC), names[-1]: qe.LayerPlan(WEIGHT)},
        {names[1]: qe.LayerPlan(WEIGHT), names[-1]: qe.LayerPlan(WEIGHT)},
        {names[0]: qe.LayerPlan(activation=CHANNELS), names[-1]: qe.LayerPlan(WEIGHT)},
        {names[-1]: qe.LayerPlan(WEIGHT)},
    ]
    for layers in plans:
        plan = qe.QuantizationPlan(layers)
        fresh = networks.load(network.name).predict(plan, "calibration")
        np.testing.assert_array_equal(network.predict(plan, "calibration"), fresh)


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_frozen_plan_gives_the_same_labels_before_and_after_it_is_saved(network, tmp_path, dynamic):
    plan = planned(network, WEIGHT, CHANNELS, dynamic)
    frozen = network.freeze(plan)
    frozen.save(tmp_path / "plan.json")
    back = qe.QuantizationPlan.load(tmp_path / "plan.json")
    for name in network.layers():
        assert isinstance(back[name].activation, qe.QuantizerSpec if dynamic else qe.Quantizer)
    for other in (frozen, back):
        np.testing.assert_array_equal(network.predict(other, "calibration"), network.predict(plan, "calibration"))


def test_the_moving_average_sees_batches_of_32_in_their_order(network):
    last = list(network.layers())[-1]
    spec = qe.QuantizerSpec(qe.IntFormat(8, signed=False), clipping=qe.MovingAverage(0.5))
    found = network.freeze(qe.QuantizationPlan({last: qe.LayerPlan(activation=spec)}))[last].activation
    high = None
    for part in np.split(network.activations([last])[last], 512 // 32):
        high = part.max() if high is None else high + 0.5 * (part.max() - high)
    assert found.scale.item() == pytest.approx(high / 255, rel=1e-4)


# --- calibration ------------------------------------------------------------------------------------------------------


def test_calibrating_on_one_image_takes_that_images_range(network):
    frozen = network.freeze(planned(network, None, STATIC), 1)
    for name, x in network.activations(stop=1).items():
        scale, _ = reference.affine_parameters(x.min(), x.max(), 0, 7, False)
        np.testing.assert_allclose(frozen[name].activation.scale.item(), scale, rtol=1e-5)
    assert network.evaluate(frozen).total == 2000


@pytest.mark.parametrize("images", [0, 513, -1, 2.5, True])
def test_as_many_images_as_there_are_can_calibrate(network, images):
    with pytest.raises(qe.QuantError, match=r"calibration samples=.* must be an integer from 1 to 512"):
        network.freeze(planned(network, None, STATIC), images)


def test_other_images_can_calibrate(network):
    images = network.data("calibration")[0]
    plan = planned(network, None, STATIC)
    by_number, by_array = network.freeze(plan, 40), network.freeze(plan, images[:40])
    brighter = network.freeze(plan, images[:40] + 1)
    for name in network.layers():
        assert by_array[name].activation.scale == by_number[name].activation.scale
        assert by_array[name].activation.zero_point == by_number[name].activation.zero_point
        assert brighter[name].activation.scale != by_number[name].activation.scale


def test_images_of_another_shape_or_broken_ones_do_not_calibrate(network):
    images = network.data("calibration")[0][:2].copy()
    for wrong in (images[0], images[:, :, :27], images[:0]):
        with pytest.raises(qe.QuantError, match=r"images have shape .*; give \(n, 1, 28, 28\) with n of 1 and more"):
            network.freeze(planned(network, None, STATIC), wrong)
    images[1, 0, 3, 4] = np.nan
    with pytest.raises(qe.QuantError, match="1 pixels of the images are not finite"):
        network.freeze(planned(network, None, STATIC), images)


def test_the_study_is_freezing_and_evaluating_at_each_size(network):
    plan = planned(network, WEIGHT, STATIC)
    points = list(studies.calibration_study(network, plan, [1, 40, 512], "calibration"))
    assert [point.samples for point in points] == [1, 40, 512]
    for images, ranges, accuracy in points:
        frozen = network.freeze(plan, images)
        assert accuracy == network.evaluate(frozen, "calibration")
        for name, (lo, hi) in ranges.items():
            levels = frozen[name].activation.levels()
            assert (lo, hi) == pytest.approx((levels.min(), levels.max()))
    for name in network.layers():
        highest = [point.ranges[name][1] for point in points]
        assert highest == sorted(highest), "min–max ranges only ever grow"


def test_the_study_can_be_stopped(network):
    sizes = iter([1, 2, 3])
    study = studies.calibration_study(network, planned(network, None, STATIC), sizes, "calibration")
    assert next(study).samples == 1
    study.close()
    assert list(sizes) == [2, 3]


def test_a_study_needs_something_to_calibrate(network):
    for plan in (planned(network, WEIGHT, None), planned(network, None, STATIC, dynamic=True)):
        with pytest.raises(qe.QuantError, match=r"no layer of .* has a static activation.*dynamic=False"):
            studies.calibration_study(network, plan, [1])


def test_what_dynamic_costs_is_measured_for_every_planned_layer(network):
    for spec in (STATIC, TOKENS):
        costs = activation_costs(network, planned(network, None, spec, dynamic=True))
        assert list(costs) == list(network.layers())
        for name, cost in costs.items():
            assert cost.values == np.prod(network.layers()[name].input_shape)
            assert cost.extra_bytes == 4 * cost.values
            assert cost.static_seconds > 0
            assert cost.ratio == pytest.approx(cost.dynamic_seconds / cost.static_seconds)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_scales_of_rows_not_seen_yet_are_refused_with_the_layer_and_the_remedy(network):
    last = list(network.layers())[-1]
    plan = qe.QuantizationPlan({last: qe.LayerPlan(activation=TOKENS)})
    with pytest.raises(qe.QuantError, match=rf"layer '{last}'.*PerToken\(\).*dynamic=True"):
        network.freeze(plan)


@pytest.mark.parametrize("dynamic", [False, True])
def test_blocks_that_do_not_fit_an_input_are_refused_with_the_layer(network, dynamic):
    first = next(iter(network.layers()))
    spec = qe.QuantizerSpec(UNSIGNED, qe.PerChannelGroup(2, axis=1))
    with pytest.raises(qe.QuantError, match=rf"layer '{first}'.*does not divide axis 1 of shape \(1, 1, 28, 28\)"):
        network.freeze(qe.QuantizationPlan({first: qe.LayerPlan(activation=spec, dynamic=dynamic)}))


def test_a_quantizer_of_another_grid_is_refused(network):
    last = list(network.layers())[-1]
    fitted = qe.fit(np.ones((4, 3), np.float32), CHANNELS)
    with pytest.raises(qe.QuantError, match=r"fitted to \(1, 3\) blocks.*fit it anew"):
        network.predict(qe.QuantizationPlan({last: qe.LayerPlan(activation=fitted)}))


def test_what_does_not_fit_a_layer_is_refused_by_its_name_before_anything_runs(network):
    name, info = list(network.layers().items())[-1]
    wrong = np.ones((info.matrix_shape[0] + 1, info.matrix_shape[1]), np.float32)
    for layer, reason in (
        (qe.LayerPlan(qe.fit(wrong, WEIGHT)), f"the weight of layer '{name}': the quantizer was fitted to"),
        (qe.LayerPlan(qe.quantize(wrong, WEIGHT)), f"layer '{name}' has a weight of"),
        (
            qe.LayerPlan(activation=qe.fit(wrong, WEIGHT)),
            f"the activation of layer '{name}': the quantizer was fitted",
        ),
        (qe.LayerPlan(bias=np.ones(3, np.float32)), f"layer '{name}' has .* outputs, its plan a bias of 3"),
    ):
        with pytest.raises(qe.QuantError, match=reason):
            network.freeze(qe.QuantizationPlan({name: layer}))
    with pytest.raises(qe.QuantError, match=r"has no layer 'conv\*'; its layers are (conv1|stem), "):
        network.evaluate(qe.QuantizationPlan({"conv*": qe.LayerPlan()}))


def with_first_layer(network, weight, bias):
    """Return a network whose first layer has other parameters, the same value everywhere."""
    changed = networks.load(network.name)
    name = next(iter(changed.layers()))
    parts = zip((changed.weight(name), changed.bias(name)), (weight, bias), strict=True)
    return changed.with_parameters({name: tuple(np.full_like(array, value) for array, value in parts)})


@pytest.mark.parametrize("clipping", [qe.MinMax(), qe.MinMSE(), qe.Percentile(99), qe.MinKL(), qe.ACIQ()], ids=str)
@pytest.mark.parametrize("network", ["fashion-cnn"], indirect=True)
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_dead_layers_zeros_stay_zeros(network, clipping, dynamic):
    dead = with_first_layer(network, 0, -1)
    second = list(network.layers())[1]
    assert not dead.activations([second])[second].any()
    spec = qe.QuantizerSpec(UNSIGNED, symmetric=False, clipping=clipping)
    plan = qe.QuantizationPlan({second: qe.LayerPlan(activation=spec, dynamic=dynamic)})
    if not dynamic:
        fitted = dead.freeze(plan)[second].activation
        assert (fitted.scale.item(), fitted.zero_point.item()) == (1.0, 0)
    np.testing.assert_array_equal(dead.predict(plan), dead.predict())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_model_is_refused_with_the_first_layer_that_sees_it(network, bad):
    broken = with_first_layer(network, 0, bad)
    second, last = list(network.layers())[1], list(network.layers())[-1]
    for plan in (
        None,
        qe.QuantizationPlan({last: qe.LayerPlan(WEIGHT)}),
        qe.QuantizationPlan({second: qe.LayerPlan(activation=STATIC)}),
        qe.QuantizationPlan({second: qe.LayerPlan(activation=STATIC, dynamic=True)}),
    ):
        with pytest.raises(qe.QuantError, match=rf"layer '{second}' receives \d+ NaN and \d+ infinite.*broken"):
            broken.evaluate(plan)


def test_a_model_that_breaks_in_its_last_layer_is_refused():
    whole = networks.load("fashion-cnn")
    network = whole.with_parameters({"fc2": (whole.weight("fc2"), whole.bias("fc2") * np.float32(np.nan))})
    with pytest.raises(qe.QuantError, match="the network gives 2000 NaN and 0 infinite values, the first in sample 0"):
        network.evaluate()
