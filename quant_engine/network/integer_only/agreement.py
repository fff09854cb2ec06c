"""Integer-only beside simulated: which images get another label, and where the two first part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.network.accuracy import Accuracy
from quant_engine.network.architectures import Weighted
from quant_engine.network.evaluation import BATCH
from quant_engine.network.images import Split
from quant_engine.network.integer_only.compiling import compile_plan
from quant_engine.network.integer_only.following import following, window
from quant_engine.network.integer_only.program import Codes, IntegerProgram, Largest, MultiplyAccumulate
from quant_engine.network.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import Quantizer

UNIT = 2.0**-24  # rounding of one float32 operation, relative
LOGITS = "logits"


@dataclass(frozen=True)
class Difference:
    """An image that gets another label, and the first layer whose input codes differ.

    `place` is where they differ most, of `count` places; `codes` and `values` there are (simulated, integer-only), the
    values in steps of the code, before they are rounded: exact of the integers, float32 of the simulation. `allowed`
    is how far these may lie apart by what rounds on the way: the bias to a step of the sum, the multiplier to 31 bits,
    the product before it is shifted, and the simulation's own float32.

    Where no code differs, `layer` is "logits", `place` the integer-only label, `codes` are the labels, and `values` are
    by how much the simulated label's logit leads the other one.
    """

    image: int
    labels: tuple[int, int]
    layer: str
    count: int
    place: tuple[int, ...]
    codes: tuple[int, int]
    values: tuple[float, float]
    allowed: float
    explained: bool


@dataclass(frozen=True, eq=False)
class Agreement:
    """Labels and accuracy of both, and every image that differs."""

    simulated: Accuracy
    integer: Accuracy
    differences: tuple[Difference, ...]

    @property
    def explained(self) -> bool:
        """Whether every difference lies within what rounds on the way."""
        return all(difference.explained for difference in self.differences)


def integer_accuracy(network: Network, program: IntegerProgram, data: Split = "test") -> Accuracy:
    """Return how many labels an integer program predicts correctly.

    Raises:
        QuantError: as `IntegerProgram.run`.
    """
    images, labels = network.data(data)
    predicted = program.predict(program.quantize(images))
    return Accuracy(int((predicted == labels).sum()), len(labels))


def agreement(network: Network, plan: QuantizationPlan, data: Split = "test", rounding: str = "gemmlowp") -> Agreement:
    """Run a plan simulated in floating point and integer-only, and explain each image whose label differs.

    Raises:
        QuantError: as `compile_plan`.
    """
    frozen = network.freeze(plan)
    program = compile_plan(network, frozen, rounding)
    images, labels = network.data(data)
    codes = program.quantize(images)
    simulated, integer = network.predict(frozen, data), program.predict(codes)
    differences = []
    differing = [int(image) for image in np.flatnonzero(simulated != integer)]
    for number, together in groupby(differing, lambda image: image // BATCH):
        first = number * BATCH  # the same batch as `predict` runs: another one may round otherwise
        given = _simulate(network, frozen, images[first : first + BATCH])
        for image in together:
            own = {name: values[image - first] for name, values in given.items()}
            pair = int(simulated[image]), int(integer[image])
            differences.append(_difference(program, frozen, codes[image], own, image, pair))
    total = len(labels)
    return Agreement(
        Accuracy(int((simulated == labels).sum()), total),
        Accuracy(int((integer == labels).sum()), total),
        tuple(differences),
    )


def with_integer_bias(program: IntegerProgram, plan: QuantizationPlan) -> QuantizationPlan:
    """Return a plan whose biases are those that the integers have, to simulate with."""
    return QuantizationPlan(
        {
            name: replace(layer, bias=(program.layer(name).bias * program.scales[name][1]).astype(np.float32))
            for name, layer in plan.layers.items()
        }
    )


def _simulate(network: Network, plan: QuantizationPlan, images: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Return each layer's input before it is quantized, and the logits, as `Network.predict` computes them."""
    import torch

    found: dict[str, NDArray[Any]] = {}
    with torch.inference_mode():
        x = torch.from_numpy(images.copy())
        for step in network.architecture.steps:
            if not isinstance(step, Weighted):
                x = step.run(x)
                continue
            layer = plan[step.name]
            weight, quantizer = network.planned_weight(step.name, layer), layer.activation
            assert weight is not None
            assert isinstance(quantizer, Quantizer)
            bias = network.bias(step.name) if layer.bias is None else layer.bias
            found[step.name] = x.numpy().copy()
            x = torch.from_numpy(quantizer.fake_quantize(found[step.name]))
            x = step.run(x, torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy()))
        found[LOGITS] = x.numpy().copy()
    return found


def _difference(
    program: IntegerProgram,
    plan: QuantizationPlan,
    codes: Codes,
    simulated: Mapping[str, NDArray[Any]],
    image: int,
    labels: tuple[int, int],
) -> Difference:
    """Return where one image's two runs first part, and whether rounding accounts for it."""
    traced = list(program.trace(codes[None]))
    before: MultiplyAccumulate | None = None
    given = codes
    for step, x, _ in traced:
        if not isinstance(step, MultiplyAccumulate):
            continue
        quantizer = plan[step.name].activation
        assert isinstance(quantizer, Quantizer)
        form = quantizer.spec.format
        theirs = quantizer.encode(simulated[step.name][None]).codes[0].astype(np.int64) - form.qmin
        ours = x[0].astype(np.int64)
        if before is not None and (theirs != ours).any():
            values = simulated[step.name].astype(np.float64) / program.scales[step.name][0] + step.zero_point
            places = [tuple(int(i) for i in place) for place in np.argwhere(theirs != ours)]
            found = {place: _exact(program, before, given, place) for place in places}
            held = all(abs(values[place] - value) <= allowed for place, (value, allowed) in found.items())
            worst = max(places, key=lambda place: abs(int(theirs[place] - ours[place])))
            value, allowed = found[worst]
            pair = int(theirs[worst]), int(ours[worst])
            return Difference(
                image,
                labels,
                step.name,
                len(places),
                worst,
                pair,
                (float(values[worst]), value),
                allowed,
                held and all(abs(int(theirs[place] - ours[place])) <= 1 for place in places),
            )
        before, given = step, x[0]
    assert before is not None
    logits = [_exact(program, before, given, (label,)) for label in labels]
    leads = simulated[LOGITS].astype(np.float64)[list(labels)] / program.logit_scale
    lead, ours_lead = float(leads[0] - leads[1]), logits[0][0] - logits[1][0]
    allowed = logits[0][1] + logits[1][1] + 1.0  # each logit is rounded to a whole number once more
    explained = abs(lead - ours_lead) <= allowed
    return Difference(image, labels, LOGITS, 0, (labels[1],), labels, (lead, ours_lead), allowed, explained)


def _exact(
    program: IntegerProgram, step: MultiplyAccumulate, codes: Codes, place: tuple[int, ...]
) -> tuple[float, float]:
    """Return what a layer's output is before it is rounded to a code, and how far the simulation may be from it.

    `place` counts as the next layer sees it, behind pooling and flattening.
    """
    gather, later = following(program, step)
    pooled = any(isinstance(after, Largest) for after in _until_next(program, step))
    channel, candidates = _before_pooling(step, codes, place, pooled, gather is not None)
    factor, right, zero_point, lowest = 1.0, 0, 0, None
    if later is not None:
        multiplier, shift = int(later.multiplier[channel]), int(later.shift[channel])
        factor, right = float(np.ldexp(multiplier, shift - 31)), 0 if later.once else max(-shift, 0)
        zero_point, lowest = getattr(later, "zero_point", 0), getattr(later, "lowest", None)
    found = [_sum_at(step, codes, channel, candidate) for candidate in candidates]
    steps = [total for total, _ in found]
    floating = max(error for _, error in found)
    if gather is not None:
        steps, floating = [sum(max(total, 0) for total in steps)], sum(error for _, error in found)
    values = [total * factor + zero_point for total in steps]
    value = max(values) if lowest is None else max(*values, float(lowest))
    many = len(candidates) if gather is not None else 1
    allowed = (
        0.5 * many * factor  # bias
        + max(abs(total) for total in steps) * factor * (2.0**-31 + 4 * UNIT)  # multiplier; division by the scale
        + (0.5 * 2.0**-right if right else 0.0)
        + floating * factor
        + abs(value) * 2 * UNIT
    )
    return value, allowed


def _sum_at(step: MultiplyAccumulate, codes: Codes, channel: int, place: tuple[int, ...]) -> tuple[int, float]:
    """Return the exact sum at a place, and the bound of what float32 loses when it adds up the same, in its steps."""
    seen, _ = window(step, codes, channel, place)
    weights = step.weight[channel].astype(np.int64)
    total = int((weights * seen).sum()) + int(step.offset[channel])
    size = float(np.abs(weights * (seen - step.zero_point)).sum()) + abs(int(step.bias[channel]))
    return total, (weights.size + 4) * UNIT * size


def _before_pooling(
    step: MultiplyAccumulate, codes: Codes, place: tuple[int, ...], pooled: bool, gathered: bool
) -> tuple[int, list[tuple[int, ...]]]:
    """Return the channel, and the places of the layer's own output that a place behind it is made of."""
    if step.weight.ndim == 2:
        return place[0], [()]
    height, width = codes.shape[1:]
    if gathered:
        return place[0], list(product(range(height), range(width)))
    if len(place) == 1:  # flattened
        rows, columns = (height // 2, width // 2) if pooled else (height, width)
        place = tuple(int(i) for i in np.unravel_index(place[0], (len(step.weight), rows, columns)))
    channel, row, column = place
    if not pooled:
        return channel, [(row, column)]
    return channel, [(2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)]


def _until_next(program: IntegerProgram, step: MultiplyAccumulate) -> Iterator[Any]:
    """Yield the steps between a layer and the next one."""
    for later in program.steps[program.steps.index(step) + 1 :]:
        if isinstance(later, MultiplyAccumulate):
            return
        yield later
