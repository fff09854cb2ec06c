"""What a whole network takes under a plan: bytes of its weights, and an estimate of the energy of one inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from quant_engine.checks import as_instance
from quant_engine.energy import NOTHING, Energy, accumulate_energy, move_energy, multiplied_in, multiply_energy
from quant_engine.errors import QuantError
from quant_engine.formats import FP32
from quant_engine.models import Layer
from quant_engine.network import Network
from quant_engine.network.freezing import PLAN_REMEDY, validate_shared
from quant_engine.plan import LayerPlan, Planned, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec


@dataclass(frozen=True)
class LayerFootprint:
    """One layer's weight in bytes, everything stored counted, and what one image takes; energies are estimates.

    `multiply` and `accumulate` are of all multiplications and of adding up their products; `move` is of reading the
    weight once from DRAM. Activations, biases and control are left out.
    """

    size_bytes: int
    multiplications: int
    multiply: Energy
    accumulate: Energy
    move: Energy


@dataclass(frozen=True)
class Footprint:
    """The footprints of a network's layers by name, and their sums."""

    layers: Mapping[str, LayerFootprint]

    @property
    def size_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(layer.size_bytes for layer in self.layers.values())

    @property
    def multiplications(self) -> int:
        """Multiplications for one image."""
        return sum(layer.multiplications for layer in self.layers.values())

    @property
    def compute(self) -> Energy:
        """Estimated energy of multiplying and adding for one image."""
        return reduce(add, (layer.multiply + layer.accumulate for layer in self.layers.values()), NOTHING)

    @property
    def move(self) -> Energy:
        """Estimated energy of reading every weight once from DRAM."""
        return reduce(add, (layer.move for layer in self.layers.values()), NOTHING)


def footprint(network: Network, plan: QuantizationPlan | None = None) -> Footprint:
    """Return the footprint of a network under a plan; what is not planned is float32, what is shared is counted once.

    A layer multiplies in the wider format of its weight and its input (`multiplied_in`): weights alone in few bits save
    memory and moving, but no multiplying.

    Raises:
        QuantError: for layers the network does not have, blocks that do not fit a weight, and layers that share
            a weight and are given different ones.

    Example:
        >>> from quant_engine import IntFormat
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> plain = footprint(network)
        >>> plain.size_bytes, plain.layers["fc2"].multiplications
        (317760, 960)
        >>> spec = QuantizerSpec(IntFormat(8))
        >>> footprint(network, QuantizationPlan({"fc2": LayerPlan(spec, spec)})).layers["fc2"].multiply.basis
        'measured'
    """
    layers = as_instance(network, Network, "network", "load() gives one").layers()
    chosen = QuantizationPlan() if plan is None else as_instance(plan, QuantizationPlan, "plan", PLAN_REMEDY)
    for name in chosen.layers:
        if name not in layers:
            raise QuantError(f"{network.name} has no layer {name!r}; its layers are {', '.join(layers)}")
    validate_shared(layers, chosen)
    return Footprint({name: _of_layer(info, chosen[name]) for name, info in layers.items()})


def _of_layer(info: Layer, plan: LayerPlan) -> LayerFootprint:
    form = multiplied_in(_format(plan.weight), _format(plan.activation))
    bits = info.parameters * FP32.bits if plan.weight is None else _spec(plan.weight).storage(info.matrix_shape).bits
    bits = 0 if info.tied_to else bits
    return LayerFootprint(
        size_bytes=-(-bits // 8),
        multiplications=info.multiplications,
        multiply=multiply_energy(form) * info.multiplications,
        accumulate=accumulate_energy(form) * info.multiplications,
        move=move_energy(bits),
    )


def _format(planned: Planned | None) -> Any:
    return FP32 if planned is None else _spec(planned).format


def _spec(planned: Planned) -> QuantizerSpec:
    return planned if isinstance(planned, QuantizerSpec) else planned.spec
