"""What the instrument shows of a fitted block, whatever its format."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from explorer.payloads import InstrumentSetting
from explorer.results import BlockView
from explorer.state import PlaygroundState
from quant_engine import QuantizerSpec

MAX_LEVELS = 2048  # that are drawn one by one
IN_SIGHT = 1.0  # widths of the data, to either side of it


def setting_of(settings: PlaygroundState, spec: QuantizerSpec, view: BlockView) -> InstrumentSetting:
    """Return how the instrument shows one block under the person's settings and the spec that follows from them."""
    form, name = spec.format, settings.format_name
    lo, hi = settings.asked_range(spec) or (view.lo, view.hi)
    rounded = view.scale if spec.scale_format is not None else None
    if form.even and form.scaled:
        return InstrumentSetting(form.bits, form.signed, form.narrow, spec.symmetric, lo, hi, scale=rounded)
    if form.even:
        return InstrumentSetting(
            form.bits, form.signed, False, True, lo, hi, name, fixed=True, scale=view.scale * form.step
        )
    if settings.clips:
        values = form.values().tolist()
        return InstrumentSetting(form.bits, True, False, True, lo, hi, name, values, form.symmetric_max, scale=rounded)
    return levels_setting(form.bits, name, (lo, hi), view)


def levels_setting(bits: int, name: str, ends: tuple[float, float], view: BlockView) -> InstrumentSetting:
    """Return how the instrument shows levels that no hand moves."""
    levels = _drawn(view)
    return InstrumentSetting(
        bits,
        True,
        False,
        True,
        *ends,
        name,
        levels.tolist(),
        fixed=True,
        thinned=levels.size < view.levels.size,
        exact=_exact(view),
    )


def _drawn(view: BlockView) -> NDArray[np.float32]:
    """Return the levels about the data, without those that are too close to others to be told apart."""
    data = view.distribution
    width = data.hi - data.lo or abs(data.hi) or 1.0
    near = (view.levels >= data.lo - IN_SIGHT * width) & (view.levels <= data.hi + IN_SIGHT * width)
    levels = view.levels[near] if near.any() else view.levels[[0, -1]]
    if levels.size <= MAX_LEVELS:
        return levels
    cells = np.floor((levels - levels[0]).astype(np.float64) * (MAX_LEVELS / float(levels[-1] - levels[0])))
    apart: NDArray[np.float32] = levels[np.concatenate([[True], np.diff(cells) > 0])]
    return apart


def _exact(view: BlockView) -> dict[str, float]:
    """Return the numbers of the block as the instrument names them."""
    report = view.report
    return {
        "mse": report.mse,
        "clipping": report.clipping_mse,
        "rounding": report.rounding_mse,
        "clippedShare": report.clipped_share,
        "sqnr": min(report.sqnr_db, 1e9),
        "used": int((view.counts > 0).sum()),
        "total": int(view.levels.size),
    }
