"""Scale, zero point and code written out with the live numbers, as LaTeX."""

from __future__ import annotations

import numpy as np

from explorer.notation import latex
from explorer.results import BlockView
from quant_engine import QuantizerSpec


def scale_formula(spec: QuantizerSpec, view: BlockView) -> str:
    """Return S, from the range and the codes."""
    form, scale = spec.format, latex(view.scale)
    if spec.symmetric:
        steps = "2^{b-1} - 1" if form.signed else "2^b - 1"
        return rf"S = \frac{{\beta}}{{{steps}}} = \frac{{{latex(view.hi)}}}{{{form.qmax}}} = {scale}"
    steps = "2^b - 2" if form.narrow else "2^b - 1"
    difference = f"{latex(view.hi)} - ({latex(view.lo)})" if view.lo < 0 else f"{latex(view.hi)} - {latex(view.lo)}"
    return rf"S = \frac{{\beta - \alpha}}{{{steps}}} = \frac{{{difference}}}{{{form.qmax - form.qmin}}} = {scale}"


def zero_point_formula(spec: QuantizerSpec, view: BlockView) -> str:
    """Return Z, the code of real 0."""
    if spec.symmetric:
        return r"Z = 0 \quad \text{(symmetric)}"
    rule = r"Z = \mathrm{round}\left(q_{\min} - \frac{\alpha}{S}\right)"
    numbers = rf"\mathrm{{round}}\left({spec.format.qmin} - \frac{{{latex(view.lo)}}}{{{latex(view.scale)}}}\right)"
    return f"{rule} = {numbers} = {view.zero_point}"


def code_formula(spec: QuantizerSpec, view: BlockView, r: float) -> str:
    """Return Q(r) for one value, and what comes back."""
    form = spec.format
    bucket = int(np.searchsorted(view.thresholds, np.float32(r), side="right"))
    code, level = view.first_code + bucket, float(view.levels[bucket])
    bounds = rf"_{{{form.qmin}}}^{{{form.qmax}}}"
    zero = "" if spec.symmetric else f" + {view.zero_point}" if view.zero_point >= 0 else f" - {-view.zero_point}"
    inner = rf"\mathrm{{round}}\left({latex(r)} / {latex(view.scale)}\right){zero}"
    back = f"{latex(view.scale)} \\cdot ({code}{_minus(view.zero_point)})"
    return (
        rf"Q(r) = \left[{inner}\right]{bounds} = {code}, \qquad "
        rf"\tilde r = S \, (Q - Z) = {back} = {latex(level)}, \qquad \tilde r - r = {latex(level - r)}"
    )


def _minus(zero_point: int) -> str:
    return f" - {zero_point}" if zero_point > 0 else f" + {-zero_point}" if zero_point < 0 else ""
