"""A network whose weights, biases and steps can be trained while they are quantized, and the plan this comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_engine.batches import BATCH, split_batch
from quant_engine.compensation.learned_step import Rule, fake_quantize, gradient_factor, initial_step, scale_gradient
from quant_engine.errors import QuantError
from quant_engine.execution import Override, as_tensors
from quant_engine.formats import IntFormat
from quant_engine.inputs import Float32Array, Inputs
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import Quantizer, QuantizerSpec

if TYPE_CHECKING:
    from torch import Tensor

LOGITS = "logits"
MIN_STEP = 0.05  # of what a step was before training; with 0 or less it would mean nothing


class LearnedRange:
    """The steps of one quantizer, to be trained; its zero points stay, so that real 0 does."""

    def __init__(self, fitted: Quantizer, shape: tuple[int, ...], rule: Rule, count: int) -> None:
        """Start from a fitted quantizer for values of a shape, of which `count` share a step."""
        import torch

        grid = fitted.spec.granularity.blocks(shape)
        blocks = grid.restore(np.repeat(np.arange(grid.count), np.diff(grid.offsets)))
        form, zero_point = fitted.spec.format, grid.from_grid(fitted.zero_point).astype(np.float32)
        self._fitted, self._grid, self._rule = fitted, grid, rule
        self._block = torch.from_numpy(blocks) if grid.count > 1 else None
        self._lowest, self._highest = (torch.from_numpy(code - zero_point) for code in (form.qmin, form.qmax))
        self._factor = gradient_factor(count, max(form.qmax - int(zero_point.min()), 1))
        self.step = torch.from_numpy(grid.from_grid(fitted.scale).copy()).requires_grad_()
        self._min_step = MIN_STEP * self.step.detach().clone()

    def quantize(self, x: Tensor) -> Tensor:
        """Return the values as their codes stand for them."""
        step = scale_gradient(self.step, self._factor)
        if self._block is None:
            return fake_quantize(x, step, self._lowest, self._highest, self._rule)
        lowest, highest = self._lowest[self._block], self._highest[self._block]
        steps = step.index_select(0, self._block.flatten()).reshape(self._block.shape)  # sums in one order
        return fake_quantize(x, steps, lowest, highest, self._rule)

    def hold(self) -> None:
        """Keep the steps positive."""
        self.step.data.clamp_(min=self._min_step)

    def quantizer(self) -> Quantizer:
        """Return the quantizer with the steps as they are now."""
        scale = self._grid.to_grid(self.step.detach().numpy())
        return Quantizer(self._fitted.spec, scale, self._fitted.zero_point)


class QatModel:
    """A network under a frozen plan, every layer's weight, bias and steps to be trained.

    BatchNorm stays folded: what is trained are the folded weight and the bias, so that what is quantized in training is
    what is quantized afterwards (Jacob et al. 2018) and no statistics are left to drift (Krishnamoorthi 2018 freezes
    them for the same reason).
    """

    def __init__(self, network: Network, plan: QuantizationPlan, rule: Rule = "LSQ") -> None:
        """Start from the network's weights and the plan's ranges; `rule` is that of the activations' steps."""
        import torch

        self._executor = network.executor
        self._plan = plan
        self._weights: dict[str, Tensor] = {}
        self._biases: dict[str, Tensor] = {}
        self._weight_ranges: dict[str, LearnedRange] = {}
        self._input_ranges: dict[str, LearnedRange] = {}
        for name, layer in network.layers().items():
            own = layer.tied_to or name
            if own == name:
                self._weights[name] = torch.from_numpy(network.weight(name).copy()).requires_grad_()
            else:
                self._weights[name] = self._weights[own]
            if layer.has_bias:
                self._biases[name] = torch.from_numpy(network.bias_or_zeros(name).copy()).requires_grad_()
            weight, activation = plan[name].weight, plan[name].activation
            if isinstance(weight, Quantizer):
                count = layer.parameters // weight.scale.size
                fresh = LearnedRange(weight, layer.matrix_shape, "LSQ", count)
                self._weight_ranges[name] = self._weight_ranges.get(own, fresh)
            if isinstance(activation, Quantizer):
                count = int(np.prod(layer.input_shape))
                self._input_ranges[name] = LearnedRange(activation, (1, *layer.input_shape), rule, count)

    @property
    def trained(self) -> tuple[list[Tensor], list[Tensor]]:
        """What is trained: weights and biases, and steps."""
        ranges = dict.fromkeys([*self._weight_ranges.values(), *self._input_ranges.values()])
        weights = {id(weight): weight for weight in self._weights.values()}  # layers may share one
        return [*weights.values(), *self._biases.values()], [learned.step for learned in ranges]

    def logits(self, x: Any) -> Tensor:
        """Return the outputs of the quantized network.

        Raises:
            QuantError: for several, none of which is called "logits".
        """
        overrides = {
            name: Override(
                self._quantized(name),
                self._biases.get(name),
                self._input_ranges[name].quantize if name in self._input_ranges else None,
            )
            for name in self._weights
        }
        return _logits(self._executor.run(x, overrides))

    def answers(self, inputs: Sequence[Inputs]) -> Float32Array:
        """Return the logits of many samples, as an array (n, classes) with a row for each token of a text."""
        import torch

        with torch.no_grad():
            parts = [self.logits(as_tensors(part)) for whole in inputs for part in split_batch(whole, BATCH)]
            return np.asarray(torch.cat([part.reshape(-1, part.shape[-1]) for part in parts]).numpy())

    def hold(self) -> None:
        """Keep the steps positive, after each step of training."""
        for learned in (*self._weight_ranges.values(), *self._input_ranges.values()):
            learned.hold()

    def plan(self) -> QuantizationPlan:
        """Return the frozen plan that gives what the network gives now."""
        return QuantizationPlan({name: self._layer_plan(name) for name in self._weights})

    def _quantized(self, name: str) -> Tensor:
        weight = self._weights[name]
        if name not in self._weight_ranges:
            return weight
        return self._weight_ranges[name].quantize(weight.flatten(1)).reshape(weight.shape)

    def _layer_plan(self, name: str) -> LayerPlan:
        weight = self._weight_ranges[name].quantizer().encode(self._weights[name].detach().flatten(1).numpy())
        activation = self._input_ranges[name].quantizer() if name in self._input_ranges else None
        return LayerPlan(weight, activation, bias=self._biases[name].detach().numpy() if name in self._biases else None)


def _logits(outputs: Any) -> Tensor:
    import torch

    if isinstance(outputs, torch.Tensor):
        return outputs
    named = outputs if isinstance(outputs, Mapping) else dict(enumerate(outputs))
    tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    if len(tensors) != 1 and LOGITS not in tensors:
        raise QuantError(f"the model gives {', '.join(map(str, tensors))}; one must be called {LOGITS!r} to learn from")
    return tensors[LOGITS] if LOGITS in tensors else next(iter(tensors.values()))


def with_first_steps(network: Network, plan: QuantizationPlan) -> QuantizationPlan:
    """Return a fitted plan with the steps that LSQ starts from, 2 · mean|v|/√Qp of each block (`initial_step`).

    v are the weights, or what the layer receives from a batch of calibration images. Zero points stay, and with them
    how many steps there are above 0, Qp.
    """
    layers = {}
    for name, inputs in network.activations(list(plan.layers), stop=BATCH).items():
        layer, weight, activation = plan[name], plan[name].weight, plan[name].activation
        if isinstance(weight, Quantizer):
            weight = _with_first_step(weight, network.weight(name).reshape(network.layers()[name].matrix_shape))
        if isinstance(activation, Quantizer):
            activation = _with_first_step(activation, inputs)
        layers[name] = replace(layer, weight=weight, activation=activation)
    return QuantizationPlan(layers)


def _with_first_step(fitted: Quantizer, values: Float32Array) -> Quantizer:
    grid = fitted.spec.granularity.blocks(values.shape)
    blocks = np.split(grid.flatten(values), grid.offsets[1:-1])
    highest = fitted.spec.format.qmax - grid.from_grid(fitted.zero_point)
    steps = [initial_step(block, max(top, 1)) for block, top in zip(blocks, highest.tolist(), strict=True)]
    found = grid.to_grid(np.array(steps, np.float32))
    return replace(fitted, scale=np.where(found > 0, found, fitted.scale))


def validate_trainable(role: str, spec: QuantizerSpec) -> None:
    """Check that a spec's codes are integers of one step a block, which is all that is learned.

    Raises:
        QuantError: for another format, scales of a format of their own, and another rounding.
    """
    if not isinstance(spec.format, IntFormat):
        raise QuantError(f"QAT learns the steps of integers; the {role} has {spec.format}: give an IntFormat")
    if spec.scale_format is not None:
        raise QuantError(
            f"QAT learns steps in float32; the {role} has scale_format={spec.scale_format}: give scale_format=None"
        )
    if spec.rounding != "nearest":
        raise QuantError(f"QAT's gradient goes through rounding to nearest; the {role} has rounding={spec.rounding!r}")
