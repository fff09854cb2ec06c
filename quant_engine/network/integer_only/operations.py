"""How many integer operations one image takes, and an estimate of their energy beside FP32."""

from __future__ import annotations

import math
from dataclasses import dataclass

from quant_engine.checks import as_instance, as_integer
from quant_engine.energy import (
    NOTHING,
    Energy,
    accumulate_energy,
    move_energy,
    multiplied_in,
    multiply_energy,
    requantize_energy,
)
from quant_engine.formats import IntFormat
from quant_engine.network.architectures import Shape
from quant_engine.network.integer_only.program import (
    AddUp,
    IntegerProgram,
    Largest,
    MultiplyAccumulate,
    Requantize,
    Rescale,
)
from quant_engine.network.network import Network

CODE = IntFormat(8)


@dataclass(frozen=True)
class Operations:
    """Integer operations of one image: 8-bit multiplications, int32 additions, requantizations, comparisons of codes.

    Padding is multiplied like everything else. A sum starts at its offset, so it takes one addition a product; sums
    over the picture add to it. A requantization is a multiplication of 32 by 32 bits with its roundings and shift.
    """

    multiplications: int
    additions: int
    requantizations: int
    comparisons: int
    weight_bits: int

    @property
    def multiply(self) -> Energy:
        """Estimated energy of the 8-bit multiplications; 4-bit weights are multiplied as wide as the codes are."""
        return multiply_energy(multiplied_in(CODE)) * self.multiplications

    @property
    def add(self) -> Energy:
        """Estimated energy of additions and comparisons, each as one of 32 bits."""
        return accumulate_energy(CODE) * (self.additions + self.comparisons)

    @property
    def requantize(self) -> Energy:
        """Estimated energy of requantizing."""
        return requantize_energy() * self.requantizations

    @property
    def compute(self) -> Energy:
        """Estimated energy of all of them."""
        return self.multiply + self.add + self.requantize

    @property
    def move(self) -> Energy:
        """Estimated energy of reading every weight's code once from DRAM."""
        return move_energy(self.weight_bits) if self.weight_bits else NOTHING


def count_operations(network: Network, program: IntegerProgram, weight_bits: int = 8) -> Operations:
    """Return what one image takes; weights are stored in `weight_bits` each, 1 to 8.

    Raises:
        QuantError: for other widths, and for what is no network and its program.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan, QuantizationPlan, QuantizerSpec
        >>> from quant_engine.network import load
        >>> from quant_engine.network.integer_only import compile_plan
        >>> network, activation = load("fashion-cnn"), QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
        >>> layer = LayerPlan(QuantizerSpec(IntFormat(8)), activation)
        >>> program = compile_plan(network, QuantizationPlan(dict.fromkeys(network.layers(), layer)))
        >>> found = count_operations(network, program)
        >>> found.multiplications, found.requantizations, found.compute.basis
        (1975488, 22048, 'measured')
    """
    as_instance(program, IntegerProgram, "program", "compile_plan() gives one")
    shapes = _output_shapes(as_instance(network, Network, "network", "load() gives one"))
    weight_bits = as_integer(weight_bits, "weight_bits", 1, CODE.bits)
    multiplications = additions = requantizations = comparisons = weights = 0
    shape: Shape = network.architecture.input_shape
    for step in program.steps:
        if isinstance(step, MultiplyAccumulate):
            products = network.layers()[step.name].multiplications
            multiplications, additions = multiplications + products, additions + products
            weights += step.weight.size
            shape = network.layers()[step.name].output_shape
        elif isinstance(step, Requantize | Rescale):
            requantizations += math.prod(shape)
        elif isinstance(step, AddUp):
            additions += math.prod(shape)
            shape = shapes[step.name]
        elif isinstance(step, Largest):
            shape = shapes[step.name]
            comparisons += 3 * math.prod(shape)
    return Operations(multiplications, additions, requantizations, comparisons, weights * weight_bits)


def _output_shapes(network: Network) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    shape = network.architecture.input_shape
    for step in network.architecture.steps:
        shape = shapes[step.name] = step.output_shape(shape)
    return shapes
