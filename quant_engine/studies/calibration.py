"""What the number of calibration samples does to ranges and score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import Quantizer, QuantizerSpec
from quant_engine.tasks import Score


class CalibrationPoint(NamedTuple):
    """A plan calibrated on the first `samples` calibration samples.

    `ranges` are the outermost levels (lo, hi) of each layer's input, over all its blocks.
    """

    samples: int
    ranges: dict[str, tuple[float, float]]
    score: Score


def calibration_study(
    network: Network, plan: QuantizationPlan, sizes: Iterable[int], split: str = "test"
) -> Iterator[CalibrationPoint]:
    """Yield what the plan's static activations come to after calibration on the first n images, for each size n.

    Weights and dynamic activations are quantized as planned, the same at every size. Each point is computed when it is
    asked for, so a caller can show progress, or stop. The same arguments give the same points.

    Raises:
        QuantError: for a plan without a static activation that is still to be fitted; and, when the size's turn comes,
            for one that is no number of calibration samples.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan
        >>> from quant_engine.network import load
        >>> plan = QuantizationPlan({"fc2": LayerPlan(activation=QuantizerSpec(IntFormat(8, signed=False)))})
        >>> one, many = calibration_study(load("fashion-cnn"), plan, [1, 64], "calibration")
        >>> one.ranges["fc2"][1] < many.ranges["fc2"][1]
        True
    """
    studied = [
        name for name, layer in plan.layers.items() if isinstance(layer.activation, QuantizerSpec) and not layer.dynamic
    ]
    if not studied:
        raise QuantError(
            f"no layer of {', '.join(plan.layers) or 'the plan'} has a static activation to calibrate; "
            "plan a QuantizerSpec for at least one, with dynamic=False"
        )
    return _points(network, plan, studied, sizes, split)


def _points(
    network: Network, plan: QuantizationPlan, studied: list[str], sizes: Iterable[int], split: str
) -> Iterator[CalibrationPoint]:
    for samples in sizes:
        frozen = network.freeze(plan, samples)
        quantizers = {name: frozen[name].activation for name in studied}
        ranges = {name: outermost_levels(q) for name, q in quantizers.items() if isinstance(q, Quantizer)}
        yield CalibrationPoint(samples, ranges, network.evaluate(frozen, split))


def outermost_levels(quantizer: Quantizer) -> tuple[float, float]:
    """Return the least and the greatest level of all blocks."""
    form, zero_point = quantizer.spec.format, quantizer.zero_point
    low, high = ((code - zero_point) * quantizer.scale for code in (form.lowest, form.highest))
    return float(np.min(low)), float(np.max(high))
