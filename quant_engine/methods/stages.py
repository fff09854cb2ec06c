"""What every method is given, what it says on its way, and what there is to know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from quant_engine.checks import as_instance, as_integer
from quant_engine.compensation.adaround import LARGEST_SEED
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import QuantizerSpec

Family = Literal["rounding", "biases", "scaling", "calibration", "training"]


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
class MethodProgress:
    """A method on its way: `done` of `total` steps, what is being done, and what it has come to so far.

    `plan` is frozen and can be evaluated; the last stage has one, earlier ones may. `loss` is what the method
    minimises, where it minimises something.
    """

    done: int
    total: int
    doing: str
    plan: QuantizationPlan | None = None
    loss: float | None = None


Run = Callable[[Network, Setting], Iterator[MethodProgress]]


@dataclass(frozen=True)
class Need:
    """Something that a method takes for granted, such as training data.

    `missing` returns why a network does not have it and what would give it, or None where it is there. To find out,
    `probing` runs the network once for each layer, which takes minutes on a large one.
    """

    title: str
    missing: Callable[[Network], str | None]
    probing: bool = False


@dataclass(frozen=True)
class Method:
    """A way to quantize a network, from a setting to a frozen plan.

    Attributes:
        key: its name in code, links and files.
        title: what a person calls it.
        run: what goes from a network and a setting to stages, the last of which has the plan.
        family: what it chooses: the rounding of weights, biases, scales between layers, ranges of inputs, or all of it
            by training.
        needs: what the network must have.
        random: whether it draws at random, by the setting's seed.
        slow: whether it takes half a minute and more on a small network, where others take seconds.
    """

    key: str
    title: str
    run: Run
    family: Family
    needs: tuple[Need, ...] = ()
    random: bool = False
    slow: bool = False

    def lacking(self, network: Network, probing: bool = True) -> str | None:
        """Return what the first need is that a network does not meet, and why; None where the method can run.

        Without `probing`, needs that are found out by running the network are taken as met.
        """
        for need in self.needs:
            if (probing or not need.probing) and (reason := need.missing(network)):
                return f"{self.title} needs {need.title}: {reason}"
        return None
