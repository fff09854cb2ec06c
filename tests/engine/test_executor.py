"""One executor runs any module: layers changed, inputs seen, from any stage on, in many threads at once."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from quant_engine import QuantError
from quant_engine.execution import Override, PrefixRunner, StageInputs, TorchExecutor, stepwise
from quant_engine.models import trace
from quant_engine.steps import finished
from tests.engine.foreign import foreign_models, layers_of

MODELS = foreign_models()


@pytest.fixture(params=MODELS)
def subject(request):
    module, inputs = MODELS[request.param]
    layers = layers_of(module)
    return TorchExecutor(module, trace(module, layers, inputs)), module, layers, inputs


def changed(module, name, weight):
    """Return a deep copy of a module with one layer's weight replaced: the obvious way to override."""
    other = copy.deepcopy(module)
    other.get_submodule(name).weight = torch.nn.Parameter(weight)
    return other


def test_a_run_from_stage_to_stage_has_the_bits_of_one_in_one_piece(subject):
    executor, _, layers, inputs = subject
    with torch.inference_mode():
        whole, received = executor.run(inputs), executor.capture(inputs, layers)
    assert torch.equal(finished(stepwise(executor, inputs.numpy())), whole)
    for layer in layers:
        assert torch.equal(finished(stepwise(executor, inputs.numpy(), layer)), received[layer])
    shares = [*stepwise(executor, inputs.numpy())]
    assert len(shares) == len(executor.trace.spans) - 1
    assert shares == sorted({*shares} - {0.0, 1.0})


@torch.no_grad()
def test_an_overridden_weight_gives_what_a_changed_module_gives_and_the_module_stays(subject):
    executor, module, layers, inputs = subject
    before = module(inputs)
    for name in layers:
        weight = module.get_submodule(name).weight * 0.5
        found = executor.run(inputs, {name: Override(weight)})
        assert torch.equal(found, changed(module, name, weight)(inputs)), name
        assert not torch.equal(found, before), name
    assert torch.equal(executor.run(inputs), before)
    assert torch.equal(module(inputs), before)


@torch.no_grad()
def test_biases_and_inputs_are_overridden_also_where_a_layer_has_no_bias(subject):
    executor, module, layers, inputs = subject
    name = layers[-1]
    outputs = module.get_submodule(name).weight.shape[0]
    bias = torch.arange(outputs, dtype=torch.float32)
    own = module.get_submodule(name).bias
    expected = module(inputs) + (bias if own is None else bias - own)
    assert torch.allclose(executor.run(inputs, {name: Override(bias=bias)}), expected, atol=1e-6)
    zeros = executor.run(inputs, {name: Override(input=torch.zeros_like, bias=bias)})
    assert torch.equal(zeros, bias.expand_as(zeros))


@torch.no_grad()
def test_taps_hear_what_layers_receive_before_it_is_overridden(subject):
    executor, module, layers, inputs = subject
    expected = {}
    plain = copy.deepcopy(module)
    for name in layers:
        plain.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: expected.__setitem__(name, given[0].clone())
        )
    plain(inputs)
    found = executor.capture(inputs, layers, {layers[-1]: Override(input=torch.zeros_like)})
    assert all(torch.equal(found[name], expected[name]) for name in layers)
    for name in layers:
        assert torch.equal(executor.capture(inputs, [name])[name], expected[name])


@torch.no_grad()
def test_a_run_from_every_stage_on_ends_where_a_whole_run_does(subject):
    executor, module, _, inputs = subject
    whole = module(inputs)
    assert executor.trace.stages
    for number in range(len(executor.trace.stages)):
        received = executor.run(inputs, stop=number)
        assert torch.equal(executor.run(inputs, start=(number, received.clone())), whole), number
        if number + 1 < len(executor.trace.stages):
            following = executor.run(inputs, start=(number, received.clone()), stop=number + 1)
            assert torch.equal(following, executor.run(inputs, stop=number + 1))


def test_spans_hold_every_layer_once_in_the_order_of_the_run(subject):
    executor, _, layers, inputs = subject
    order = []
    watched = {name: Override(input=lambda x, name=name: order.append(name) or x) for name in layers}
    with torch.no_grad():
        executor.run(inputs, watched)
    assert [name for span in executor.trace.spans for name in span.layers] == order
    assert sorted(order) == sorted(layers)
    assert executor.trace.spans[0].start is None
    assert executor.trace.spans[-1].stop is None
    assert [span.stop for span in executor.trace.spans[:-1]] == [span.start for span in executor.trace.spans[1:]]


def test_gradients_flow_into_overrides(subject):
    executor, module, layers, inputs = subject
    weights = {name: module.get_submodule(name).weight.detach().clone().requires_grad_() for name in layers}
    executor.run(inputs, {name: Override(weight) for name, weight in weights.items()}).square().sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in weights.values())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_eight_threads_with_different_plans_have_the_bits_of_each_alone(subject):
    executor, module, layers, inputs = subject

    @torch.no_grad()
    def run(number):
        scale = 1 + number % 8
        return executor.run(inputs, {name: Override(module.get_submodule(name).weight * scale) for name in layers})

    alone = [run(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(run, range(200)))
    assert all(torch.equal(found, alone[number % 8]) for number, found in enumerate(together))


def test_a_runner_gives_what_a_whole_run_gives_whatever_it_has_kept(subject):
    executor, module, layers, inputs = subject
    for limit in (0, 4096, 1 << 20):
        runner = PrefixRunner(executor, np.split(inputs.numpy(), 3), StageInputs(limit))
        for names in ([], layers[-1:], layers[:1], layers[1:], layers[-1:], layers[2:3], []):
            overrides = {name: Override(module.get_submodule(name).weight * 0.5) for name in names}
            with torch.no_grad():
                expected = torch.cat([executor.run(part, overrides) for part in inputs.split(2)])
            found = torch.cat([*runner.outputs(overrides, dict.fromkeys(names, "half"))])
            assert torch.equal(found, expected), (limit, names)


def test_layers_before_the_first_changed_one_do_not_run_again(subject):
    executor, _, layers, inputs = subject
    runner = PrefixRunner(executor, [inputs.numpy()], StageInputs(1 << 20))
    list(runner.outputs({}, {}))
    last = executor.trace.spans[-1]
    ran = []
    override = {name: Override(input=lambda x, name=name: ran.append(name) or x) for name in layers}
    list(runner.outputs(override, dict.fromkeys(last.layers, "watched")))
    assert set(ran) & set(last.layers)
    first = executor.trace.stages[0].layers
    assert not set(ran) & set(first)


def test_a_layer_that_changes_again_costs_what_lies_behind_it_though_all_before_it_are_changed_and_large():
    module = torch.nn.Sequential(*(torch.nn.Linear(*shape) for shape in ((1, 8192), (8192, 1), (1, 8192), (8192, 1))))
    inputs = torch.rand(1200, 1)
    executor = TorchExecutor(module, trace(module, list("0123"), inputs))
    runner = PrefixRunner(executor, np.split(inputs.numpy(), 12), StageInputs(256 << 20))  # "1" and "3" receive 38 MiB
    ran: list[str] = []
    changed = {name: Override(input=lambda x, name=name: ran.append(name) or x) for name in "0123"}
    for number, (keys, first) in enumerate(
        (("aaaa", "0"), ("aaab", "2"), ("aaac", "3"), ("aaad", "3"), ("abad", "0"), ("acad", "1"), ("acae", "2"))
    ):
        list(runner.outputs(changed, dict(zip("0123", keys, strict=True))))
        assert ran[0] == first, number
        ran.clear()


def test_where_it_is_known_which_layers_change_next_only_what_they_receive_is_kept():
    module = torch.nn.Sequential(*(torch.nn.Linear(*shape) for shape in ((1, 64), (64, 1), (1, 64), (64, 1))))
    inputs, kept = torch.rand(12, 1), StageInputs(1 << 20)
    executor = TorchExecutor(module, trace(module, list("0123"), inputs))
    runner = PrefixRunner(executor, np.split(inputs.numpy(), 3), kept)
    following, ran = ["1", "2"], []
    whole = torch.cat([*runner.outputs({}, {}, following)])
    assert kept.size_bytes == 4 * 12 * (64 + 1)
    watched = {name: Override(input=lambda x, name=name: ran.append(name) or x) for name in "0123"}
    for layer in following:
        again = torch.cat([*runner.outputs(watched, {layer: "watched"}, following)])
        assert torch.equal(again, whole)
        assert ran[0] == layer
        assert kept.size_bytes == 4 * 12 * (64 + 1)
        ran.clear()


def test_a_layer_that_does_not_run_is_refused_by_name():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    module.unused = torch.nn.ModuleList([torch.nn.Linear(2, 2)])
    module.forward = lambda x: module[0](x)
    with pytest.raises(QuantError, match=r"unused\.0"):
        TorchExecutor(module, trace(module, ["0", "unused.0"])).capture(torch.ones(1, 2), ["0", "unused.0"])


def test_what_is_kept_stays_within_its_bytes_over_all_runners():
    kept = StageInputs(1000)
    for owner in range(3):
        for stage in range(4):
            kept.keep(owner, (stage, ("",) * stage), [torch.zeros(50), torch.zeros(50)])
            kept.keep(owner, (stage, ("changed",) * (stage + 1)), [torch.zeros(50)])
            assert kept.size_bytes <= 1000
    assert kept.find(2, (3, ("",) * 3)) is not None
    assert kept.find(0, (1, ("",))) is None
    kept.keep(2, (3, ("",) * 3), [torch.zeros(10)])
    kept.release(2)
    kept.keep(3, (0, ()), [torch.zeros(1)])
    assert kept.size_bytes == 4


def test_a_run_that_begins_at_a_stage_takes_what_it_is_given_there_whatever_comes_before():
    module, inputs = foreign_models()["decoder"]
    executor = TorchExecutor(module, trace(module, layers_of(module), inputs))
    for number in range(3):
        received = torch.randn(6, 7, 16)
        seen, expected = [], received
        with torch.no_grad():
            taps = {f"blocks.{number}": seen.append}
            found = executor.run(inputs, start=(number, received), taps=taps)
            for block in module.blocks[number:]:
                expected = block(expected)
            assert torch.equal(found, module.head(module.norm(expected)))
        assert torch.equal(seen[0], received)
