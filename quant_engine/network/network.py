"""A trained network whose tensors can be looked at, quantized and scored."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import Outputs, cut, join_batches, merge_like, sample_count, split_batch
from quant_engine.checks import as_choice, as_instance, as_integer, as_list
from quant_engine.errors import QuantError
from quant_engine.execution import Executor, Override, PrefixRunner, as_outputs, as_tensors, executor_of, patched
from quant_engine.inputs import Float32Array, Inputs, as_float32, each_batch
from quant_engine.models import Layer, Model, Parameters, TorchModel, digest
from quant_engine.network.activations import LayerChange, layer_change, refuse_broken
from quant_engine.network.architectures import Architecture
from quant_engine.network.builtin_model import BuiltinModel
from quant_engine.network.calibration import Calibration
from quant_engine.network.cost import MEASURED_SAMPLES, ActivationCost, measure_cost
from quant_engine.network.effects import Effect, effect
from quant_engine.network.fisher import diagonal_fisher
from quant_engine.network.folding import BatchNorm
from quant_engine.network.planning import PLAN_REMEDY, check_shared, refuse_unfit
from quant_engine.plan import LayerPlan, Planned, QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec, fit
from quant_engine.tasks import SPLITS, Batch, Result, Score, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

PLAIN_BYTES = 32 << 20  # of a split's outputs in floating point: more of them are not kept, but computed again


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
        self._runs: dict[str, tuple[Sequence[Batch], PrefixRunner]] = {}
        self._plain: dict[str, list[Outputs]] = {}  # of splits in floating point
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """What messages call the network."""
        return self.model.name

    @property
    def title(self) -> str:
        """What a person calls the network."""
        return self.model.title

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all layers' names, shapes and values."""
        return digest(self.model.parameters)

    @property
    def architecture(self) -> Architecture:
        """The steps of a built-in network.

        Raises:
            QuantError: for another model.
        """
        return self._builtin.architecture

    def layers(self) -> MappingProxyType[str, Layer]:
        """Return the layers that have a weight, in the order in which they run."""
        return MappingProxyType(dict(self.model.layers))

    def weight(self, layer: str) -> Float32Array:
        """Return a layer's weight with BatchNorm folded in, read-only.

        Raises:
            QuantError: if there is no such layer.
        """
        self._check(layer)
        return self.model.parameters[layer][0]

    def bias(self, layer: str) -> Float32Array | None:
        """Return a layer's bias (out,) with BatchNorm folded in, read-only, or None if it has none.

        Raises:
            QuantError: if there is no such layer.
        """
        self._check(layer)
        return self.model.parameters[layer][1]

    def bias_or_zeros(self, layer: str) -> Float32Array:
        """Return a layer's bias (out,), zeros if it has none.

        Raises:
            QuantError: if there is no such layer.
        """
        bias = self.bias(layer)
        return np.zeros(self.model.layers[layer].shape[0], np.float32) if bias is None else bias

    def batch_norms(self) -> MappingProxyType[str, BatchNorm]:
        """Return the BatchNorm behind each layer that has one, and the layer's weight before it was folded in.

        Example:
            >>> from quant_engine.network import load
            >>> norm = load("fashion-cnn").batch_norms()["conv1"]
            >>> norm.mean.shape, norm.weight.shape
            ((16,), (16, 1, 3, 3))
        """
        return self._builtin.norms

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
        if not isinstance(parameters, Mapping):
            raise QuantError(f"parameters={parameters!r} are no mapping; give {{layer: (weight, bias)}}")
        given = {}
        for name, arrays in parameters.items():
            self._check(name)
            own = self.model.parameters[name]
            shapes = tuple(a if a is None else a.shape for a in own)
            if not isinstance(arrays, tuple | list) or len(arrays) != len(shapes):
                raise QuantError(f"layer {name!r} has {shapes}; give its parameters as (weight, bias)")
            weight = read_only(arrays[0], f"weight of {name!r}")
            bias = None if arrays[1] is None else read_only(arrays[1], f"bias of {name!r}")
            if (weight.shape, bias if bias is None else bias.shape) != shapes:
                others = weight.shape, bias if bias is None else bias.shape
                raise QuantError(f"layer {name!r} has {shapes}; its new parameters have {others[0]}, {others[1]}")
            given[name] = weight, bias
        return Network(self.model.with_parameters(given), self.task)

    def planned_weight(self, layer: str, plan: LayerPlan) -> Float32Array | None:
        """Return the weight that a frozen plan gives a layer, of the layer's shape, or None for its own.

        Raises:
            QuantError: if there is no such layer.
        """
        self._check(layer)
        as_instance(plan, LayerPlan, "plan", "give LayerPlan(weight, activation)")
        if isinstance(plan.weight, QuantizedTensor):
            return plan.weight.dequantize().reshape(self.model.layers[layer].shape)
        if isinstance(plan.weight, Quantizer):
            return plan.weight.fake_quantize(self._matrix(layer)).reshape(self.model.layers[layer].shape)
        return None

    def data(self, split: str = "test") -> tuple[Any, NDArray[np.int64]]:
        """Return inputs (n, …) and their labels (n,).

        Those of the built-in networks are normalised images (n, 1, 28, 28): 2,000 for test and, of the training images,
        512 for calibration, 2,000 for search and 6,000 for training, no image twice.

        Raises:
            QuantError: for a split there is not, a task without labels, and a network without a task.
        """
        return self._given_task.data(split)

    def activations(
        self, layers: Iterable[str] | None = None, split: str = "calibration", start: int = 0, stop: int | None = None
    ) -> dict[str, Float32Array]:
        """Return the input of each layer in floating point, for the samples `start` to `stop` of a split, read-only.

        All layers by default. Shapes are (samples, *Layer.input_shape).

        Raises:
            QuantError: for a layer or split there is not, and where no sample lies between `start` and `stop`.

        Example:
            >>> from quant_engine.network import load
            >>> load("fashion-cnn").activations(["fc2"], stop=3)["fc2"].shape
            (3, 96)
        """
        wanted = tuple(self.model.layers if layers is None else as_list(layers, str, "layers", "give names of layers"))
        for name in wanted:
            self._check(name)
        ends = as_integer(start, "start"), None if stop is None else as_integer(stop, "stop")
        given = join_batches([batch.inputs for batch in self._run_of(split)[0]])
        inputs = cut(given, *ends)
        if not sample_count(inputs):
            raise QuantError(
                f"no sample lies in [{start}:{stop}] of the {sample_count(given)} of {split!r}; widen the range"
            )
        return self.capture(inputs, wanted)

    def capture(
        self, inputs: Any, layers: Iterable[str], plan: QuantizationPlan | None = None
    ) -> dict[str, Float32Array]:
        """Return what each layer receives of inputs, under a frozen plan or in floating point, read-only.

        Before the layer's own input is quantized. Inputs are given as to `run`.
        """
        import torch

        wanted, overrides = tuple(layers), self.overrides(plan)
        with torch.inference_mode():
            parts = [
                self.executor.capture(as_tensors(part), wanted, overrides)
                for part in split_batch(self.model.as_inputs(inputs))
            ]
            found = {name: np.asarray(torch.cat([part[name] for part in parts]).numpy()) for name in wanted}
        for array in found.values():
            array.flags.writeable = False
        return found

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
            >>> from quant_engine import IntFormat, QuantizerSpec
            >>> spec = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
            >>> frozen = load("fashion-cnn").freeze(QuantizationPlan({"fc2": LayerPlan(activation=spec)}))
            >>> frozen.frozen, frozen["fc2"].activation.zero_point.tolist()
            (True, [[0]])
        """
        for name, layer in as_instance(plan, QuantizationPlan, "plan", PLAN_REMEDY).layers.items():
            self._check(name)
            refuse_unfit(self.model.layers[name], layer)
        check_shared(self.model.layers, plan)
        static = {
            name: layer.activation
            for name, layer in plan.layers.items()
            if isinstance(layer.activation, QuantizerSpec) and not layer.dynamic
        }
        fitted = self._fit_activations(static, data) if static else {}
        return QuantizationPlan(
            {
                name: replace(
                    layer, weight=self._fit_weight(name, layer.weight), activation=fitted.get(name, layer.activation)
                )
                for name, layer in plan.layers.items()
            }
        )

    def logits(self, plan: QuantizationPlan | None = None, split: str = "test") -> Float32Array:
        """Return the network's outputs (n, classes) under a plan, as `predict` takes them.

        Raises:
            QuantError: as `freeze`, and for a task without labels.
        """
        self.data(split)
        outputs = join_batches([*self._outputs(plan, split)])
        if isinstance(outputs, dict):
            raise QuantError(f"{self.name} gives {', '.join(outputs)}, and nothing says which its logits are; use run")
        return outputs

    def effect(self, plan: QuantizationPlan | None = None, split: str = "calibration") -> Effect:
        """Return accuracy and loss under a plan, and how far the outputs moved from floating point.

        On the calibration samples unless said otherwise, so that what is searched for with it can be scored honestly on
        test samples.

        Raises:
            QuantError: as `freeze`.
        """
        labels = self.data(split)[1]
        plain = np.concatenate([*self._plain_outputs(split)])
        return effect(plain, self.logits(plan, split), labels)

    def fisher(self) -> dict[str, Float32Array]:
        """Return the diagonal of each weight's empirical Fisher information, on the calibration images, read-only.

        The mean over the images of (∂ loss/∂ weight)², of the weight's shape; found once.
        """
        return dict(self._fisher)

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
        task = self._given_task
        return next(iter(task.scores(self._results(plan, split, task.compares)).values()))

    def scores(self, plan: QuantizationPlan | None = None, split: str = "test") -> dict[str, Score]:
        """Return all that the task measures under a plan, by name, against floating point too.

        Outputs go to the task batch by batch and are not kept.

        Raises:
            QuantError: as `evaluate`.
        """
        return self._given_task.scores(self._results(plan, split, True))

    def run(self, inputs: Any, plan: QuantizationPlan | None = None) -> Outputs:
        """Return the outputs for a batch of inputs, under a plan or in floating point.

        Inputs are one array, for the only or first input of the model, or arrays by name, each (n, …); integers stay
        integers. Outputs are an array, or a dict of arrays by name where the model gives several. Those of the built-in
        networks are the logits (n, classes) of normalised images (n, 1, 28, 28).

        Raises:
            QuantError: as `freeze`; for inputs of another shape, none at all, and values that are not finite.
        """
        import torch

        batches = [*split_batch(self.model.as_inputs(inputs))]
        overrides = self.overrides(None if plan is None else self.freeze(plan))
        with torch.inference_mode():
            results = [self.executor.run(as_tensors(batch), overrides) for batch in batches]
        return join_batches([*self._finite(results, batches, overrides)])

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
            >>> from quant_engine import IntFormat, QuantizerSpec
            >>> module = torch.nn.Sequential(torch.nn.Linear(64, 1))
            >>> network, plan = from_module(module), QuantizationPlan({"0": LayerPlan(QuantizerSpec(IntFormat(2)))})
            >>> with network.patched(plan) as same:
            ...     same is module, len(module[0].weight.unique()) <= 4
            (True, True)
            >>> len(module[0].weight.unique()) > 4
            True
        """
        if not isinstance(self.model, TorchModel):
            raise QuantError(f"{self.name} is no module of yours to patch; from_module(module) gives a network of one")
        overrides = self.overrides(self.freeze(plan))
        with patched(self.model.given, self.model.layers, overrides) as module:
            yield module

    def overrides(self, frozen: QuantizationPlan | None) -> dict[str, Override]:
        """Return what a frozen plan changes, for the executor."""
        return {name: change.override(name) for name, change in self._changes(frozen).items()}

    def activation_cost(self, plan: QuantizationPlan) -> dict[str, ActivationCost]:
        """Measure what dynamic quantization costs against static, for each layer whose activation is planned.

        Raises:
            QuantError: as `freeze`.
        """
        self.freeze(plan)
        planned = {name: layer.activation for name, layer in plan.layers.items() if layer.activation is not None}
        inputs = self.activations(planned, "test", stop=MEASURED_SAMPLES)
        return {name: measure_cost(inputs[name], activation) for name, activation in planned.items()}

    def _check(self, layer: str) -> None:
        if not isinstance(layer, str) or layer not in self.model.layers:
            raise QuantError(f"{self.name} has no layer {layer!r}; its layers are {', '.join(self.model.layers)}")

    def _fit_weight(self, layer: str, weight: Planned | None) -> Quantizer | QuantizedTensor | None:
        return fit(self._matrix(layer), weight) if isinstance(weight, QuantizerSpec) else weight

    def _fit_activations(
        self, static: dict[str, QuantizerSpec], data: int | Inputs | Iterable[Inputs] | None
    ) -> dict[str, Quantizer]:
        if data is None or isinstance(data, int | float | np.number):
            return self._calibration.quantizers(static, data)
        given = (self.model.as_inputs(batch) for batch in each_batch(data))
        return Calibration(self.capture, self.model.layers, given).quantizers(static)

    @cached_property
    def executor(self) -> Executor:
        """What runs the network, in floating point or with layers changed."""
        return executor_of(self.model)

    @property
    def _builtin(self) -> BuiltinModel:
        if not isinstance(self.model, BuiltinModel):
            raise QuantError(f"{self.name} is not a straight run of steps with BatchNorm, as the built-in networks are")
        return self.model

    def _changes(self, frozen: QuantizationPlan | None) -> dict[str, LayerChange]:
        plans = {} if frozen is None else frozen.layers
        return {
            name: layer_change(layer, self.planned_weight(name, layer), self.model.layers[name].channel_axis)
            for name, layer in plans.items()
        }

    def _finite(
        self, results: Iterable[Any], batches: Iterable[Inputs], overrides: Mapping[str, Override]
    ) -> Iterator[Outputs]:
        """Yield the outputs of each batch, or refuse what is not finite by the first layer to blame."""
        start = 0
        for result, batch in zip(results, batches, strict=True):
            outputs = as_outputs(result)
            for array in outputs.values() if isinstance(outputs, dict) else [outputs]:
                if not np.isfinite(array).all():
                    self._blame(batch, start, overrides)
                    refuse_broken("the network gives", array, start)
            start += sample_count(batch)
            yield outputs

    def _blame(self, batch: Inputs, start: int, overrides: Mapping[str, Override]) -> None:
        import torch

        def check(name: str, x: Tensor) -> None:
            refuse_broken(f"layer {name!r} receives", x.numpy(), start)

        with torch.inference_mode():
            taps = {name: partial(check, name) for name in self.model.layers}
            self.executor.run(as_tensors(batch), overrides, taps=taps)

    @cached_property
    def _fisher(self) -> dict[str, Float32Array]:
        return diagonal_fisher(self, *self.data("calibration"))

    @cached_property
    def _calibration(self) -> Calibration:
        if self.task is None or "calibration" not in self.task.splits:
            raise QuantError(
                f"{self.name} has no calibration data for static activations; give freeze(plan, data=inputs), or the "
                "network a task with a calibration split"
            )
        batches = merge_like(batch.inputs for batch in self._run_of("calibration")[0])
        return Calibration(self.capture, self.model.layers, batches)

    @property
    def _given_task(self) -> Task:
        if self.task is None:
            raise QuantError(f"{self.name} has no data: give from_module a task, such as Classification, to score it")
        return self.task

    def _results(self, plan: QuantizationPlan | None, split: str, against_float: bool) -> Iterator[Result]:
        """Yield what the network makes of each batch of a split; compared with floating point only if asked for."""
        batches = self._run_of(split)[0]
        if plan is None:
            for batch, outputs in zip(batches, self._plain_outputs(split), strict=True):
                yield Result(batch, outputs, outputs if against_float else None)
            return
        plain = self._plain_outputs(split) if against_float else [None] * len(batches)
        for batch, outputs, before in zip(batches, self._outputs(plan, split), plain, strict=True):
            yield Result(batch, outputs, before)

    def _outputs(self, plan: QuantizationPlan | None, split: str) -> Iterator[Outputs]:
        """Yield the outputs for each batch of a split; layers before the first planned one are not run again."""
        changes = self._changes(self.freeze(QuantizationPlan() if plan is None else plan))
        overrides = {name: change.override(name) for name, change in changes.items()}
        _, runner = self._run_of(split)
        results = runner.outputs(overrides, {name: change.key for name, change in changes.items()})
        return self._finite(results, runner.batches, overrides)

    def _plain_outputs(self, split: str) -> Iterator[Outputs]:
        """Yield the outputs for each batch of a split in floating point, and keep them if they are small."""
        with self._lock:
            kept = self._plain.get(split)
        if kept is not None:
            yield from kept
            return
        found: list[Outputs] = []
        size = 0
        for outputs in self._outputs(None, split):
            size += sum(array.nbytes for array in (outputs.values() if isinstance(outputs, dict) else [outputs]))
            found = [*found, outputs] if size <= PLAIN_BYTES else []
            yield outputs
        if size <= PLAIN_BYTES:
            with self._lock:
                self._plain[split] = found

    def _matrix(self, layer: str) -> Float32Array:
        return self.weight(layer).reshape(self.model.layers[layer].matrix_shape)

    def _run_of(self, split: str) -> tuple[Sequence[Batch], PrefixRunner]:
        """Return the batches of a split, and what runs the network on them."""
        task = self._given_task
        as_choice(split, [name for name in SPLITS if name in task.splits], "split")
        with self._lock:
            if split not in self._runs:
                batches = task.batches(split)
                inputs = [self.model.as_inputs(batch.inputs) for batch in batches]
                self._runs[split] = batches, PrefixRunner(self.executor, inputs)
            return self._runs[split]


def read_only(array: Any, name: str) -> Float32Array:
    """Return a float32 copy that cannot be written."""
    copy = as_float32(array, name).copy()
    copy.flags.writeable = False
    return copy


def from_module(module: nn.Module, task: Task | None = None, example: Any = None) -> Network:
    """Return any torch module as a network: its linear layers, convolutions and embeddings can be quantized.

    The module is put into evaluation mode and never changed otherwise. `example` is a batch of its inputs: it tells the
    order and the shapes of the layers, and where a run can begin and end, so that a changed layer costs only what lies
    behind it. A task brings data and scores.

    Raises:
        QuantError: for a module without a layer to quantize.

    Example:
        >>> import torch
        >>> from quant_engine import IntFormat, LayerPlan, QuantizationPlan, QuantizerSpec
        >>> module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> network = from_module(module, example=torch.ones(1, 4))
        >>> plan = QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(QuantizerSpec(IntFormat(8)))))
        >>> network.run(np.ones((3, 4), np.float32), plan).shape
        (3, 2)
    """
    return Network(TorchModel(module, example), task)
