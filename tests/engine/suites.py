"""What every model and every executor must hold, whatever it is of: suites in the manner of `check_estimator`."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from quant_engine import QuantError
from quant_engine.execution import Executor, Override, executor_of
from quant_engine.models import Model, digest


def run(executor: Executor, inputs: torch.Tensor, *args, **settings) -> torch.Tensor:
    """Return the only or first tensor that a model gives."""
    result = executor.run(inputs, *args, **settings)
    return next(iter(result.values())) if isinstance(result, Mapping) else result


def check_model(model: Model, inputs: torch.Tensor) -> None:
    """Layers, weights and shapes agree with each other and with what a run shows."""
    layers, executor = model.layers, executor_of(model)
    assert list(layers) == list(model.parameters) == list(executor.trace.layers)
    with torch.no_grad():
        received = executor.capture(inputs, list(layers))
    for name, layer in layers.items():
        weight, bias = model.parameters[name]
        assert layer.name == name
        assert weight.shape == layer.shape
        assert layer.has_bias == (bias is not None)
        for array in (weight,) if bias is None else (weight, bias):
            assert array.dtype == np.float32
            assert not array.flags.writeable
        if layer.tied_to is not None:
            np.testing.assert_array_equal(weight, model.parameters[layer.tied_to][0])
            assert layer.tensor == layers[layer.tied_to].tensor
        assert tuple(received[name].shape[1:]) == layer.input_shape
        check_output_shape(layer, received[name][:1])
    check_other_parameters(model, inputs)
    for bad in (inputs[:0], inputs.float() * torch.nan):
        with pytest.raises(QuantError):
            model.as_inputs(bad.numpy())


def check_output_shape(layer, x) -> None:
    """The layer's fields are enough to run it, and tell how often each weight is multiplied."""
    weight = torch.ones(layer.shape)
    if layer.op == "embedding":
        assert layer.output_shape == (*x.shape[1:], layer.shape[1])
        assert layer.multiplications == 0
        return
    if layer.op == "linear":
        found = torch.nn.functional.linear(x, weight)
        places = found[0, ..., 0].numel()
    else:
        apply = {"conv1d": torch.nn.functional.conv1d, "conv2d": torch.nn.functional.conv2d}[layer.op]
        wide = torch.nn.functional.pad(x, [end for axis in reversed(layer.padding) for end in axis])
        found = apply(wide, weight, None, layer.stride, 0, layer.dilation, layer.groups)
        places = found[0, 0].numel()
    assert layer.output_shape == tuple(found.shape[1:])
    assert layer.multiplications == places * weight.numel()


@torch.no_grad()
def check_other_parameters(model: Model, inputs: torch.Tensor) -> None:
    """A model with another weight is another model, and runs as an override of that weight does."""
    name = next(reversed(model.layers))
    owner = model.layers[name].tied_to or name
    weight, bias = model.parameters[owner]
    other = model.with_parameters({owner: (weight * 2, bias)})
    assert digest(other.parameters) != digest(model.parameters)
    np.testing.assert_array_equal(other.parameters[name][0], 2 * weight)
    users = [user for user, layer in model.layers.items() if owner in (user, layer.tied_to)]
    changes = dict.fromkeys(users, Override(torch.from_numpy(2 * weight)))
    assert torch.equal(run(executor_of(other), inputs), run(executor_of(model), inputs, changes))
    np.testing.assert_array_equal(model.parameters[owner][0], weight)


@torch.no_grad()
def check_executor(executor: Executor, model: Model, inputs: torch.Tensor) -> None:
    """Overrides and taps do what they say, stages join without a seam, and calls do not see each other."""
    whole, weights = run(executor, inputs), {name: torch.tensor(arrays[0]) for name, arrays in model.parameters.items()}
    assert torch.equal(run(executor, inputs, {name: Override(weight) for name, weight in weights.items()}), whole)
    for name, weight in weights.items():
        without = run(executor, inputs, {name: Override(torch.zeros_like(weight))})
        assert not torch.allclose(without, whole, atol=1e-4), f"{name} makes no difference"
    check_layer_overrides(executor, model, inputs)
    for number, stage in enumerate(executor.trace.stages):
        received = run(executor, inputs, stop=number)
        assert torch.equal(received, executor.capture(inputs, [stage.name])[stage.name])
        assert torch.equal(run(executor, inputs, start=(number, received.clone())), whole)

    def scaled(scale: float) -> torch.Tensor:
        return run(executor, inputs, {name: Override(weight * scale) for name, weight in weights.items()})

    scales = [0.5 + i / 8 for i in range(8)]
    alone = [scaled(scale) for scale in scales]
    with ThreadPoolExecutor(8) as pool:
        for found, expected in zip(pool.map(scaled, scales * 4), alone * 4, strict=True):
            assert torch.equal(found, expected)
    assert torch.equal(run(executor, inputs), whole)


def check_layer_overrides(executor: Executor, model: Model, inputs: torch.Tensor) -> None:
    """Biases, and inputs through a function, change what they should; a tap hears the input before."""
    dense = [name for name, layer in model.layers.items() if layer.op != "embedding"]
    plain = executor.capture(inputs, dense)
    zeros = {name: Override(input=torch.zeros_like) for name in dense}
    assert torch.equal(executor.capture(inputs, dense, zeros)[dense[0]], plain[dense[0]])
    for name in dense:
        outputs = model.layers[name].shape[0]
        off = Override(input=torch.zeros_like, bias=torch.zeros(outputs))
        no_weight = Override(torch.zeros(model.layers[name].shape), torch.zeros(outputs))
        assert torch.equal(run(executor, inputs, {name: off}), run(executor, inputs, {name: no_weight}))
        bias = model.parameters[name][1]
        if bias is not None:
            same = run(executor, inputs, {name: Override(bias=torch.tensor(bias))})
            assert torch.equal(same, run(executor, inputs))
    last = dense[-1]
    ramp = torch.arange(model.layers[last].shape[0], dtype=torch.float32)
    found = run(executor, inputs, {last: Override(input=torch.zeros_like, bias=ramp)})
    assert torch.equal(found, ramp.expand_as(found))
