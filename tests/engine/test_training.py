"""Training while quantized: gradients against their definitions, what is planned against what is trained, threads."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

import quant_engine as qe
from quant_engine.batches import BATCH
from quant_engine.compensation.learned_step import (
    fake_quantize,
    gradient_factor,
    initial_step,
    scale_gradient,
    slopes,
)
from quant_engine.compensation.training import Schedule, augment, distil
from quant_engine.methods import Setting, compensate
from quant_engine.methods.qat import qat
from quant_engine.methods.qat_model import QatModel
from quant_engine.network import Network, load
from quant_engine.quantizer import QuantizedTensor
from quant_engine.studies import effect
from quant_engine.tasks import Classification
from tests import reference

WEIGHT = qe.QuantizerSpec(qe.IntFormat(2), qe.PerChannel(0), clipping=qe.MinMSE())
INPUT = qe.QuantizerSpec(qe.IntFormat(4, signed=False), symmetric=False, clipping=qe.MinMSE())
SHORT = Schedule(epochs=1, batch=20)


@pytest.fixture(scope="module")
def network():
    """Return the network with a tenth of its training images, so that an epoch is short."""
    found = load("fashion-cnn")
    images, labels = found.data("training")
    splits = {split: found.data(split) for split in ("calibration", "test")}
    return Network(found.model, Classification({**splits, "training": (images[:200], labels[:200])}))


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(array, np.float32)) for array in arrays]


@pytest.mark.parametrize("rule", ["LSQ", "PACT"])
@pytest.mark.parametrize(("lowest", "highest"), [(-2, 1), (0, 15), (-3, 12), (-1, 1)])
def test_gradients_are_those_of_the_papers(rule, lowest, highest):
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(0, 4, (6, 50)), 3).astype(np.float32)
    upstream, step = rng.normal(size=x.shape).astype(np.float32), np.float32(0.37)
    values, learned, weight, ends = *tensors(x, step, upstream), tensors(lowest, highest)
    values.requires_grad_()
    learned.requires_grad_()
    (fake_quantize(values, learned, *ends, rule) * weight).sum().backward()
    by_value, by_step = reference.learned_step_gradients(x, step, lowest, highest, upstream, rule)
    np.testing.assert_array_equal(values.grad, by_value)
    np.testing.assert_allclose(learned.grad, by_step, rtol=1e-4)
    drawn = slopes(x, float(step), lowest, highest, rule)
    np.testing.assert_array_equal(drawn["x"] * upstream, by_value)
    np.testing.assert_allclose((drawn["step"] * upstream).sum(), by_step, rtol=1e-4)


def test_each_step_gets_the_gradient_of_its_own_values():
    rng = np.random.default_rng(1)
    x, steps, upstream = rng.normal(size=(3, 40)), np.array([[0.1], [0.5], [2.0]]), rng.normal(size=(3, 40))
    values, learned, weight, ends = *tensors(x, steps, upstream), tensors(-2, 1)
    learned.requires_grad_()
    (fake_quantize(values, learned, *ends) * weight).sum().backward()
    each = [
        reference.learned_step_gradients(row, step, -2, 1, up, "LSQ")[1]
        for row, (step,), up in zip(x, steps, upstream, strict=True)
    ]
    np.testing.assert_allclose(learned.grad[:, 0], each, rtol=1e-4)


def test_what_torch_learns_is_what_torch_itself_learns():
    """torch has a fake quantization with a learned scale of its own; its range ends half a step further out."""
    x = torch.from_numpy(np.random.default_rng(2).normal(0, 2, 1001).astype(np.float32))
    outside = (x / 0.25 < -8) | (x / 0.25 > 7)
    x = x[~outside | (x / 0.25 < -8.5) | (x / 0.25 > 7.5)]
    assert len(x) > 900
    ours, theirs = (torch.tensor([0.25], requires_grad=True) for _ in range(2))
    fake_quantize(x, ours, *tensors(-8.0, 7.0)).pow(2).sum().backward()
    zero = torch.zeros(1)
    torch._fake_quantize_learnable_per_tensor_affine(x, theirs, zero, -8, 7, 1.0).pow(2).sum().backward()
    np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-5)


def test_the_gradient_scale_changes_the_gradient_alone():
    x = torch.tensor([1.1, -2.3], requires_grad=True)
    scaled = scale_gradient(x, 0.125)
    assert torch.equal(scaled, x)
    (scaled * torch.tensor([1.0, 8.0])).sum().backward()
    assert x.grad.tolist() == [0.125, 1.0]


def test_the_first_step_and_the_factor_are_those_of_lsq():
    v = np.random.default_rng(3).normal(size=1000)
    assert initial_step(v, 7) == pytest.approx(2 * np.mean(np.abs(v)) / 7**0.5)
    assert gradient_factor(1000, 7) == pytest.approx((1000 * 7) ** -0.5)


def test_training_teaches_a_student_its_teachers_answers():
    x = torch.rand(120, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.zeros(16, 3, requires_grad=True)
    true = 4 * torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    trained = [weight], [torch.ones(1, requires_grad=True)]
    schedule = Schedule(epochs=40, batch=30, rate=0.3)
    student = lambda images: images.flatten(1) @ weight * trained[1][0]  # noqa: E731
    losses = list(
        distil(student, lambda i: i.flatten(1) @ true, trained, x, torch.Generator().manual_seed(2), schedule)
    )
    assert len(losses) == schedule.steps(len(x)) == 160
    answers = student(x).argmax(1)
    assert (answers == (x.flatten(1) @ true).argmax(1)).float().mean() > 0.9
    assert losses[-1] < losses[0]


def test_augmented_images_are_shifted_or_mirrored_ones():
    image = torch.arange(49.0).reshape(1, 1, 7, 7)
    padded = functional.pad(image, (2, 2, 2, 2), mode="replicate")[0, 0]
    wide = torch.stack([padded, functional.pad(image.flip(3), (2, 2, 2, 2), mode="replicate")[0, 0]])
    allowed = {
        tuple(part[i : i + 7, j : j + 7].flatten().tolist()) for part in wide for i in range(5) for j in range(5)
    }
    found = {
        tuple(x.flatten().tolist()) for x in augment(image.repeat(2000, 1, 1, 1), torch.Generator().manual_seed(0))
    }
    assert found == allowed


@pytest.mark.parametrize(
    ("name", "weight", "activation"),
    [
        ("fashion-cnn", WEIGHT, INPUT),
        ("fashion-depthwise", WEIGHT, INPUT),
        ("fashion-cnn", replace(WEIGHT, granularity=qe.PerTensor()), None),
        ("fashion-cnn", replace(WEIGHT, granularity=qe.PerGroup(24, remainder="short"), symmetric=False), INPUT),
        (
            "fashion-cnn",
            replace(WEIGHT, format=qe.IntFormat(8, narrow=True)),
            replace(INPUT, granularity=qe.PerChannel(1)),
        ),
    ],
    ids=["a channel", "depthwise", "weights alone, a tensor", "asymmetric groups", "a channel of inputs"],
)
def test_the_plan_gives_what_the_trained_network_gives(name, weight, activation):
    network = load(name)
    plan = qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(weight, activation)))
    student = QatModel(network, network.freeze(plan))
    images, labels = (torch.from_numpy(a[:40]) for a in network.data("calibration"))
    parameters, steps = student.trained
    optimizer = torch.optim.SGD([*parameters, *steps], 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        functional.cross_entropy(student.logits(images), labels).backward()
        assert all(tensor.grad.abs().sum() > 0 for tensor in parameters)
        optimizer.step()
        student.hold()
    found = student.plan()
    assert found.frozen
    assert all(isinstance(found[layer].weight, QuantizedTensor) for layer in network.layers())
    test = network.data("test")[0]
    ours, planned = student.answers([test]), network.logits(found)
    np.testing.assert_allclose(ours, planned, rtol=1e-4, atol=1e-4 * np.abs(planned).max())
    np.testing.assert_array_equal(ours.argmax(1), network.predict(found))


def test_a_step_never_reaches_zero(network):
    student = QatModel(network, network.freeze(qe.QuantizationPlan({"fc2": qe.LayerPlan(WEIGHT)})))
    (step,) = student.trained[1]
    first = step.detach().clone()
    step.data -= 10
    student.hold()
    assert torch.allclose(step, 0.05 * first)


def test_training_wins_back_accuracy_and_never_ends_below_its_start(network):
    stages = list(qat(network, Setting(WEIGHT, INPUT), schedule=Schedule(epochs=2, batch=20)))
    assert [stage.done for stage in stages] == list(range(stages[0].total + 1))
    assert all((stage.plan is not None) == (stage.done % 5 == 0) for stage in stages)
    start, end = (effect(network, stage.plan) for stage in (stages[0], stages[-1]))
    assert end.score.value > start.score.value + 0.2
    kept = [effect(network, stage.plan).divergence for stage in stages if stage.plan is not None]
    assert end.divergence == pytest.approx(min(kept), rel=1e-4)


@pytest.mark.parametrize("granularity", [qe.PerTensor(), qe.PerChannel(1)], ids=["a tensor", "a channel"])
def test_training_may_start_from_lsqs_own_steps(network, granularity):
    setting = Setting(WEIGHT, replace(INPUT, granularity=granularity, clipping=qe.MinMax()))
    plan = next(qat(network, setting, schedule=SHORT, start="LSQ")).plan
    for name, inputs in network.activations(stop=BATCH).items():
        weight, activation = plan[name].weight, plan[name].activation
        rows = np.abs(network.weight(name)).reshape(len(weight.scale), -1)
        np.testing.assert_allclose(weight.scale[:, 0], 2 * rows.mean(1), rtol=1e-5)  # Qp = 1
        values = np.abs(inputs.astype(np.float64))
        channels = values.transpose(1, 0, *range(2, values.ndim)).reshape(values.shape[1], -1)
        means = channels.mean(1) if granularity == qe.PerChannel(1) else values.mean()
        above = 15 - activation.zero_point.reshape(-1)
        found = activation.scale.reshape(-1)
        alive = means > 0
        np.testing.assert_allclose(found[alive], (2 * means / np.sqrt(above))[alive], rtol=1e-5)
        assert np.all(found > 0)


def test_where_training_only_does_harm_the_start_is_kept(network):
    setting = Setting(replace(WEIGHT, format=qe.IntFormat(8)))
    *_, last = qat(network, setting, schedule=replace(SHORT, rate=1.0))
    assert effect(network, last.plan).divergence < 1e-3


def codes(plan):
    return {
        name: (layer.weight.codes.tobytes(), layer.weight.scale.tobytes(), layer.bias.tobytes())
        for name, layer in plan.layers.items()
    }


def test_two_threads_that_train_at_once_do_not_disturb_each_other(network):
    settings = [Setting(WEIGHT, INPUT, seed) for seed in (0, 0, 1)]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    alone = [[*qat(network, setting, schedule=SHORT)][-1].plan for setting in settings]
    assert codes(alone[0]) == codes(alone[1]) != codes(alone[2])
    together = {}

    def train(position):
        together[position] = [*qat(network, settings[position], schedule=SHORT)][-1].plan

    running = [threading.Thread(target=train, args=(position,)) for position in (1, 2)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert codes(together[1]) == codes(alone[1])
    assert codes(together[2]) == codes(alone[2])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_training_that_waits_and_goes_on_in_another_thread_learns_the_same(network):
    setting = Setting(WEIGHT, INPUT)
    whole = [*qat(network, setting, schedule=SHORT)][-1].plan
    stages, found = qat(network, setting, schedule=SHORT), []
    for _ in range(4):
        next(stages)
    list(qat(network, Setting(WEIGHT, INPUT, 1), schedule=SHORT))  # another one meanwhile
    rest = threading.Thread(target=lambda: found.extend(stages))
    rest.start()
    rest.join()
    assert codes(found[-1].plan) == codes(whole)


def test_stopping_half_way_leaves_the_network_as_it_was(network):
    before = network.logits(None, "calibration")
    weights = {name: network.weight(name).copy() for name in network.layers()}
    stages = compensate(network, "qat", Setting(WEIGHT, INPUT))
    for _ in range(4):
        next(stages)
    stages.close()
    assert torch.is_grad_enabled()
    for name, weight in weights.items():
        np.testing.assert_array_equal(network.weight(name), weight)
    np.testing.assert_array_equal(network.run(network.data("calibration")[0]), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": qe.E4M3}, "learns the steps of integers; the weight has .*: give an IntFormat"),
        ({"rounding": "floor"}, "the weight has rounding='floor'"),
        ({"scale_format": qe.E4M3}, "the weight has scale_format="),
    ],
)
def test_what_cannot_be_trained_is_refused(network, change, message):
    with pytest.raises(qe.QuantError, match=message):
        next(compensate(network, "qat", Setting(replace(WEIGHT, **change), INPUT)))


def test_schedules_that_train_nothing_are_refused(network):
    with pytest.raises(qe.QuantError, match="epochs=0 must be an integer of 1 or more"):
        Schedule(0)
    with pytest.raises(qe.QuantError, match="200 samples do not fill a batch of 500"):
        list(qat(network, Setting(WEIGHT), schedule=Schedule(1, 500)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gradient_factor(0, 7), "count=0 must be a finite number above 0"),
        (lambda: gradient_factor(7, "x"), "highest='x' must be"),
        (lambda: initial_step([], 3), "values of shape .0,. must be one or more"),
        (lambda: initial_step([np.nan], 3), "values of shape .1,. has 1 NaN"),
        (lambda: initial_step([1.0], 0), "highest=0 must be a finite number above 0"),
        (lambda: slopes([1.0], 0, -1, 1), "step=0 must be a finite number above 0"),
        (lambda: slopes([1.0], 1, 2, 1), "highest=1 must be a finite number of 2 or more"),
        (lambda: slopes([1.0], 1, -1, 1, "lsq"), "rule='lsq' is unknown; choose one of LSQ, PACT"),
        (lambda: Schedule(True), "epochs=True must be an integer"),
        (lambda: Schedule(1, rate=np.nan), "rate=nan must be a finite number above 0"),
        (lambda: next(qat(None, Setting(WEIGHT), rule="pact")), "rule='pact' is unknown"),
        (lambda: next(qat(None, Setting(WEIGHT), start="x")), "start='x' is unknown; choose one of ranges, LSQ"),
        (lambda: Setting(None), "weight=None is not a QuantizerSpec"),
        (lambda: Setting(WEIGHT, "int8"), "activation='int8' is not a QuantizerSpec"),
        (lambda: Setting(WEIGHT, INPUT, -1), "seed=-1 must be an integer from 0"),
        (lambda: compensate(None, "nearest", Setting(WEIGHT)), "network=None is not a Network"),
        (lambda: compensate(load("fashion-cnn"), [], Setting(WEIGHT)), "method=.. is unknown; choose one of nearest"),
        (lambda: compensate(load("fashion-cnn"), "nearest", WEIGHT), "is not a Setting"),
    ],
)
def test_no_argument_is_taken_that_means_nothing(call, said):
    with pytest.raises(qe.QuantError, match=said):
        call()
