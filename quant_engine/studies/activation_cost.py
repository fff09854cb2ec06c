"""What dynamic quantization of activations costs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

from quant_engine.errors import QuantError
from quant_engine.execution import each_sample
from quant_engine.granularity import PerTensor
from quant_engine.inputs import Float32Array
from quant_engine.network import Network
from quant_engine.observers import validate_static
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import Quantizer, QuantizerSpec, fit

MEASURED_SAMPLES = 250
ROUNDS = 7
VALUE_BYTES = 4  # float32


@dataclass(frozen=True)
class ActivationCost:
    """One layer's input quantized with a fixed range and with one found on each sample.

    `values` is the size of the input for one sample. `extra_passes` over them is what finding the extremes takes, and a
    search for a better range takes more, which the seconds contain. Seconds are for 1,000 samples: medians of runs that
    alternate, so that their ratio means something on a busy machine where the seconds themselves do not.
    """

    values: int
    static_seconds: float
    dynamic_seconds: float
    extra_passes: int = 1

    @property
    def extra_bytes(self) -> int:
        """Bytes read again for each sample, at the least."""
        return self.extra_passes * self.values * VALUE_BYTES

    @property
    def ratio(self) -> float:
        """Dynamic seconds in units of static ones."""
        return self.dynamic_seconds / self.static_seconds


def activation_costs(network: Network, plan: QuantizationPlan) -> dict[str, ActivationCost]:
    """Measure what dynamic quantization costs against static, for each layer whose activation is planned.

    On the first test samples, as many as have the same shape.

    Raises:
        QuantError: as `Network.freeze`.
    """
    network.freeze(plan)
    planned = {name: layer.activation for name, layer in plan.layers.items() if layer.activation is not None}
    inputs = next(network.activation_batches(planned, "test", stop=MEASURED_SAMPLES))
    return {name: measure_cost(inputs[name], activation) for name, activation in planned.items()}


def measure_cost(x: Float32Array, activation: QuantizerSpec | Quantizer) -> ActivationCost:
    """Measure static against dynamic quantization of an input (samples, …).

    Where a granularity cannot be static (`PerToken()`), static means one fixed range for the tensor, or the same blocks
    with fixed scales where the format brings its own (GGUF's).
    """
    spec = activation.spec if isinstance(activation, Quantizer) else activation
    fixed = activation if isinstance(activation, Quantizer) else fit(x, _static(spec, x.shape[1:]))
    free = each_sample(spec)
    ways: tuple[Callable[[], object], ...] = (
        lambda: fixed.fake_quantize(x),
        lambda: fit(x, free).fake_quantize(x),
    )
    for way in ways:
        way()  # compiled, and in cache
    rounds = [[_seconds(way) for way in ways] for _ in range(ROUNDS)]
    static, dynamic = (median(times) * 1000 / len(x) for times in zip(*rounds, strict=True))
    return ActivationCost(math.prod(x.shape[1:]), static, dynamic)


def _static(spec: QuantizerSpec, sample: tuple[int, ...]) -> QuantizerSpec:
    try:
        validate_static(spec.granularity, sample)
    except QuantError:
        whole = replace(spec, granularity=PerTensor())
        return whole if isinstance(whole.granularity, PerTensor) else spec
    return spec


def _seconds(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start
