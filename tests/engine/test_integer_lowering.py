"""Any torch module in integers: residual additions, strides, ReLU6 and pools, against slow int64 and simulation."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from quant_engine import IntFormat, LayerPlan, PerChannel, QuantError, QuantizationPlan, QuantizerSpec
from quant_engine.integer_only import (
    agreeing,
    compile_plan,
    count_operations,
    trace_output,
    with_integer_bias,
)
from quant_engine.integer_only.steps import (
    Add,
    AddUp,
    AddWindows,
    Clamp,
    FlattenCodes,
    MultiplyAccumulate,
    Requantize,
    Rescale,
)
from quant_engine.network import from_module
from quant_engine.tasks import Classification
from tests import reference
from tests.engine.foreign import foreign_models

WEIGHT, INPUT = QuantizerSpec(IntFormat(8), PerChannel(0)), QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
INT32 = -(2**31), 2**31 - 1


class Module(nn.Module):
    """Two convolutions, what follows them, and a linear layer."""

    def __init__(self, then, features=6, stride=1):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, stride, 1)
        self.head, self.then = nn.Linear(features, 5), then

    def forward(self, x):
        first = self.first(x)
        return self.head(self.then(self, first))


def networks():
    """Return networks and inputs by what is in them."""
    torch.manual_seed(1)

    def pooled(x):
        return x.mean((2, 3))

    modules = {name: foreign_models()[name][0] for name in ("residual", "sequential")} | {
        "twice": Module(lambda m, x: pooled(x + x)),
        "sum of ReLUs": Module(lambda m, x: pooled(functional.relu(x) + functional.relu6(m.second(x)))),
        "three": Module(lambda m, x: pooled(functional.relu(x + m.second(x) + m.second(functional.relu(x))))),
        "strided": Module(lambda m, x: pooled(m.second(x)), stride=2),
        "clamped average": Module(lambda m, x: pooled(functional.relu6(m.second(x)))),
        "max pool of ResNets": Module(
            lambda m, x: pooled(m.second(functional.max_pool2d(functional.relu(x), 3, 2, 1)))
        ),
        "max pool, added": Module(lambda m, x: pooled(functional.max_pool2d(x, 3, 1, 1) + m.second(x))),
        "windows": Module(lambda m, x: functional.avg_pool2d(m.second(x), 4).flatten(1), 24),
        "framed windows": Module(lambda m, x: pooled(m.second(functional.avg_pool2d(functional.relu(x), 3, 2, 1)))),
        "adaptive": Module(lambda m, x: functional.adaptive_avg_pool2d(functional.relu(x), (2, 4)).flatten(1), 48),
        "ReLU behind its pool": Module(lambda m, x: functional.relu(functional.max_pool2d(x, 2)).flatten(1), 96),
        "flattened sum": Module(lambda m, x: (x + m.second(x)).flatten(1), 384),
        "clamped logits": nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 5), nn.ReLU()),
    }
    images = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
    for name, module in modules.items():
        yield name, from_module(module.eval(), example=torch.zeros(1, 3, 8, 8)), images


def frozen(network, images, **others):
    """Return a plan of 8 bits for all layers that run, calibrated."""
    run = [name for name, layer in network.layers().items() if layer.shapes]
    plan = dict.fromkeys(run, LayerPlan(WEIGHT, INPUT)) | {name: others[name] for name in run if name in others}
    return network.freeze(QuantizationPlan(plan), images)


def slow(step, x, *others):
    """One step in whole numbers of any size."""
    if isinstance(step, MultiplyAccumulate) and step.weight.ndim == 4:
        return reference.convolved(x, step.weight, step.bias, step.zero_point, step.groups, step.stride, step.padding)
    if isinstance(step, MultiplyAccumulate):
        return (x - step.zero_point) @ step.weight.astype(np.int64).T + step.bias
    if isinstance(step, Requantize | Rescale):
        factors = zip(step.multiplier.tolist(), step.shift.tolist(), strict=True)
        out = np.stack(
            [
                np.vectorize(lambda total, m=m, s=s: reference.requantized(int(total), m, s, step.once))(x[:, c])
                for c, (m, s) in enumerate(factors)
            ],
            axis=1,
        )
        return out if isinstance(step, Rescale) else np.clip(out + step.zero_point, step.lowest, step.highest)
    if isinstance(step, Add):
        return x + others[0]
    if isinstance(step, Clamp):
        ends = (end.astype(np.int64).reshape(-1, *[1] * (x.ndim - 2)) for end in (step.lowest, step.highest))
        return np.clip(x, *ends)
    if isinstance(step, AddUp):
        return (np.maximum(x, 0) if step.relu else x).sum(axis=(2, 3))
    if isinstance(step, FlattenCodes):
        return x.reshape(len(x), -1)
    return pooled(step, x)


def pooled(step, x):
    """The largest, or the sum, of every window."""
    outside = 0 if isinstance(step, AddWindows) else -(2**40)
    framed = np.pad(x, ((0, 0), (0, 0), *((n, n) for n in step.padding)), constant_values=outside)
    ends = [
        (length - size) // stride + 1
        for length, size, stride in zip(framed.shape[2:], step.size, step.stride, strict=True)
    ]
    out = np.empty((*x.shape[:2], *ends), np.int64)
    for i, j in np.ndindex(*ends):
        top, left = i * step.stride[0], j * step.stride[1]
        window = framed[:, :, top : top + step.size[0], left : left + step.size[1]]
        out[:, :, i, j] = window.sum(axis=(2, 3)) if isinstance(step, AddWindows) else window.max(axis=(2, 3))
    return out


def test_every_step_is_that_of_slow_int64_and_nothing_leaves_32_bits():
    for name, network, images in networks():
        program = compile_plan(network, frozen(network, images))
        codes = program.quantize(images[:3])
        expected = {-1: codes.astype(np.int64)}
        for number, ((step, _, out), sources) in enumerate(zip(program.trace(codes), program.sources, strict=True)):
            found = expected[number] = slow(step, *(expected[source] for source in sources))
            assert np.array_equal(out, found), (name, number, step)
            if hasattr(step, "bounds"):
                axes = (0, *range(2, found.ndim))
                assert (found.min(axis=axes) >= step.bounds.low).all(), (name, step.name)
                assert (found.max(axis=axes) <= step.bounds.high).all(), (name, step.name)
                assert step.bounds.bits <= 32
        assert np.array_equal(program.run(codes), expected[len(program.steps) - 1])


def test_labels_are_the_simulations_and_logits_lie_within_what_rounds():
    for name, network, images in networks():
        plan = frozen(network, images)
        program = compile_plan(network, plan, "single")
        simulated = network.run(images, with_integer_bias(program, plan))
        logits = program.run(program.quantize(images)) * program.logit_scale
        assert np.array_equal(logits.argmax(axis=1), simulated.argmax(axis=1)), name
        close = np.abs(logits - simulated) <= 2 * program.logit_scale + 1e-5
        assert close.mean() > 0.97, name  # elsewhere a code lies at a tie, in float32 or with a clamp in steps
        twice = compile_plan(network, plan)
        rounded = twice.run(twice.quantize(images)) * twice.logit_scale
        spread = np.abs(network.run(images, plan) - network.run(images)).max()
        assert np.abs(rounded - simulated).max() <= spread, name


def test_an_addition_is_rescaled_on_both_sides_to_one_step():
    network, images = next((network, images) for name, network, images in networks() if name == "residual")
    program = compile_plan(network, frozen(network, images))
    kinds = [type(step).__name__ for step in program.steps]
    for number, (kind, sources) in enumerate(zip(kinds, program.sources, strict=True)):
        if kind == "Add":
            assert [kinds[source] for source in sources] == ["Rescale", "Rescale"]
            assert 29 <= program.steps[number].bounds.bits <= 31
    assert kinds.count("Add") == 3
    assert not program.straight


def test_operators_that_integers_lack_are_refused_by_name():
    def mean(x):
        return x.mean((2, 3))

    for then, message in (
        (lambda m, x: mean(torch.sigmoid(x)), r"sigmoid\(\) 'sigmoid' is no operator of integers"),
        (lambda m, x: mean(m.norm(x)), r"BatchNorm2d 'norm' is no operator of integers"),
        (lambda m, x: mean(m.leaky(x)), r"LeakyReLU 'leaky' is no operator"),
        (lambda m, x: mean(torch.cat([x, x], 1)[:, :6]), r"getitem\(\) 'getitem' is no operator"),
        (lambda m, x: mean(x * x), r"mul\(\) 'mul' is no operator"),
        (lambda m, x: mean(m.wide(x)), r"layer 'wide' has dilation \(2, 2\)"),
        (lambda m, x: mean(m.reflecting(x)), r"Conv2d 'reflecting' is no operator"),
        (lambda m, x: functional.softmax(mean(x), 1), r"softmax\(\) 'softmax' is no operator"),
    ):
        module = Module(then)
        module.norm, module.leaky, module.wide = nn.BatchNorm2d(6), nn.LeakyReLU(), nn.Conv2d(6, 6, 3, dilation=2)
        module.reflecting = nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect")
        network = from_module(module.eval(), example=torch.zeros(1, 3, 8, 8))
        plan = frozen(network, np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32))
        with pytest.raises(QuantError, match=message):
            compile_plan(network, plan)


def test_the_input_is_known_only_as_its_first_layers_codes():
    class Skipping(nn.Module):
        def __init__(self, then):
            super().__init__()
            self.conv, self.other, self.head, self.then = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 5), then

        def forward(self, x):
            return self.head(self.then(self, x).mean((2, 3)))

    images = np.random.default_rng(0).standard_normal((8, 3, 4, 4)).astype(np.float32)
    example, narrow = torch.zeros(1, 3, 4, 4), QuantizerSpec(IntFormat(4, signed=False), symmetric=False)
    for then, activation, message in (
        (lambda m, x: m.conv(x) + x, INPUT, "cannot be added"),
        (lambda m, x: m.conv(functional.relu(x)), INPUT, "takes the model's input clamped"),
        (lambda m, x: m.conv(x) + m.other(x), narrow, "comes in once"),
    ):
        network = from_module(Skipping(then).eval(), example=example)
        plan = frozen(network, images, other=LayerPlan(WEIGHT, activation))
        with pytest.raises(QuantError, match=message):
            compile_plan(network, plan)
    both = from_module(Skipping(lambda m, x: m.conv(x) + m.other(x)).eval(), example=example)
    program = compile_plan(both, frozen(both, images))
    assert program.run(program.quantize(images)).shape == (8, 5)


def test_a_module_without_an_example_cannot_be_read():
    network = from_module(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval())
    with pytest.raises(QuantError, match="give from_module one"):
        compile_plan(network, QuantizationPlan({"1": LayerPlan(WEIGHT, INPUT)}))


def test_operations_of_a_branching_network_are_those_counted_by_hand():
    network, images = next((network, images) for name, network, images in networks() if name == "residual")
    found = count_operations(network, compile_plan(network, frozen(network, images)))
    products = sum(layer.multiplications for layer in network.layers().values())
    assert found.multiplications == products
    first, others = 8 * 4 * 4, 8 * 2 * 2  # numbers of the pictures of the first block, and behind it
    assert found.additions == products + first + 2 * others + others  # three sums, and the average
    assert found.comparisons == 2 * first  # the ReLU6 that is added
    codes = first + first + 2 * first + others + others + others + 8  # as each layer but the first takes them
    sides = 2 * (first + others + others)
    averaged = others  # the last sum, in coarser steps
    assert found.requantizations == codes + sides + averaged + 5


def test_numbers_of_a_branching_network_are_not_retraced():
    network, images = next((network, images) for name, network, images in networks() if name == "residual")
    labels = np.zeros(len(images), np.int64)
    task = Classification(images, labels)
    scored = from_module(network.model.module, task, torch.zeros(1, 3, 8, 8))
    plan = frozen(network, images)
    program = compile_plan(network, plan)
    with pytest.raises(QuantError, match="not retraced"):
        trace_output(program, program.quantize(images[:1])[0], "stem", 0, (0, 0))
    with pytest.raises(QuantError, match="not retraced"):
        next(agreeing(scored, plan))
