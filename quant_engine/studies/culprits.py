"""Which layers a lost score is to blame on: forward from floating point, one layer more at a time, each step measured.

1. Alone: what each layer does by itself (`attribute`). The least damaging comes first.
2. Forward: one more layer is quantized after another in this order, and the score is measured each time. A fall is a
   step that loses more of the score than the interval of paired samples explains, widened for so many steps.
3. Blame: of each fall, the smallest set of layers quantized before without which most of it does not happen
   (QuickXplain). None: the layer does it by itself. Otherwise no single layer does, and only the set falls.
4. Mend: from the whole plan back, the blamed layers are kept in floating point, then the others by what they do alone,
   until the score is within its interval of floating point; and what these layers do in 8 bits.

It never begins at the broken end: there, what a layer's mending brings depends on which others are still broken.

Source: U. Junker, QuickXplain: preferred explanations and relaxations for over-constrained problems, AAAI 2004.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace

from quant_engine.checks import as_list
from quant_engine.errors import QuantError
from quant_engine.formats import IntFormat
from quant_engine.granularity import PerChannel
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, Planned, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec
from quant_engine.studies.culprit_results import Culprits, CulpritStep, Fall, Mend, Phase, is_lost
from quant_engine.studies.damage import Damage, Kept, PlanParts, lost
from quant_engine.tasks.score import difference

MOST = 0.5  # of a fall: what a set must bring about to be blamed for it
MENDING_BITS = 8
PHASES = ("alone", "forward", "blame", "mend")


def culprits(
    network: Network,
    plan: QuantizationPlan,
    split: str | None = None,
    order: Iterable[str] | None = None,
    kept: Kept | None = None,
) -> Generator[CulpritStep | Culprits, None, None]:
    """Find the layers that a plan's lost score is to blame on; the last item is the result.

    Split and `kept` are those of `attribute`, whose measurements of layers alone are taken from `kept` where they are
    there. One measurement is made when the next is asked for. `order` names the plan's layers as they are to be
    quantized; by default what they do alone decides.

    Raises:
        QuantError: as `attribute`, for a plan without layers, and for an order that is not one of the plan's layers.

    Example:
        >>> from quant_engine import LayerPlan
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> plan = QuantizationPlan.of(network.layers(), {"fc*": LayerPlan(QuantizerSpec(IntFormat(2)))})
        >>> *steps, found = culprits(network, plan)
        >>> found.verdict, found.falls[0].layer, found.mend.mended_in_eight_bits
        ('layer', 'fc2', True)
    """
    search = _Search(network, plan, split, kept)
    if order is None:
        for layer in search.parts.layers:
            yield search.step("alone", layer, [layer])
        alone = {layer: search.parts.damage([layer]) for layer in search.parts.layers}
        listed = sorted(alone, key=lambda layer: alone[layer].measure.value)
    else:
        alone, listed = {}, _as_order(order, search.parts)
    curve: list[Damage] = []
    for count, layer in enumerate(listed, 1):
        step = search.step("forward", layer, listed[:count])
        curve.append(step.damage)
        yield step
    if not is_lost(curve[-1].lost):
        yield Culprits(tuple(listed), alone, tuple(curve), (), None)
        return
    falls = yield from search.falls(listed, curve)
    mend = yield from search.mend(_by_blame(falls, listed))
    yield Culprits(tuple(listed), alone, tuple(curve), tuple(falls), mend)


class _Search:
    """Measures sets of a plan's layers, and counts."""

    def __init__(self, network: Network, plan: QuantizationPlan, split: str | None, kept: Kept | None) -> None:
        self._given = network, plan, split, kept
        self.parts = PlanParts(network, plan, split, kept)
        if not self.parts.layers:
            raise QuantError("the plan has no layers, and nothing can be to blame; give a LayerPlan for some")
        self._changes = self.parts.changes(self.parts.layers)
        self._done = 0

    def step(self, phase: Phase, layer: str, quantized: Sequence[str]) -> CulpritStep:
        """Measure some layers together."""
        damage = self._damage(quantized)
        self._done += 1
        most = (PHASES.index(phase) + 1) * len(self.parts.layers)
        return CulpritStep(phase, layer, tuple(quantized), damage, self._done, max(most, self._done))

    def falls(self, order: list[str], curve: list[Damage]) -> Generator[CulpritStep, None, list[Fall]]:
        """Return the steps of a curve at which the score fell, the deepest first, and what is to blame for each."""
        found = []
        for place, layer in enumerate(order):
            before = curve[place - 1].score if place else next(iter(self.parts.plain.values()))
            fell = lost(difference(curve[place].score, before))
            if is_lost(fell, len(order)):
                partners = yield from self._blamed(layer, order[:place], fell.value)
                found.append(Fall(layer, fell, self._damage([layer]).lost, tuple(partners)))
        return sorted(found, key=lambda fall: -fall.lost.value)

    def mend(self, candidates: Sequence[str]) -> Generator[CulpritStep, None, Mend]:
        """Spare one candidate more after another until the score is within its interval of floating point."""
        for count in range(1, len(candidates) + 1):
            step = self.step("mend", candidates[count - 1], self._others(candidates[:count]))
            yield step
            if not is_lost(step.damage.lost):
                break
        spared = tuple(candidates[:count])
        return Mend(spared, step.damage, self._in_eight_bits(spared))

    def _blamed(self, layer: str, before: Sequence[str], fell: float) -> Generator[CulpritStep, None, list[str]]:
        """Return the smallest set of earlier layers with which a layer loses most of what it lost with all of them."""

        def falls_on(chosen: Sequence[str]) -> Generator[CulpritStep, None, bool]:
            under = yield from self._lost(layer, chosen)
            upper = yield from self._lost(layer, [*chosen, layer])
            return upper - under >= MOST * fell

        if (yield from falls_on([])):
            return []
        return (yield from _quick_xplain([], [], before, falls_on))

    def _lost(self, layer: str, quantized: Sequence[str]) -> Generator[CulpritStep, None, float]:
        if not quantized:
            return 0.0
        step = self.step("blame", layer, quantized)
        yield step
        return step.damage.lost.value

    def _damage(self, quantized: Sequence[str]) -> Damage:
        names = [name for part in quantized for name in self.parts.layers[part]]
        return self.parts.damage(quantized, {name: self._changes[name] for name in names})

    def _others(self, spared: Sequence[str]) -> list[str]:
        return [part for part in self.parts.layers if part not in spared]

    def _in_eight_bits(self, spared: Sequence[str]) -> Damage | None:
        network, plan, split, kept = self._given
        layers = {name for part in spared for name in self.parts.layers[part]}
        changed = {name: in_eight_bits(plan[name]) if name in layers else plan[name] for name in plan.layers}
        if all(changed[name] is plan[name] for name in layers):
            return None
        return PlanParts(network, QuantizationPlan(changed), split, kept).damage(self.parts.layers)


Holds = Callable[[Sequence[str]], Generator[CulpritStep, None, bool]]


def _quick_xplain(
    given: list[str], new: Sequence[str], candidates: Sequence[str], holds: Holds
) -> Generator[CulpritStep, None, list[str]]:
    """Return the smallest part of the candidates that holds with what is given, preferring the first to go."""
    if new and (yield from holds(given)):
        return []
    if len(candidates) == 1:
        return [*candidates]
    front, back = candidates[: len(candidates) // 2], candidates[len(candidates) // 2 :]
    from_front = yield from _quick_xplain([*given, *back], back, front, holds)
    from_back = yield from _quick_xplain([*given, *from_front], from_front, back, holds)
    return [*from_front, *from_back]


def _by_blame(falls: Sequence[Fall], order: Sequence[str]) -> list[str]:
    """Return all layers: those at which the score fell, deepest first, what they fell with, and the most damaging."""
    partners = [layer for fall in falls for layer in reversed(fall.together_with)]
    return [*dict.fromkeys([*(fall.layer for fall in falls), *partners, *reversed(order)])]


def in_eight_bits(plan: LayerPlan) -> LayerPlan:
    """Return a layer's plan with 8 bits where it has fewer; what gave it codes of its own is then left to rounding.

    >>> from quant_engine import IntFormat
    >>> in_eight_bits(LayerPlan(QuantizerSpec(IntFormat(3)))).weight.format
    IntFormat(bits=8, signed=True, narrow=False)
    """
    given = [_spec(plan.weight), _spec(plan.activation)]
    weight, activation = (_spec_in_eight_bits(spec) for spec in given)
    return plan if [weight, activation] == given else LayerPlan(weight, activation, plan.dynamic)


def _spec(planned: Planned | None) -> QuantizerSpec | None:
    return planned if planned is None or isinstance(planned, QuantizerSpec) else planned.spec


def _spec_in_eight_bits(spec: QuantizerSpec | None) -> QuantizerSpec | None:
    if spec is None or spec.format.bits >= MENDING_BITS:
        return spec
    if isinstance(spec.format, IntFormat):
        return replace(spec, format=replace(spec.format, bits=MENDING_BITS))
    return QuantizerSpec(IntFormat(MENDING_BITS), PerChannel())


def _as_order(order: Iterable[str], parts: PlanParts) -> list[str]:
    listed = as_list(order, str, "order", "give names of layers")
    if sorted(listed) != sorted(parts.layers):
        raise QuantError(f"order names {', '.join(listed)}; give each of {', '.join(parts.layers)} once")
    return listed
