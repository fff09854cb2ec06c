"""A user's own module, quantized for a while and then as it was."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import quant_engine as qe
from quant_engine.network import from_module, load
from tests.engine.foreign import foreign_models

W4 = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0))
A8 = qe.QuantizerSpec(qe.IntFormat(8), qe.PerTensor())


@pytest.fixture(params=["residual", "decoder"])
def subject(request):
    module, inputs = foreign_models()[request.param]
    network = from_module(module, example=inputs)
    plans = {
        name: qe.LayerPlan(
            W4,
            None if layer.op == "embedding" else A8,
            bias=None if layer.op == "embedding" else np.full(layer.shape[0], 0.25, np.float32),
        )
        for name, layer in network.layers().items()
    }
    return module, inputs, network, network.freeze(qe.QuantizationPlan(plans), inputs.numpy())


def state(module):
    """Return everything of a module that a patch could change, by identity and by value."""
    parts = [
        (name, dict(part._parameters), [*part._forward_pre_hooks, *part._forward_hooks, *vars(part)])
        for name, part in module.named_modules()
    ]
    return parts, {name: (id(value), value.clone()) for name, value in module.named_parameters()}


def assert_same_state(one, other):
    assert [part[0] for part in one[0]] == [part[0] for part in other[0]]
    for before, after in zip(one[0], other[0], strict=True):
        assert before[2:] == after[2:]
        assert list(before[1]) == list(after[1])
        assert all(a is b for a, b in zip(before[1].values(), after[1].values(), strict=True))
    for name, (identity, values) in one[1].items():
        assert other[1][name][0] == identity
        assert torch.equal(other[1][name][1], values)


def test_a_patched_module_gives_what_the_network_gives_under_the_plan(subject):
    module, inputs, network, plan = subject
    before, plain = state(module), network.run(inputs.numpy())
    with network.patched(plan) as patched:
        assert patched is module
        found = module(inputs).detach().numpy()  # gradients on, as in a user's own loop
        np.testing.assert_array_equal(found, network.run(inputs.numpy(), plan))
        np.testing.assert_array_equal(network.run(inputs.numpy()), plain)  # the network itself is not patched
        np.testing.assert_array_equal(from_module(module, example=inputs).weight("head"), module.head.weight)
        assert all(isinstance(own, torch.nn.Parameter) for own in module.parameters())
        assert not hasattr(module, "embed") or module.head.weight is module.embed.weight
    assert_same_state(before, state(module))
    np.testing.assert_array_equal(module(inputs).detach().numpy(), plain)


def test_what_is_raised_inside_leaves_the_module_as_it_was(subject):
    module, inputs, network, plan = subject
    before = state(module)
    with pytest.raises(ZeroDivisionError), network.patched(plan):
        module(inputs).shape[0] / 0
    assert_same_state(before, state(module))
    wrong = qe.QuantizationPlan({"nothing": qe.LayerPlan(W4)})
    with pytest.raises(qe.QuantError, match="no layer 'nothing'"), network.patched(wrong):
        pass
    assert_same_state(before, state(module))


@torch.no_grad()
def test_a_patch_within_a_patch_ends_first(subject):
    module, inputs, network, plan = subject
    coarse = qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(2)))))
    with network.patched(plan):
        outer = module(inputs)
        with network.patched(coarse):
            assert not torch.equal(module(inputs), outer)
        assert torch.equal(module(inputs), outer)


@torch.no_grad()
def test_threads_patch_one_after_the_other(subject):
    module, inputs, network, _ = subject
    specs = [qe.QuantizerSpec(qe.IntFormat(bits), qe.PerChannel(0)) for bits in (2, 3, 4, 5)]
    plans = [qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(spec))) for spec in specs]
    expected = [network.run(inputs.numpy(), plan) for plan in plans]
    wrong, before = [], state(module)

    @torch.no_grad()
    def work(number):
        for _ in range(5):
            with network.patched(plans[number]):
                if not np.array_equal(module(inputs).numpy(), expected[number]):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(plans))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert_same_state(before, state(module))


def test_a_built_in_network_is_nobodys_module():
    with pytest.raises(qe.QuantError, match="from_module"), load("fashion-cnn").patched(qe.QuantizationPlan()):
        pass
