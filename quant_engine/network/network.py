"""A trained network whose tensors can be looked at, quantized and scored."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import Outputs, join_batches, split_batch
from quant_engine.checks import as_list
from quant_engine.errors import QuantError
from quant_engine.execution import (
    Executor,
    LayerChange,
    Override,
    SplitRunner,
    captured_inputs,
    executor_of,
    finite_outputs,
    joined_inputs,
    layer_changes,
    patched,
)
from quant_engine.inputs import Float32Array, Inputs
from quant_engine.models import (
    Layer,
    Model,
    Parameters,
    TorchModel,
    as_parameters,
    layer_of,
)
from quant_engine.network.freezing import Freezer
from quant_engine.plan import QuantizationPlan
from quant_engine.tasks import Result, Score, Task

if TYPE_CHECKING:
    from torch import nn


class Network:
    """A model and what measures it: layers, weights, what they receive, and scores under a quantization plan.

    Listing layers and reading weights of a built-in network needs no torch; running does.

    Example:
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> network.layers()["conv3"].shape
        (64, 32, 3, 3)
    """

    def __init__(self, model: Model, task: Task | None = None) -> None:
        """Keep the model and what measures it; without a task there is nothing to score."""
        if task is not None and not callable(getattr(task, "scores", None)):
            raise QuantError(f"task={task!r} is not a task; give one of quant_engine.tasks, such as Classification")
        self.model, self.task = model, task

    @property
    def name(self) -> str:
        """What messages call the network."""
        return self.model.name

    @property
    def title(self) -> str:
        """What a person calls the network."""
        return self.model.title

    @property
    def digest(self) -> str:
        """What tells its model apart from all others: a SHA-256 of all layers' names, shapes and values."""
        return self.model.digest

    def layers(self) -> MappingProxyType[str, Layer]:
        """Return the layers that have a weight, in the order in which they run."""
        return MappingProxyType(dict(self.model.layers))

    def weight(self, layer: str) -> Float32Array:
        """Return a layer's weight with BatchNorm folded in, read-only, or refuse where there is no such layer."""
        return self.model.parameters[layer_of(self.model, layer).name][0]

    def bias(self, layer: str) -> Float32Array | None:
        """Return a layer's bias (out,) with BatchNorm folded in, read-only, or None if it has none.

        Raises:
            QuantError: if there is no such layer.
        """
        return self.model.parameters[layer_of(self.model, layer).name][1]

    def bias_or_zeros(self, layer: str) -> Float32Array:
        """Return a layer's bias (out,), zeros if it has none."""
        bias = self.bias(layer)
        return np.zeros(self.model.layers[layer].shape[0], np.float32) if bias is None else bias

    def with_parameters(self, parameters: Parameters) -> Network:
        """Return this network with other weights and biases, in floating point, for some layers.

        Data and layers are the same; this network stays as it is. BatchNorms of changed layers are gone: what they
        remember are the outputs of the weights as they were.

        Raises:
            QuantError: for layers there are not, and arrays of other shapes.

        Example:
            >>> from quant_engine.network import load
            >>> network = load("fashion-cnn")
            >>> halved = network.with_parameters({"fc2": (network.weight("fc2") / 2, network.bias("fc2") / 2)})
            >>> halved.evaluate() == network.evaluate()
            True
        """
        return Network(self.model.with_parameters(as_parameters(self.model, parameters)), self.task)

    def data(self, split: str = "test") -> tuple[Any, NDArray[np.int64]]:
        """Return inputs (n, …) and their labels (n,).

        Raises:
            QuantError: for a split there is not, a task without labels, and a network without a task.
        """
        return self.given_task.data(split)

    def input_batches(self, split: str = "calibration", start: int = 0, stop: int | None = None) -> list[Inputs]:
        """Return the inputs of the samples `start` to `stop` of a split, consecutive ones of the same shape together.

        Raises:
            QuantError: for a split there is not, where no sample lies between both, and for a network without a task.
        """
        return self._runner.inputs(split, start, stop)

    def activations(
        self, layers: Iterable[str] | None = None, split: str = "calibration", start: int = 0, stop: int | None = None
    ) -> dict[str, Float32Array]:
        """Return the input of each layer in floating point, for the samples `start` to `stop` of a split, read-only.

        All layers by default. Shapes are (samples, *Layer.input_shape).

        Raises:
            QuantError: for a layer or split there is not, where no sample lies between `start` and `stop`, and where a
                layer's input has another shape for some samples.
        """
        return joined_inputs([*self.activation_batches(layers, split, start, stop)])

    def activation_batches(
        self, layers: Iterable[str] | None = None, split: str = "calibration", start: int = 0, stop: int | None = None
    ) -> Iterator[dict[str, Float32Array]]:
        """Yield what `activations` gives, consecutive samples of the same shape at a time.

        Raises:
            QuantError: for a layer or split there is not, and where no sample lies between `start` and `stop`.
        """
        wanted = tuple(self.model.layers if layers is None else as_list(layers, str, "layers", "give names of layers"))
        for name in wanted:
            layer_of(self.model, name)
        for inputs in self.input_batches(split, start, stop):
            yield self.capture(inputs, wanted)

    def capture(
        self, inputs: Any, layers: Iterable[str], plan: QuantizationPlan | None = None
    ) -> dict[str, Float32Array]:
        """Return what each layer receives of inputs, under a frozen plan or in floating point, read-only.

        Before the layer's own input is quantized. Inputs are given as to `run`.
        """
        batches = split_batch(self.model.as_inputs(inputs))
        return captured_inputs(self.executor, batches, tuple(layers), self.overrides(plan))

    def freeze(self, plan: QuantizationPlan, data: int | Inputs | Iterable[Inputs] | None = None) -> QuantizationPlan:
        """Return the plan with everything fitted that can be fixed.

        Every weight's spec is fitted to the weight, in the view (out, everything else). Every static activation's spec
        is fitted to what its layer receives in the floating-point network, observed in batches of 32 samples; other
        layers' plans do not change that. Dynamic activations stay specs. `data` are inputs as `run` takes them, or an
        iterable of such batches, read once; a number n means the first n calibration samples of the task, and None all.

        Raises:
            QuantError: for layers the network does not have, specs that do not fit, a granularity that cannot be static
                (`PerToken()` needs dynamic=True), layers that share a weight and are given different ones, inputs of
                another shape, static activations without data, and a network that computes NaN or infinity.

        Example:
            >>> from quant_engine.network import load
            >>> from quant_engine import IntFormat, LayerPlan, QuantizerSpec
            >>> spec = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
            >>> frozen = load("fashion-cnn").freeze(QuantizationPlan({"fc2": LayerPlan(activation=spec)}))
            >>> frozen.frozen, frozen["fc2"].activation.zero_point.tolist()
            (True, [[0]])
        """
        return self._freezer.freeze(plan, data)

    def logits(self, plan: QuantizationPlan | None = None, split: str = "test") -> Float32Array:
        """Return the network's outputs (n, classes) under a plan, as `predict` takes them.

        Raises:
            QuantError: as `freeze`, and for a task without labels.
        """
        self.data(split)
        outputs = join_batches([result.outputs for result in self.results(plan, split, against_float=False)])
        if isinstance(outputs, dict):
            raise QuantError(f"{self.name} gives {', '.join(outputs)}, and nothing says which its logits are; use run")
        return outputs

    def predict(self, plan: QuantizationPlan | None = None, split: str = "test") -> NDArray[np.int64]:
        """Return the predicted labels, shape (n,); layers before the first planned one are not run again.

        Activations that are rounded at random draw the same numbers, from seed 0, in every batch
        (`quant_engine.batches.BATCH` samples).

        Raises:
            QuantError: as `freeze`.
        """
        labels: NDArray[np.int64] = self.logits(plan, split).argmax(axis=1)
        return labels

    def evaluate(self, plan: QuantizationPlan | None = None, split: str = "test") -> Score:
        """Return the task's first score under a plan, or in floating point without one.

        Of a classification an `Accuracy`.

        Raises:
            QuantError: as `freeze`, for a split there is not, and for a network without a task.

        Example:
            >>> from quant_engine.network import load
            >>> print(load("fashion-cnn").evaluate())
            accuracy 0.9385 (95 %: 0.9271 to 0.9482, n = 2,000)
        """
        task = self.given_task
        return next(iter(task.scores(self.results(plan, split, task.compares)).values()))

    def scores(self, plan: QuantizationPlan | None = None, split: str = "test") -> dict[str, Score]:
        """Return all that the task measures under a plan, by name, against floating point too.

        Outputs go to the task batch by batch and are not kept.

        Raises:
            QuantError: as `evaluate`.
        """
        return self.given_task.scores(self.results(plan, split))

    def results(
        self, plan: QuantizationPlan | None = None, split: str = "test", against_float: bool = True
    ) -> Iterator[Result]:
        """Yield what the network makes of each batch of a split, compared with floating point unless told not to.

        Layers before the first planned one are not run again.

        Raises:
            QuantError: as `evaluate`.
        """
        return self.changed_results(
            None if plan is None else layer_changes(self.model, self.freeze(plan)), split, against_float
        )

    def changed_results(
        self,
        changes: Mapping[str, LayerChange] | None,
        split: str = "test",
        against_float: bool = True,
        following: Collection[str] | None = None,
    ) -> Iterator[Result]:
        """Yield what the network makes of each batch of a split with layers changed in any way, or None of them.

        A change has a key of its own: what other layers receive is kept under it. `following` are the layers that will
        be changed next, each alone, where that is known: nothing else is kept then.

        Raises:
            QuantError: for a split there is not, and for a network without a task.
        """
        return self._runner.results(split, changes, against_float, following)

    def run(self, inputs: Any, plan: QuantizationPlan | None = None) -> Outputs:
        """Return the outputs for a batch of inputs, under a plan or in floating point.

        Inputs are one array, for the only or first input of the model, or arrays by name, each (n, …); integers stay
        integers. Outputs are an array, or a dict of arrays by name where the model gives several.

        Raises:
            QuantError: as `freeze`; for inputs of another shape, none at all, and values that are not finite.
        """
        batches = [*split_batch(self.model.as_inputs(inputs))]
        overrides = self.overrides(None if plan is None else self.freeze(plan))
        return join_batches([*finite_outputs(self.executor, self.model.layers, overrides, batches)])

    @contextlib.contextmanager
    def patched(self, plan: QuantizationPlan) -> Iterator[nn.Module]:
        """Lend the very module that `from_module` was given, quantized by a plan; afterwards it is as it was.

        Weights, biases and the inputs of layers are those of the frozen plan, for whatever runs the module meanwhile:
        a user's own loop, `generate`, a trainer's evaluation. This network, and others of the same module, go on
        seeing it as it was. Only one thread at a time patches a module; others wait.

        Raises:
            QuantError: as `freeze`, and for a model that is no torch module of the user's.

        Example:
            >>> import torch
            >>> from quant_engine import IntFormat, LayerPlan, QuantizerSpec
            >>> from quant_engine.network import from_module
            >>> module = torch.nn.Sequential(torch.nn.Linear(64, 1))
            >>> plan = QuantizationPlan({"0": LayerPlan(QuantizerSpec(IntFormat(2)))})
            >>> with from_module(module).patched(plan) as same:
            ...     same is module, len(module[0].weight.unique()) <= 4
            (True, True)
        """
        if not isinstance(self.model, TorchModel):
            raise QuantError(f"{self.name} is no module of yours to patch; from_module(module) gives a network of one")
        overrides = self.overrides(self.freeze(plan))
        with patched(self.model.given, self.model.layers, overrides) as module:
            yield module

    def overrides(self, frozen: QuantizationPlan | None) -> dict[str, Override]:
        """Return what a frozen plan changes, for the executor."""
        return {name: change.override(name) for name, change in layer_changes(self.model, frozen).items()}

    @cached_property
    def executor(self) -> Executor:
        """What runs the network, in floating point or with layers changed."""
        return executor_of(self.model)

    @cached_property
    def _freezer(self) -> Freezer:
        return Freezer(self.model, self.task, self.capture)

    @cached_property
    def _runner(self) -> SplitRunner:
        return SplitRunner(self.model, self.executor, self.given_task)

    @property
    def given_task(self) -> Task:
        """The task, or a refusal where there is none."""
        if self.task is None:
            raise QuantError(f"{self.name} has no data: give from_module a task, such as Classification, to score it")
        return self.task
