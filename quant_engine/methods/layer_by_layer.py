"""A network run layer by layer, in floating point and as quantized so far, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quant_engine.batches import merge_like, split_batch
from quant_engine.errors import QuantError
from quant_engine.execution import LayerInputs, Override, as_tensors, draw_rows
from quant_engine.inputs import Float32Array, Float64Array, Inputs
from quant_engine.models import Layer, OnnxModel, Span
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import Quantizer

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 64  # samples that run at once, and whose patches are in memory at once


@dataclass(frozen=True, eq=False)
class LayerVisit:
    """A layer whose turn it is, with what it receives: in floating point, and as the quantized layer sees it.

    `relu` says whether a ReLU takes what it gives.
    """

    layer: Layer
    weight: Float32Array  # (out, in/groups · kernel)
    bias: Float32Array
    x: LayerInputs
    x_hat: LayerInputs
    relu: bool

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name

    def outputs(self, x: Tensor) -> Tensor:
        """Return Wx + b, (rows, out), of rows (groups, rows, in)."""
        import torch

        weight = torch.from_numpy(self.weight.copy()).reshape(self.layer.groups, -1, self.weight.shape[1])
        outputs = (x @ weight.transpose(1, 2)).transpose(0, 1).reshape(x.shape[1], -1)
        return outputs + torch.from_numpy(self.bias.copy())

    def samples(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return about `count` rows of what it receives, as `draw_rows`: in floating point and as quantized so far."""
        return draw_rows((self.x, self.x_hat), count, seed)


def inputs_of(network: Network, split: str) -> list[Inputs]:
    """Return the inputs of a split; those of like shapes are one.

    Raises:
        QuantError: for a split there is not.
    """
    if network.task is None:
        raise QuantError(f"{network.name} has no data: give from_module a task with a {split} split")
    return merge_like(network.model.as_inputs(batch.inputs) for batch in network.task.batches(split))


def layer_hessian(network: Network, layer: str) -> Float64Array:
    """Return H = XXᵀ/n of what a layer receives from the calibration data in floating point: (groups, in, in).

    n counts samples and the places of a convolution; `layer_error` with this H is a mean over them.
    """
    network.weight(layer)  # a layer that is not there is refused
    untouched = dict.fromkeys(network.layers(), LayerPlan())
    return next(visit.x.hessian() for visit in layer_by_layer(network, untouched) if visit.name == layer)


def layer_by_layer(network: Network, plans: Mapping[str, LayerPlan]) -> Iterator[LayerVisit]:
    """Come to one layer after the other, on the calibration data; embeddings, which multiply nothing, are passed over.

    `plans` holds a fitted quantizer for every layer's input (or None). When the next layer is asked for, this one runs
    as its plan then says: the caller puts there what it has found. What is in memory is the state of one span of the
    trace (`Trace.spans`): a step of a sequential model, a block of a transformer.
    """
    layers = network.layers()
    plain, quantized = _State(network), _State(network)
    for span in network.executor.trace.spans:
        x = plain.advance(span, {})
        chosen: dict[str, LayerPlan] = {}
        for name in span.layers:
            if layers[name].op != "embedding":
                received = quantized.receive(span, name, network.overrides(QuantizationPlan(chosen)))
                x_hat = LayerInputs(layers[name], _quantized(received, plans[name].activation))
                matrix, bias = network.weight(name).reshape(layers[name].matrix_shape), network.bias_or_zeros(name)
                inputs = LayerInputs(layers[name], x[name])
                yield LayerVisit(layers[name], matrix, bias, inputs, x_hat, _before_relu(network, name))
            chosen[name] = plans[name]
        if span.stop is not None:
            quantized.advance(span, network.overrides(QuantizationPlan(chosen)))


def _quantized(received: list[Tensor], activation: object) -> list[Tensor]:
    import torch

    if not isinstance(activation, Quantizer):
        return received
    return [torch.from_numpy(activation.fake_quantize(part.numpy())) for part in received]


def _before_relu(network: Network, layer: str) -> bool:
    """Return whether what a layer gives goes straight into a ReLU, the next stage of a torch module."""
    if isinstance(network.model, OnnxModel):
        return False
    from torch import nn

    names = [stage.name for stage in network.executor.trace.stages]
    at = names.index(layer) + 1 if layer in names else len(names)
    return at < len(names) and isinstance(network.model.module.get_submodule(names[at]), nn.ReLU)


class _State:
    """How far a run has come: what the next span receives, some samples at a time, which is quicker."""

    def __init__(self, network: Network) -> None:
        self._executor = network.executor
        whole = inputs_of(network, "calibration")
        self._inputs = [as_tensors(part) for inputs in whole for part in split_batch(inputs, BATCH)]
        self._received: list[Any] | None = None  # None before the first span

    def receive(self, span: Span, layer: str, overrides: Mapping[str, Override]) -> list[Tensor]:
        """Return what a layer of a span receives."""
        import torch

        with torch.no_grad():
            return [self._executor.capture(part, [layer], overrides, start)[layer] for part, start in self._each(span)]

    def advance(self, span: Span, overrides: Mapping[str, Override]) -> dict[str, list[Tensor]]:
        """Run a span, and return what its layers receive."""
        import torch

        found: dict[str, list[Tensor]] = {layer: [] for layer in span.layers}
        taps = {layer: parts.append for layer, parts in found.items()}
        reached = []
        with torch.no_grad():
            for part, start in self._each(span):
                given = self._executor.run(part, overrides, taps=taps, start=start, stop=span.stop)
                reached.append(given if span.stop is not None else None)  # the outputs of the model are not needed
        self._received = reached
        return found

    def _each(self, span: Span) -> Iterator[tuple[Any, tuple[int, Tensor] | None]]:
        for i, part in enumerate(self._inputs):
            yield part, None if span.start is None or self._received is None else (span.start, self._received[i])
