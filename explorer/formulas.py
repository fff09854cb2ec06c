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
    """Return Q(r) for one value."""
    form = spec.format
    zero = "" if spec.symmetric else f" + {view.zero_point}" if view.zero_point >= 0 else f" - {-view.zero_point}"
    inner = rf"\mathrm{{round}}\left({latex(r)} / {latex(view.scale)}\right){zero}"
    return rf"Q(r) = \left[{inner}\right]_{{{form.qmin}}}^{{{form.qmax}}} = {view.first_code + _bucket(view, r)}"


def value_formula(view: BlockView, r: float) -> str:
    """Return what comes back for one value, and its error."""
    bucket = _bucket(view, r)
    code, level = view.first_code + bucket, float(view.levels[bucket])
    product = rf"{latex(view.scale)} \cdot ({code}{_minus(view.zero_point)})"
    return rf"\tilde r = S \, (Q - Z) = {product} = {latex(level)}, \quad \tilde r - r = {latex(level - r)}"


def _bucket(view: BlockView, r: float) -> int:
    return int(np.searchsorted(view.thresholds, np.float32(r), side="right"))


def _minus(zero_point: int) -> str:
    return f" - {zero_point}" if zero_point > 0 else f" + {-zero_point}" if zero_point < 0 else ""
