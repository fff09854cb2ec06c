"""Any torch module as a model: its linear layers, convolutions and embeddings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Inputs, as_model_inputs
from quant_engine.models.base import Parameters, digest
from quant_engine.models.fx_graph import read_graph
from quant_engine.models.graph import ANYTHING, Graph
from quant_engine.models.layer import Layer, Op, Range, ties
from quant_engine.models.norms import NormStatistics, statistics_of
from quant_engine.models.trace import shared_copy, trace

if TYPE_CHECKING:
    from torch import nn


class TorchModel:
    """A module in evaluation mode; only `Network.patched` changes the `given` one, for a while.

    `example` is one batch of inputs (a tensor, a tuple of positional arguments or a mapping of named ones). It tells in
    which order the layers run, what shapes they receive and give, and where a run can begin and end; without it only an
    `nn.Sequential` knows these places, and no layer its shapes.

    Raises:
        QuantError: for a module without a layer, and weights that are not real numbers.
    """

    def __init__(self, module: nn.Module, example: Any = None, name: str = "") -> None:
        """Find the layers; without a name, the model has that of the module's class."""
        ops = _ops()
        self.given = module.eval()
        self.module = shared_copy(module)  # its own structure: nobody sees what is patched into the given one
        self.name = self.title = name or type(module).__name__
        names = [name for name, part in module.named_modules() if name and isinstance(part, tuple(ops))]
        if not names:
            raise QuantError(
                f"{self.name} has no layer to quantize inside; a model has some of "
                f"{', '.join(op.__name__ for op in ops)} inside, if need be in torch.nn.Sequential"
            )
        self.example = example
        self.trace = trace(module, names, example)

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        """The layers, in the order in which they run."""
        ops, shapes, ranges = _ops(), self.trace.shapes, self._input_ranges()
        first: dict[int, str] = {}
        found = {}
        for name in self.trace.layers:
            part = self.module.get_submodule(name)
            own = first.setdefault(id(part.weight), name)
            found[name] = Layer(
                name=name,
                op=next(op for kind, op in ops.items() if isinstance(part, kind)),
                shape=tuple(part.weight.shape),  # type: ignore[arg-type]
                tensor=f"{own}.weight",
                has_bias=getattr(part, "bias", None) is not None,
                shapes=shapes.get(name),
                groups=getattr(part, "groups", 1),
                stride=getattr(part, "stride", ()),
                padding=_padding(part),
                dilation=getattr(part, "dilation", ()),
                tied_to=None if own == name else own,
                input_range=ranges.get(name, ANYTHING),
            )
        return MappingProxyType(found)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all layers' names, shapes and values."""
        return digest(self.parameters)

    @cached_property
    def operators(self) -> Graph:
        """What the module computes, operator by operator.

        Raises:
            QuantError: without an example of one tensor, and as `read_graph`.
        """
        from torch import Tensor

        if not isinstance(self.example, Tensor):
            raise QuantError(
                f"what {self.name} computes is read with an example; give from_module one, a tensor of inputs"
            )
        return read_graph(shared_copy(self.module), self.example)

    @cached_property
    def statistics(self) -> NormStatistics | None:
        """What its BatchNorms remember, where the example is one tensor of real numbers."""
        from torch import Tensor

        known = isinstance(self.example, Tensor) and self.example.is_floating_point()
        return statistics_of(self.module, tuple(self.example.shape[1:])) if known else None

    @cached_property
    def parameters(self) -> Parameters:
        """Each layer's weight and bias as float32, read-only."""
        return MappingProxyType({name: self._arrays(name) for name in self.layers})

    def with_parameters(self, parameters: Parameters) -> TorchModel:
        """Return a copy with other weights and biases for some layers; those tied to one have its new weight too.

        Norms may be given as well, by the names that they have in the module.
        """
        import torch
        from torch import nn

        def parameter(array: Float32Array) -> nn.Parameter:
            return nn.Parameter(torch.from_numpy(array.copy()), requires_grad=False)

        copy, users = shared_copy(self.module), ties(self.layers)
        for name, (weight, bias) in parameters.items():
            new, own = parameter(weight), self.layers[name].tied_to if name in self.layers else None
            for user in users.get(own or name, (name,)):
                copy.get_submodule(user).weight = new
            if bias is not None:
                copy.get_submodule(name).bias = parameter(bias)
        return TorchModel(copy, self.example, self.name)

    def as_inputs(self, inputs: Any) -> Inputs:
        """Return a batch of inputs: an array for the first or only one, or arrays by the names of `forward`.

        Raises:
            QuantError: as `as_model_inputs`, and for names that `forward` does not take.
        """
        given = as_model_inputs(inputs)
        if isinstance(given, Mapping):
            signature = inspect.signature(self.module.forward)
            try:
                signature.bind(**given)
            except TypeError as error:
                raise QuantError(f"{self.name} takes forward{signature}, not {', '.join(given)}: {error}") from error
        return given

    def _input_ranges(self) -> Mapping[str, Range]:
        """Return between which values all lies that layers receive, where the graph can be read."""
        try:
            return self.operators.input_ranges
        except QuantError:
            return {}

    def _arrays(self, name: str) -> tuple[Float32Array, Float32Array | None]:
        part = self.module.get_submodule(name)
        bias = getattr(part, "bias", None)
        return _array(part.weight), None if bias is None else _array(bias)


def _padding(part: Any) -> tuple[tuple[int, int], ...]:
    """Return the zeros before and after each axis of what a convolution receives."""
    given = getattr(part, "padding", ())
    if given == "same":  # as torch halves an odd number
        sums = [dilation * (kernel - 1) for dilation, kernel in zip(part.dilation, part.kernel_size, strict=True)]
        return tuple((total // 2, total - total // 2) for total in sums)
    return ((0, 0),) * len(part.kernel_size) if given == "valid" else tuple((n, n) for n in given)


def _array(parameter: Any) -> Float32Array:
    array: Float32Array = parameter.detach().float().cpu().numpy().copy()
    array.flags.writeable = False
    return array


def _ops() -> dict[type, Op]:
    from torch import nn

    return {nn.Linear: "linear", nn.Conv1d: "conv1d", nn.Conv2d: "conv2d", nn.Embedding: "embedding"}
