"""The instrument in a laboratory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from explorer import compute
from explorer.caches import ResultKey
from explorer.fields import Number
from explorer.figures.clipping import Pick
from explorer.instrument import Move, instrument
from explorer.instrument.words import describe_curve
from explorer.lessons.framework.scene import Scene
from explorer.payloads import InstrumentSetting, Mark, statistics


def instrument_view(
    scene: Scene,
    key: str,
    bits: Number[int],
    picked: Mapping[str, Pick] | None,
    on_move: Callable[[Move], None],
    note: str,
) -> None:
    """Draw the instrument for a laboratory's scene; without what the calibrators picked, errors stay veiled."""
    subject, spec, view = scene.subject, scene.spec, scene.view
    packed_key = ResultKey("packed", subject.key)
    packed = compute.kept(packed_key, lambda: statistics(subject.values, subject.statistics))
    marks = [
        Mark(name, -pick.clip if spec.symmetric and spec.format.signed else min(view.lo, 0.0), pick.clip, name)
        for name, pick in (picked or {}).items()
    ]
    best = min((pick.error for pick in (picked or {}).values()), default=view.error)
    instrument(
        key,
        packed,
        InstrumentSetting(spec.format.bits, spec.format.signed, spec.format.narrow, spec.symmetric, view.lo, view.hi),
        marks,
        on_move,
        view=view,
        unit=subject.unit,
        curve_alt=describe_curve(f"{spec.format.bits} bits", view, best) if picked else note,
        note=note,
        bits=bits.ends,
        veiled=picked is None,
        plain=True,
    )
