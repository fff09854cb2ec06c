"""The simulation that integers are compared with: floats with every weight and input rounded to its code."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance
from quant_engine.integer_only.program import IntegerProgram
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan

if TYPE_CHECKING:
    from torch import Tensor

LOGITS = "logits"


def with_integer_bias(program: IntegerProgram, plan: QuantizationPlan) -> QuantizationPlan:
    """Return a plan whose biases are those that the integers have, to simulate with."""
    as_instance(program, IntegerProgram, "program", "compile_plan() gives one")
    as_instance(plan, QuantizationPlan, "plan", "give the one that was compiled")
    return QuantizationPlan(
        {
            name: replace(layer, bias=(program.layer(name).bias * program.scales[name][1]).astype(np.float32))
            for name, layer in plan.layers.items()
        }
    )


def biases_of(network: Network, plan: QuantizationPlan) -> dict[str, NDArray[np.float32]]:
    """Return each layer's bias under a plan."""
    own = {name: plan[name].bias for name in network.layers()}
    return {name: network.bias_or_zeros(name) if bias is None else bias for name, bias in own.items()}


def simulate(network: Network, plan: QuantizationPlan, images: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Return each layer's input before it is quantized, and the logits, as `Network.predict` computes them."""
    import torch

    found: dict[str, Tensor] = {}
    taps = {name: partial(found.__setitem__, name) for name in network.layers()}
    with torch.inference_mode():
        logits = network.executor.run(torch.from_numpy(images.copy()), network.overrides(plan), taps=taps)
    return {name: x.numpy() for name, x in found.items()} | {LOGITS: logits.numpy()}
