"""Why integers and simulation give an image another label: the first code that differs, and what rounds it away."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from quant_engine.integer_only.output_pixel import Requantized
from quant_engine.integer_only.program import IntegerProgram
from quant_engine.integer_only.simulating import LOGITS
from quant_engine.integer_only.steps import Codes, Largest, MultiplyAccumulate, Requantize, Rescale
from quant_engine.integer_only.trace import next_steps, window
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import Quantizer

UNIT = 2.0**-24  # rounding of one float32 operation, relative
CAUSES = ("float32", "bias", "multiplier", "rounding")
T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Difference:
    """An image that gets another label, and the first layer whose input codes differ.

    `labels` are the simulated and the integer-only one; `biases_alone` says that the simulation, too, gives the latter
    once its biases are those of the integers. `leads` are by how much the logit of the simulated label is above that
    of the integers', simulated and in integers, in the unit of the logits.

    `place` is where the codes differ most, of `count` places; `codes` there are (simulated, integer-only). `values` are
    what is rounded to them, in steps of the code: as simulated in float32; exactly, with real scales and bias; with the
    bias of the integers; with their multiplier too; and with the product rounded to its high half, where it is rounded
    twice. `causes` counts, over all these places, which of `CAUSES` is the last to take the code to another one, most
    frequent first: float32 sums, the bias, the multiplier, or how the product is rounded. `allowed` is how
    far the first value may lie from the exact one of the integers (the last but one) by what rounds on the way: the
    bias to a step of the sum, the multiplier to 31 bits, the product before it is shifted, and the simulation's own
    float32.

    Where no code differs, `layer` is "logits", `place` the integer-only label, `codes` are the labels, and `values` are
    by how much the simulated label's logit leads the other one, in steps.
    """

    image: int
    labels: tuple[int, int]
    biases_alone: bool
    leads: tuple[float, float]
    layer: str
    count: int
    place: tuple[int, ...]
    codes: tuple[int, int]
    values: tuple[float, float, float, float, float]
    causes: tuple[tuple[str, int], ...]
    allowed: float
    explained: bool

    @property
    def margin(self) -> float:
        """How far the exact value lies from where the code changes, in steps."""
        return abs(self.values[1] - (0.0 if self.layer == LOGITS else max(self.codes) - 0.5))


@dataclass(frozen=True)
class _Exact:
    """What a layer's output is before it is rounded to a code: exact values as in `Difference`, and the allowance."""

    real: float
    biased: float
    multiplied: float
    halved: float
    allowed: float


def attribute_difference(
    program: IntegerProgram,
    plan: QuantizationPlan,
    biases: Mapping[str, NDArray[np.float32]],
    codes: Codes,
    simulated: Mapping[str, NDArray[Any]],
    image: int,
    labels: tuple[int, int],
    biases_alone: bool = False,
) -> Difference:
    """Return where one image's two runs first part, and whether rounding accounts for it.

    `simulated` has each layer's input in floating point, and the logits; `biases` are those of the simulation.
    """
    traced = list(program.trace(codes[None]))
    logits = traced[-1][2][0].astype(np.float64) * program.logit_scale
    theirs_first = simulated[LOGITS].astype(np.float64)
    first, second = labels
    leads = float(theirs_first[first] - theirs_first[second]), float(logits[first] - logits[second])
    before: MultiplyAccumulate | None = None
    given = codes
    for step, x, _ in traced:
        if not isinstance(step, MultiplyAccumulate):
            continue
        quantizer = plan[step.name].activation
        assert isinstance(quantizer, Quantizer)
        theirs = quantizer.encode(simulated[step.name][None]).codes[0].astype(np.int64) - quantizer.spec.format.qmin
        ours = x[0].astype(np.int64)
        if before is not None and (theirs != ours).any():
            values = simulated[step.name].astype(np.float64) / program.scales[step.name][0] + step.zero_point
            places = [tuple(int(i) for i in place) for place in np.argwhere(theirs != ours)]
            found = {place: _exact(program, before, biases[before.name], given, place) for place in places}
            held = all(abs(values[place] - one.multiplied) <= one.allowed for place, one in found.items())
            worst = max(places, key=lambda place: abs(int(theirs[place] - ours[place])))
            causes: Counter[str] = Counter()
            for place, exact in found.items():
                along = exact.real, exact.biased, exact.multiplied
                passed = [min(max(math.floor(value + 0.5), 0), step.max_code) for value in along]
                causes[_cause([int(theirs[place]), *passed, int(ours[place])])] += 1
            one, pair = found[worst], (int(theirs[worst]), int(ours[worst]))
            stages = float(values[worst]), one.real, one.biased, one.multiplied, one.halved
            held = held and all(abs(int(theirs[place] - ours[place])) <= 1 for place in places)
            where = step.name, len(places), worst, pair, stages, tuple(causes.most_common()), one.allowed, held
            return Difference(image, labels, biases_alone, leads, *where)
        before, given = step, x[0]
    assert before is not None
    pairs = [_exact(program, before, biases[before.name], given, (label,)) for label in labels]
    stages = (
        leads[0] / program.logit_scale,
        *(getattr(pairs[0], kind) - getattr(pairs[1], kind) for kind in ("real", "biased", "multiplied", "halved")),
    )
    outcomes = [
        first,
        *(first if lead > 0 or (lead == 0 and first < second) else second for lead in passed[1:]),
        second,
    ]
    allowed = pairs[0].allowed + pairs[1].allowed + 1.0  # each logit is rounded to a whole number once more
    held = abs(stages[0] - stages[3]) <= allowed
    where = LOGITS, 0, (second,), labels, stages, ((_cause(outcomes), 1),), allowed, held
    return Difference(image, labels, biases_alone, leads, *where)


def _cause(outcomes: Sequence[int]) -> str:
    """Return what the last change of a code comes from: outcomes simulated, and after each of `CAUSES`."""
    changed = [cause for cause, (one, other) in zip(CAUSES, pairwise(outcomes), strict=True) if one != other]
    return changed[-1]


def _exact(
    program: IntegerProgram,
    step: MultiplyAccumulate,
    biases: NDArray[np.float32],
    codes: Codes,
    place: tuple[int, ...],
) -> _Exact:
    """Return what a layer's output is before it is rounded to a code, and how far the simulation may be from it.

    `place` counts as the next layer sees it, behind pooling and flattening.
    """
    gather, later = next_steps(program, step)
    pooled = any(isinstance(after, Largest) for after in _until_next(program, step))
    channel, candidates = _before_pooling(step, codes, place, pooled, gather is not None)
    factor, right, zero_point, lowest = 1.0, 0, 0, None
    if later is not None:
        multiplier, shift = int(later.multiplier[channel]), int(later.shift[channel])
        factor, right = float(np.ldexp(multiplier, shift - 31)), 0 if later.once else max(-shift, 0)
        zero_point, lowest = getattr(later, "zero_point", 0), getattr(later, "lowest", None)
    found = [_sum_at(step, codes, channel, candidate) for candidate in candidates]
    totals = [total for total, _ in found]
    floating = max(error for _, error in found)
    sum_scale = float(program.scales[step.name][1][channel])
    left_out = float(biases[channel]) / sum_scale - int(step.bias[channel])  # of the bias, in steps of the sum
    many = len(candidates) if gather is not None else 1
    real_factor = sum_scale / many / _next_scale(program, step)

    def value(shift: float, by: float) -> float:
        sums = _gathered([total + shift for total in totals], gather is not None)
        values = [one * by + zero_point for one in sums]
        return max(values) if lowest is None else max(*values, float(lowest))

    multiplied = value(0, factor)
    max_total = max(abs(total) for total in _gathered(totals, gather is not None))
    floating = sum(error for _, error in found) if gather is not None else floating
    allowed = (
        0.5 * many * factor  # bias
        + max_total * factor * (2.0**-31 + 4 * UNIT)  # multiplier; division by the scale
        + (0.5 * 2.0**-right if right else 0.0)
        + floating * factor
        + abs(multiplied) * 2 * UNIT
    )
    halved = max(_halved(later, channel, total) for total in _gathered(totals, gather is not None)) + zero_point
    halved = halved if lowest is None else max(halved, float(lowest))
    return _Exact(value(left_out, real_factor), value(0, real_factor), multiplied, halved, allowed)


def _gathered(sums: Sequence[T], gathered: bool) -> Sequence[T]:
    """Return the sums that are requantized: each, or what is above 0 of all together."""
    return [sum(max(one, 0) for one in sums)] if gathered else sums


def _halved(later: Requantize | Rescale | None, channel: int, total: int) -> float:
    """Return a sum, multiplied and rounded to the high half if it is rounded twice, before it is rounded to a code."""
    if later is None:
        return float(total)
    multiplier, shift = int(later.multiplier[channel]), int(later.shift[channel])
    done = Requantized(total, multiplier, shift, 0, None, None, later.once)
    return total * done.factor if later.once else done.high / (1 << done.right)


def _next_scale(program: IntegerProgram, step: MultiplyAccumulate) -> float:
    """Return what one step of the next layer's codes stands for, or of the logits."""
    names = list(program.scales)
    number = names.index(step.name) + 1
    return program.scales[names[number]][0] if number < len(names) else program.logit_scale


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
