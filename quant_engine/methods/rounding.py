"""What compensation is measured against: rounding to nearest, in ranges from least to greatest and in clipped ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from quant_engine.clipping import MinMax
from quant_engine.methods.stages import MethodProgress, Setting
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan


def nearest(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Round to nearest, every range from the least to the greatest value, whatever the setting's clipping."""
    activation = setting.activation and replace(setting.activation, clipping=MinMax())
    return clipped(network, replace(setting, weight=replace(setting.weight, clipping=MinMax()), activation=activation))


def clipped(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Round to nearest in the ranges that the setting's clipping chooses."""
    yield MethodProgress(1, 1, "ranges", network.freeze(uniform_plan(network, setting)))


def uniform_plan(network: Network, setting: Setting) -> QuantizationPlan:
    """Return the plan that quantizes every layer as the setting says, still to be fitted.

    What an embedding receives are numbers of rows, which stay as they are.
    """
    return QuantizationPlan(
        {
            name: LayerPlan(setting.weight, None if layer.op == "embedding" else setting.activation)
            for name, layer in network.layers().items()
        }
    )
