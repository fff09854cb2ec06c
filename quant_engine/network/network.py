"""A trained network whose tensors can be looked at, quantized and scored."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_choice, as_instance, as_integer, as_list
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array
from quant_engine.network.accuracy import Accuracy
from quant_engine.network.activations import layer_change
from quant_engine.network.architectures import ARCHITECTURES, Architecture
from quant_engine.network.calibration import Calibration
from quant_engine.network.cost import MEASURED_IMAGES, ActivationCost, measure_cost
from quant_engine.network.effects import Effect, effect
from quant_engine.network.evaluation import Runner, layer_inputs
from quant_engine.network.files import BUILTIN
from quant_engine.network.fisher import diagonal_fisher
from quant_engine.network.folding import BatchNorm
from quant_engine.network.images import SPLITS, Split, as_images, read_images
from quant_engine.network.layers import LayerInfo, Parameters, read_layers, read_norms, with_others
from quant_engine.network.planning import PLAN_REMEDY, check_shared, refuse_unfit
from quant_engine.plan import LayerPlan, Planned, QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec, fit


class Network:
    """A built-in network: its layers, folded weights, data, and accuracy under a quantization plan.

    Listing layers and reading weights needs no torch; predicting does.

    Example:
        >>> network = load("fashion-cnn")
        >>> network.layers()["conv3"].shape
        (64, 32, 3, 3)
    """

    def __init__(self, name: str, architecture: Architecture) -> None:
        """Read the stored weights and fold every BatchNorm."""
        from safetensors.numpy import load

        self.name = name
        self.title = architecture.title
        self.architecture = architecture
        stored = load((BUILTIN / f"{name}.safetensors").read_bytes())
        self._layers, self._parameters = read_layers(architecture, stored)
        self._norms = read_norms(architecture, stored)
        self._runners: dict[str, Runner] = {}
        self._plain: dict[str, Float32Array] = {}  # logits in floating point
        self._lock = threading.Lock()

    def layers(self) -> MappingProxyType[str, LayerInfo]:
        """Return the layers that have a weight, in the order in which they run."""
        return MappingProxyType(self._layers)

    def weight(self, layer: str) -> Float32Array:
        """Return a layer's weight with BatchNorm folded in, read-only.

        Raises:
            QuantError: if there is no such layer.
        """
        self._check(layer)
        return self._parameters[layer][0]

    def bias(self, layer: str) -> Float32Array:
        """Return a layer's bias (out,) with BatchNorm folded in, read-only.

        Raises:
            QuantError: if there is no such layer.
        """
        self._check(layer)
        return self._parameters[layer][1]

    def batch_norms(self) -> MappingProxyType[str, BatchNorm]:
        """Return the BatchNorm behind each layer that has one, and the layer's weight before it was folded in.

        Example:
            >>> norm = load("fashion-cnn").batch_norms()["conv1"]
            >>> norm.mean.shape, norm.weight.shape
            ((16,), (16, 1, 3, 3))
        """
        return MappingProxyType(self._norms)

    def with_parameters(self, parameters: Parameters) -> Network:
        """Return this network with other weights and biases, in floating point, for some layers.

        Data and layers are the same; this network stays as it is. BatchNorms of changed layers are gone: what they
        remember are the outputs of the weights as they were.

        Raises:
            QuantError: for layers there are not, and arrays of other shapes.

        Example:
            >>> network = load("fashion-cnn")
            >>> halved = network.with_parameters({"fc2": (network.weight("fc2") / 2, network.bias("fc2") / 2)})
            >>> halved.evaluate() == network.evaluate()
            True
        """
        if not isinstance(parameters, Mapping):
            raise QuantError(f"parameters={parameters!r} are no mapping; give {{layer: (weight, bias)}}")
        for name in parameters:
            self._check(name)
        other = Network(self.name, self.architecture)
        other._parameters = with_others(self._parameters, parameters)
        other._norms = {name: norm for name, norm in self._norms.items() if name not in parameters}
        return other

    def planned_weight(self, layer: str, plan: LayerPlan) -> Float32Array | None:
        """Return the weight that a frozen plan gives a layer, of the layer's shape, or None for its own.

        Raises:
            QuantError: if there is no such layer.
        """
        self._check(layer)
        as_instance(plan, LayerPlan, "plan", "give LayerPlan(weight, activation)")
        if isinstance(plan.weight, QuantizedTensor):
            return plan.weight.dequantize().reshape(self._layers[layer].shape)
        if isinstance(plan.weight, Quantizer):
            return plan.weight.fake_quantize(self._matrix(layer)).reshape(self._layers[layer].shape)
        return None

    def data(self, split: Split = "test") -> tuple[Float32Array, NDArray[np.int64]]:
        """Return normalised images (n, 1, 28, 28) and their labels (n,).

        2,000 for test, 512 for calibration, and 6,000 others for training: 600 a class, drawn from the training images.

        Raises:
            QuantError: for another split.
        """
        return read_images(split)

    def activations(
        self, layers: Iterable[str] | None = None, split: Split = "calibration", start: int = 0, stop: int | None = None
    ) -> dict[str, Float32Array]:
        """Return the input of each layer in floating point, for the images `start` to `stop` of a split, read-only.

        All layers by default. Shapes are (images, *LayerInfo.input_shape); the first layer's input are the normalised
        pixels. The logits are `run(images)`.

        Raises:
            QuantError: for a layer or split there is not, and where no image lies between `start` and `stop`.

        Example:
            >>> load("fashion-cnn").activations(["fc2"], stop=3)["fc2"].shape
            (3, 96)
        """
        wanted = tuple(self._layers if layers is None else as_list(layers, str, "layers", "give names of layers"))
        for name in wanted:
            self._check(name)
        ends = as_integer(start, "start"), None if stop is None else as_integer(stop, "stop")
        images = self.data(split)[0][slice(*ends)]
        if not len(images):
            raise QuantError(
                f"no image lies in [{start}:{stop}] of the {len(self.data(split)[0])} of {split!r}; widen the range"
            )
        return layer_inputs(self.architecture, self._parameters, images, wanted)

    def freeze(self, plan: QuantizationPlan, images: int | Float32Array | None = None) -> QuantizationPlan:
        """Return the plan with everything fitted that can be fixed.

        Every weight's spec is fitted to the weight, in the view (out, everything else). Every static activation's spec
        is fitted to what its layer receives in the floating-point network for the first `images` calibration images
        (all 512 by default), or for the normalised images (n, 1, 28, 28) given, observed in batches of 32; other
        layers' plans do not change that. Dynamic activations stay specs.

        Raises:
            QuantError: for layers the network does not have, specs that do not fit, a granularity that cannot be static
                (`PerToken()` needs dynamic=True), layers that share a weight and are given different ones, images of
                another shape, and a network that computes NaN or infinity.

        Example:
            >>> from quant_engine import IntFormat, QuantizerSpec
            >>> spec = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
            >>> frozen = load("fashion-cnn").freeze(QuantizationPlan({"fc2": LayerPlan(activation=spec)}))
            >>> frozen.frozen, frozen["fc2"].activation.zero_point.tolist()
            (True, [[0]])
        """
        for name, layer in as_instance(plan, QuantizationPlan, "plan", PLAN_REMEDY).layers.items():
            self._check(name)
            refuse_unfit(self._layers[name], layer)
        check_shared(self._layers, plan)
        static = {
            name: layer.activation
            for name, layer in plan.layers.items()
            if isinstance(layer.activation, QuantizerSpec) and not layer.dynamic
        }
        fitted = self._fit_activations(static, images) if static else {}
        return QuantizationPlan(
            {
                name: replace(
                    layer, weight=self._fit_weight(name, layer.weight), activation=fitted.get(name, layer.activation)
                )
                for name, layer in plan.layers.items()
            }
        )

    def logits(self, plan: QuantizationPlan | None = None, data: Split = "test") -> Float32Array:
        """Return the network's outputs (n, classes) under a plan, as `predict` takes them.

        Raises:
            QuantError: as `freeze`.
        """
        frozen = self.freeze(QuantizationPlan() if plan is None else plan)
        changes = {name: layer_change(layer, self.planned_weight(name, layer)) for name, layer in frozen.layers.items()}
        return self._runner(data).logits(changes)

    def effect(self, plan: QuantizationPlan | None = None, data: Split = "calibration") -> Effect:
        """Return accuracy and loss under a plan, and how far the outputs moved from floating point.

        On the calibration images unless said otherwise, so that what is searched for with it can be scored honestly on
        test images.

        Raises:
            QuantError: as `freeze`.
        """
        as_choice(data, SPLITS, "data")
        with self._lock:
            plain = self._plain.get(data)
        if plain is None:
            plain = self.logits(None, data)
            with self._lock:
                self._plain[data] = plain
        return effect(plain, self.logits(plan, data), self.data(data)[1])

    def fisher(self) -> dict[str, Float32Array]:
        """Return the diagonal of each weight's empirical Fisher information, on the calibration images, read-only.

        The mean over the images of (∂ loss/∂ weight)², of the weight's shape; found once.
        """
        return dict(self._fisher)

    def predict(self, plan: QuantizationPlan | None = None, data: Split = "test") -> NDArray[np.int64]:
        """Return the predicted labels, shape (n,); layers before the first planned one are not run again.

        Activations that are rounded at random draw the same numbers, from seed 0, in every batch of images
        (`quant_engine.network.evaluation.BATCH` of them).

        Raises:
            QuantError: as `freeze`.
        """
        labels: NDArray[np.int64] = self.logits(plan, data).argmax(axis=1)
        return labels

    def evaluate(self, plan: QuantizationPlan | None = None, data: Split = "test") -> Accuracy:
        """Return how many labels are predicted correctly under a plan, or in floating point without one."""
        predicted = self.predict(plan, data)
        _, labels = self.data(data)
        return Accuracy(int((predicted == labels).sum()), len(labels))

    def run(self, inputs: Float32Array) -> Float32Array:
        """Return the logits (n, classes) of normalised images (n, 1, 28, 28) in floating point.

        Raises:
            QuantError: for images of another shape, none at all, and values that are not finite.
        """
        images = as_images(inputs, self.architecture.input_shape)
        return Runner(self.architecture, self._parameters, images).logits({})

    def activation_cost(self, plan: QuantizationPlan) -> dict[str, ActivationCost]:
        """Measure what dynamic quantization costs against static, for each layer whose activation is planned.

        Raises:
            QuantError: as `freeze`.
        """
        self.freeze(plan)
        planned = {name: layer.activation for name, layer in plan.layers.items() if layer.activation is not None}
        inputs = self.activations(planned, "test", stop=MEASURED_IMAGES)
        return {name: measure_cost(inputs[name], activation) for name, activation in planned.items()}

    def _check(self, layer: str) -> None:
        if not isinstance(layer, str) or layer not in self._layers:
            raise QuantError(f"{self.name} has no layer {layer!r}; its layers are {', '.join(self._layers)}")

    def _fit_weight(self, layer: str, weight: Planned | None) -> Quantizer | QuantizedTensor | None:
        return fit(self._matrix(layer), weight) if isinstance(weight, QuantizerSpec) else weight

    def _fit_activations(
        self, static: dict[str, QuantizerSpec], images: int | Float32Array | None
    ) -> dict[str, Quantizer]:
        if images is None or isinstance(images, int | float | np.number):
            return self._calibration.quantizers(static, images)
        given = as_images(images, self.architecture.input_shape)
        return Calibration(self.architecture, self._layers, self._parameters, given).quantizers(static)

    @cached_property
    def _fisher(self) -> dict[str, Float32Array]:
        return diagonal_fisher(self.architecture, self._layers, self._parameters, *self.data("calibration"))

    @cached_property
    def _calibration(self) -> Calibration:
        return Calibration(self.architecture, self._layers, self._parameters, self.data("calibration")[0])

    def _matrix(self, layer: str) -> Float32Array:
        return self.weight(layer).reshape(self._layers[layer].matrix_shape)

    def _runner(self, split: Split) -> Runner:
        as_choice(split, SPLITS, "data")
        with self._lock:
            if split not in self._runners:
                self._runners[split] = Runner(self.architecture, self._parameters, self.data(split)[0])
            return self._runners[split]


def load(name: str) -> Network:
    """Return a built-in network by name.

    Raises:
        QuantError: for another name.
    """
    as_choice(name, ARCHITECTURES, "name of a built-in network")
    return Network(name, ARCHITECTURES[name])
