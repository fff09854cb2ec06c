"""How a command names the format that all layers get."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from explorer.commands.common import read_plan

if TYPE_CHECKING:
    from quant_engine import QuantizationPlan, QuantizerSpec
    from quant_engine.granularity import Granularity
    from quant_engine.network import Network

SHARING = ("layer", "channel", "32", "64", "128")

Bits = Annotated[int, typer.Option(help="Bits of all weights, where no plan is given.", min=2, max=16)]
Sharing = Annotated[str, typer.Option(help=f"What shares a scale: {', '.join(SHARING)} (weights of a channel).")]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="A plan to take in place of bits for all layers.")]


def spec_of(bits: int, sharing: str, least_mse: bool = False) -> QuantizerSpec:
    """Return the integers of so many bits whose scales are shared as said, by min–max or the range of least error."""
    from quant_engine import IntFormat, MinMax, MinMSE, PerChannel, PerGroup, PerTensor, QuantizerSpec
    from quant_engine.checks import as_choice

    word = as_choice(sharing, SHARING, "sharing")
    named: dict[str, Granularity] = {"layer": PerTensor(), "channel": PerChannel()}
    granularity = named.get(word) or PerGroup(int(word), remainder="short")
    return QuantizerSpec(IntFormat(bits), granularity, clipping=MinMSE() if least_mse else MinMax())


def plan_for(network: Network, file: Path | None, bits: int, sharing: str) -> QuantizationPlan:
    """Return the plan of a file, or the one that gives all layers the same."""
    from quant_engine import LayerPlan, QuantizationPlan

    if file is not None:
        return read_plan(file, network).plan
    return QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(spec_of(bits, sharing))))
