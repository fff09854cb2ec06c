"""What every compensating method is given, and what it says on its way: stages, the last of which brings the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from quant_engine.checks import as_instance, as_integer
from quant_engine.compensation.adaround import LARGEST_SEED
from quant_engine.network.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import QuantizerSpec


@dataclass(frozen=True)
class Setting:
    """How a network is to be quantized: the spec of weights, of inputs (None: floating point), and a seed.

    The seed matters to methods that draw at random; the same setting gives the same plan.

    Raises:
        QuantError: for what is no spec, and a seed that is not an integer of 0 or more.
    """

    weight: QuantizerSpec
    activation: QuantizerSpec | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the fields."""
        as_instance(self.weight, QuantizerSpec, "weight", "give a QuantizerSpec")
        if self.activation is not None:
            as_instance(
                self.activation, QuantizerSpec, "activation", "give a QuantizerSpec, or None for floating point"
            )
        object.__setattr__(self, "seed", as_integer(self.seed, "seed", 0, LARGEST_SEED))


@dataclass(frozen=True)
class Stage:
    """A method on its way: `done` of `total` steps, what is being done, and what it has come to so far.

    `plan` is frozen and can be evaluated; the last stage has one, earlier ones may. `loss` is what the method
    minimises, where it minimises something.
    """

    done: int
    total: int
    doing: str
    plan: QuantizationPlan | None = None
    loss: float | None = None


Method = Callable[[Network, Setting], Iterator[Stage]]
