"""Scale, zero point and code written out with the live numbers, as LaTeX, in either convention.

Tools (ONNX, PyTorch) write Q = round(r/S) + zp and r̃ = S(Q − zp); the literature writes Q = Int(r/S) − Z and
r̃ = S(Q + Z). Codes and values are the same: Z = −zp.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from explorer.language import read_words
from explorer.notation import latex
from explorer.results import BlockView
from quant_engine import QuantizerSpec, Storage


@dataclass(frozen=True)
class Convention:
    """How one school writes rounding and zero point; `sign` is that of its zero point beside ours."""

    name: str
    rounding: str
    symbol: str
    sign: int

    @property
    def sentence(self) -> str:
        """Say which school's formulas these are."""
        return str(read_words("shared")[f"convention_{self.name}"])


TOOLS = Convention("tools", r"\mathrm{round}", r"\mathrm{zp}", 1)
ARTICLE = Convention("article", r"\mathrm{Int}", "Z", -1)
CONVENTIONS = {one.name: one for one in (TOOLS, ARTICLE)}


def with_rounding(convention: Convention, mode: str) -> Convention:
    """Return the convention with another rounding than to the nearest, by its name."""
    return convention if mode == "nearest" else replace(convention, rounding=rf"\mathrm{{{mode}}}")


def scale_formula(spec: QuantizerSpec, view: BlockView) -> str:
    """Return S, from the range that was chosen and the codes."""
    form, scale = spec.format, latex(view.scale)
    if spec.symmetric:
        steps = "2^{b-1} - 1" if form.signed else "2^b - 1"
        return rf"S = \frac{{\beta}}{{{steps}}} = \frac{{{latex(view.hi)}}}{{{form.qmax}}} = {scale}"
    steps = "2^b - 2" if form.narrow else "2^b - 1"
    lo, hi = view.chosen
    difference = f"{latex(hi)} - ({latex(lo)})" if lo < 0 else f"{latex(hi)} - {latex(lo)}"
    return rf"S = \frac{{\beta - \alpha}}{{{steps}}} = \frac{{{difference}}}{{{form.qmax - form.qmin}}} = {scale}"


def zero_point_formula(spec: QuantizerSpec, view: BlockView, convention: Convention = TOOLS) -> str:
    """Return the zero point: the code of real 0, or minus that in the literature's convention.

    It follows from the range that was chosen, and being rounded moves that range by up to half a step.
    """
    name, rounding = convention.symbol, convention.rounding
    if spec.symmetric:
        return rf"{name} = 0 \quad \text{{(symmetric)}}"
    qmin, ratio = spec.format.qmin, rf"\frac{{{latex(view.chosen[0])}}}{{{latex(view.scale)}}}"
    if convention.sign > 0:
        rule, numbers = r"q_{\min} - \frac{\alpha}{S}", f"{qmin} - {ratio}"
    else:
        rule, numbers = r"\frac{\alpha}{S} - q_{\min}", f"{ratio}{_plus(-qmin)}"
    return (
        rf"{name} = {rounding}\left({rule}\right) = {rounding}\left({numbers}\right) "
        f"= {convention.sign * view.zero_point}"
    )


def code_formula(
    spec: QuantizerSpec, view: BlockView, r: float, convention: Convention = TOOLS, code: int | None = None
) -> str:
    """Return Q(r) for one value; the code is the same in both conventions. Give a `code` that was drawn by chance."""
    form = spec.format
    inner = rf"{convention.rounding}\left({latex(r)} / {latex(view.scale)}\right)"
    if not spec.symmetric:
        inner += _offset(convention, view.zero_point)
    return rf"Q(r) = \left[{inner}\right]_{{{form.qmin}}}^{{{form.qmax}}} = {_code(view, r, code)}"


def value_formula(view: BlockView, r: float, convention: Convention = TOOLS, code: int | None = None) -> str:
    """Return what comes back for one value, and its error."""
    code = _code(view, r, code)
    level = float(view.levels[code - view.first_code])
    shift = _offset(convention, view.zero_point, undo=True) if view.zero_point else ""
    product = rf"{latex(view.scale)} \cdot ({code}{shift})" if shift else rf"{latex(view.scale)} \cdot ({code})"
    sign = "-" if convention.sign > 0 else "+"
    return (
        rf"\begin{{aligned}} \tilde r &= S \, (Q {sign} {convention.symbol}) = {product} = {latex(level)} \\ "
        rf"\tilde r - r &= {latex(level - r)} \end{{aligned}}"
    )


def rate_formula(spec: QuantizerSpec, storage: Storage) -> str:
    """Return the bits per value of a vector format: indices, and the codebooks shared by all values."""
    form, n = spec.format, storage.values
    indices, entries = storage.code_bits // form.bits, storage.codebook_bits // 32
    return (
        r"\begin{aligned} R &= \frac{\lceil \log_2 K \rceil \cdot \text{indices} + 32 \cdot \text{entries}}{n} \\ "
        rf"&= \frac{{{form.bits} \cdot {indices} + 32 \cdot {entries}}}{{{n}}} = "
        rf"{latex(storage.bits_per_value)} \end{{aligned}}"
    )


def nearest_formula(view: BlockView, r: float) -> str:
    """Return which codeword is nearest to one value, between the thresholds of its bucket."""
    place = int(np.searchsorted(view.thresholds, np.float32(r), side="right"))
    low = latex(float(view.thresholds[place - 1])) if place else ""
    high = latex(float(view.thresholds[place])) if place < view.thresholds.size else r"\infty"
    bucket = rf"\in \left[{low},\; {high}\right)" if place else f"< {high}"
    return rf"\begin{{aligned}} k &= \arg\min_j \, |r - c_j| = {place} \\ r &= {latex(r)} {bucket} \end{{aligned}}"


def codeword_formula(view: BlockView, r: float) -> str:
    """Return the codeword that comes back for one value, and its error."""
    place = int(np.searchsorted(view.thresholds, np.float32(r), side="right"))
    level = float(view.levels[place])
    return (
        rf"\begin{{aligned}} \tilde r &= c_{{{place}}} = {latex(level)} \\ "
        rf"\tilde r - r &= {latex(level - r)} \end{{aligned}}"
    )


def stacked(*written: str) -> str:
    r"""Return formulas as one, each in a line of its own: a part of the page fewer for each.

    >>> stacked("a = 1", "b = 2")
    '\\begin{gathered} a = 1 \\\\[1.5ex] b = 2 \\end{gathered}'
    """
    lines = r" \\[1.5ex] ".join(written)
    return rf"\begin{{gathered}} {lines} \end{{gathered}}"


def flowing(formula: str) -> str:
    r"""Return Markdown for a formula that breaks at its relations where the window is narrow, as displayed ones do not.

    >>> flowing(r"\begin{aligned} S &= \frac{a}{b} \\ a &= 1 \end{aligned}")
    '$S = \\dfrac{a}{b}$\n\n$a = 1$'
    """
    lines = formula.removeprefix(r"\begin{aligned} ").removesuffix(r" \end{aligned}").split(r" \\ ")
    return "\n\n".join(f"${line}$" for line in lines).replace("&", "").replace(r"\frac", r"\dfrac")


def _code(view: BlockView, r: float, known: int | None) -> int:
    if known is not None:
        return known
    return view.first_code + int(np.searchsorted(view.thresholds, np.float32(r), side="right"))


def _offset(convention: Convention, zero_point: int, undo: bool = False) -> str:
    """Write what is added to r/S, or taken off a code, with the convention's sign and number (+ zp, − Z)."""
    adds = (convention.sign > 0) != undo
    number = convention.sign * zero_point
    shown = f"({number})" if number < 0 else str(number)
    return f" {'+' if adds else '-'} {shown}"


def _plus(number: int) -> str:
    return f" + {number}" if number > 0 else f" - {-number}" if number < 0 else ""
