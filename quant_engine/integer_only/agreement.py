"""Integer-only beside simulated, batch by batch: how many labels are right, how many differ, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import BATCH
from quant_engine.checks import as_choice, as_instance
from quant_engine.integer_only.attribution import Difference, attribute_difference
from quant_engine.integer_only.compiling import ROUNDINGS, compile_plan
from quant_engine.integer_only.program import IntegerProgram
from quant_engine.integer_only.simulating import LOGITS, biases_of, simulate, with_integer_bias
from quant_engine.integer_only.trace import validate_traceable
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.tasks import Accuracy

Labels = NDArray[np.int64]
SIMULATED, BIASES = "simulated", "biases"
WAYS = (SIMULATED, BIASES, *reversed(ROUNDINGS))


@dataclass(frozen=True, eq=False)
class LabelAgreement:
    """What one plan predicts in the four `WAYS`, for the images so far, and which get another label in integers.

    The ways: "simulated" in floating point; "biases" simulated with the biases that the integers have; integer-only,
    "single" and "gemmlowp" by how they round. From each way to the next one thing changes: the biases are rounded to
    steps of the sums, floats become integers, products are rounded twice. `differences` are those of `rounding`.
    """

    truth: Labels
    labels: Mapping[str, Labels]
    differences: tuple[Difference, ...]
    rounding: str = "gemmlowp"

    def accuracy(self, way: str) -> Accuracy:
        """Return how many labels are right one way."""
        return Accuracy(int((self.labels[way] == self.truth).sum()), len(self.truth))

    def unlike(self, way: str, other: str) -> int:
        """Return how many labels two ways tell apart."""
        return int((self.labels[way] != self.labels[other]).sum())

    @property
    def simulated(self) -> Accuracy:
        """How many labels are right in simulation."""
        return self.accuracy(SIMULATED)

    @property
    def integer(self) -> Accuracy:
        """How many labels are right in integers."""
        return self.accuracy(self.rounding)

    @property
    def explained(self) -> bool:
        """Whether every difference lies within what rounds on the way."""
        return all(difference.explained for difference in self.differences)


def integer_accuracy(network: Network, program: IntegerProgram, split: str = "test") -> Accuracy:
    """Return how many labels an integer program predicts correctly.

    Raises:
        QuantError: as `IntegerProgram.run`.
    """
    as_instance(network, Network, "network", "load() gives one")
    as_instance(program, IntegerProgram, "program", "compile_plan() gives one")
    images, labels = network.data(split)
    predicted = program.predict(program.quantize(images))
    return Accuracy(int((predicted == labels).sum()), len(labels))


def agreement(
    network: Network, plan: QuantizationPlan, split: str = "test", rounding: str = "gemmlowp"
) -> LabelAgreement:
    """Run a plan simulated in floating point and integer-only, and explain each image whose label differs.

    With the biases of the integers and `rounding` "single" the two are equal to the label; the rest is what rounding a
    bias to a step of the sums, or a product twice, does to images whose two best logits lie next to each other.
    Measured on 2,000 test images, weights by channel (4 bits with MinMSE), inputs in 8 bits:

    | network, weights | right: simulated | with integer biases | "single" | "gemmlowp" | labels unlike the simulation |
    |---|---|---|---|---|---|
    | fashion-cnn, 8 bits | 1,874 | 1,876 | 1,876 | 1,875 | 1 |
    | fashion-cnn, 4 bits | 1,852 | 1,850 | 1,850 | 1,852 | 2 |
    | fashion-depthwise, 8 bits | 1,846 | 1,845 | 1,845 | 1,843 | 5 |
    | fashion-depthwise, 4 bits | 1,760 | 1,757 | 1,757 | 1,764 | 21 |

    Raises:
        QuantError: as `compile_plan`.
    """
    *_, found = agreeing(network, plan, split, rounding)
    return found


def agreeing(
    network: Network, plan: QuantizationPlan, split: str = "test", rounding: str = "gemmlowp"
) -> Iterator[LabelAgreement]:
    """Yield what `agreement` returns as it grows, after every 200 images.

    Raises:
        QuantError: as `compile_plan`.
    """
    as_choice(rounding, ROUNDINGS, "rounding")
    frozen = as_instance(network, Network, "network", "load() gives one").freeze(plan)
    programs = {name: compile_plan(network, frozen, name) for name in {rounding: 0, **dict.fromkeys(ROUNDINGS)}}
    validate_traceable(programs[rounding])
    matched, program = with_integer_bias(programs[rounding], frozen), programs[rounding]
    images, truth = network.data(split)
    biases = biases_of(network, frozen)
    labels: dict[str, Labels] = {way: np.empty(len(truth), np.int64) for way in WAYS}
    differences: list[Difference] = []
    for first in range(0, len(images), BATCH):  # the batches of `predict`: others may round otherwise
        part = slice(first, first + BATCH)
        given, codes = simulate(network, frozen, images[part]), program.quantize(images[part])
        labels[SIMULATED][part] = given[LOGITS].argmax(axis=1)
        labels[BIASES][part] = simulate(network, matched, images[part])[LOGITS].argmax(axis=1)
        for name, one in programs.items():
            labels[name][part] = one.predict(codes)
        pairs = {way: labels[way][part] for way in (SIMULATED, rounding)}
        for at in np.flatnonzero(pairs[SIMULATED] != pairs[rounding]):
            own = {name: values[at] for name, values in given.items()}
            pair = int(pairs[SIMULATED][at]), int(pairs[rounding][at])
            alone = bool(labels[BIASES][first + at] == pair[1])
            differences.append(
                attribute_difference(program, frozen, biases, codes[at], own, first + int(at), pair, alone)
            )
        done = {way: found[: first + BATCH].copy() for way, found in labels.items()}
        yield LabelAgreement(truth[: first + BATCH], MappingProxyType(done), tuple(differences), rounding)
