"""How many integer operations one image takes, and an estimate of their energy beside FP32."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

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
from quant_engine.integer_only.accumulator import WORD
from quant_engine.integer_only.program import IntegerProgram
from quant_engine.integer_only.steps import (
    Add,
    AddUp,
    AddWindows,
    Clamp,
    Largest,
    MultiplyAccumulate,
    Requantize,
    Rescale,
)
from quant_engine.network import Network

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
        >>> from quant_engine.integer_only import compile_plan
        >>> network, activation = load("fashion-cnn"), QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
        >>> layer = LayerPlan(QuantizerSpec(IntFormat(8)), activation)
        >>> program = compile_plan(network, QuantizationPlan(dict.fromkeys(network.layers(), layer)))
        >>> found = count_operations(network, program)
        >>> found.multiplications, found.requantizations, found.compute.basis
        (1975488, 22048, 'measured')
    """
    as_instance(network, Network, "network", "load() gives one")
    as_instance(program, IntegerProgram, "program", "compile_plan() gives one")
    weight_bits = as_integer(weight_bits, "weight_bits", 1, CODE.bits)
    multiplications = additions = requantizations = comparisons = weights = 0
    codes = np.zeros((1, *program.input_shape), np.uint8)
    for step, given, out in program.accumulating(WORD).trace(codes):
        if isinstance(step, MultiplyAccumulate):
            products = step.weight[0].size * out.size
            multiplications, additions = multiplications + products, additions + products
            weights += step.weight.size
        elif isinstance(step, Requantize | Rescale):
            requantizations += out.size
        elif isinstance(step, AddUp):
            additions += given.size
        elif isinstance(step, AddWindows):
            additions += math.prod(step.size) * out.size
        elif isinstance(step, Add):
            additions += out.size
        elif isinstance(step, Largest):
            comparisons += (math.prod(step.size) - 1) * out.size
        elif isinstance(step, Clamp):
            comparisons += 2 * out.size
    return Operations(multiplications, additions, requantizations, comparisons, weights * weight_bits)
