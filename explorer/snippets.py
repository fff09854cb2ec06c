"""Code that reproduces what is on screen, ready to run."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from explorer.number_formats import FLOATS, SCALE_FORMATS
from explorer.results import BlockView
from quant_engine import NF4, LayerPlan, QuantizerSpec, power_of_two

MAX_WRITTEN = 256
NAMED: dict[Any, str] = {
    **{form: name for name, form in (*FLOATS.items(), *SCALE_FORMATS.items()) if form is not None},
    **{power_of_two(bits): f"power_of_two({bits})" for bits in range(2, 9)},
    NF4: "NF4",
}


@dataclass(frozen=True)
class Origin:
    """Where code finds a weight: in a layer of a network, or in a file of tensors, which nothing runs."""

    model: str
    layer: str
    is_file: bool = False
    is_row: bool = False  # a tensor of one axis

    @property
    def importing(self) -> str:
        """The line that imports what opens the model."""
        return f"from quant_engine.{'readers import open_file' if self.is_file else 'network import load'}"

    @property
    def weight(self) -> str:
        """The expression of the weight, of its own shape."""
        if self.is_file:
            return f'open_file({quoted(self.model)}).load({quoted(self.layer)}).astype("float32")'
        return f"load({quoted(self.model)}).weight({quoted(self.layer)})"

    @property
    def matrix(self) -> str:
        """The expression of the weight in rows."""
        return f"weight.reshape({1 if self.is_row else 'len(weight)'}, -1)"


def quoted(text: str) -> str:
    r"""Return the expression of a text: a name from a file ends no string.

    >>> print(quoted("fc"), quoted('"); import os #'))
    "fc" '"); import os #'
    """
    return repr(text) if '"' in text else '"' + repr("'" + text)[2:-1] + '"'


def engine_code(origin: Origin, plan: LayerPlan, others: LayerPlan | None) -> str:
    """Return the lines of quant_engine that quantize the tensor and score the network, where it is one.

    It is scored with this layer under its plan, then with all layers: the others under theirs, if that is another.
    """
    weights = [plan.weight] if others is None else [plan.weight, others.weight]
    parts = [part for part in (*weights, plan.activation) if isinstance(part, QuantizerSpec)]
    if origin.is_file:
        names = ", ".join(sorted({"fit", *_names(plan.weight)}))
        imports = f"from quant_engine import {names}\n{origin.importing}"
        return f"{imports}\n\nweight = {origin.weight}\n{_fitting(origin, plan)}"
    names = ", ".join(sorted({"LayerPlan", "QuantizationPlan", *set().union(*map(_names, parts)), "fit"}))
    rest = "" if plan.activation is None else f", {expression(plan.activation)}"
    rest += ", dynamic=True" if plan.dynamic else ""
    other_layers, every = "", "{name: so for name in network.layers()}"
    if others is not None:
        other_layers = f"others = LayerPlan({expression(others.weight)}{rest})  # a range by hand is of one layer\n"
        every = f"{{name: others for name in network.layers()}} | {{{quoted(origin.layer)}: so}}"
    return f"""\
from quant_engine import {names}
{origin.importing}

network = load({quoted(origin.model)})
weight = network.weight({quoted(origin.layer)})
{_fitting(origin, plan)}
so = LayerPlan(spec{rest})
{other_layers}everywhere = QuantizationPlan({every})
for plan in (None, QuantizationPlan({{{quoted(origin.layer)}: so}}), everywhere):
    accuracy = network.evaluate(plan)
    print(f"{{accuracy.correct}} of {{accuracy.total}} right")
"""


def _fitting(origin: Origin, plan: LayerPlan) -> str:
    """Return the lines that quantize a weight and say what that does."""
    return f"""\
x = {origin.matrix}  # one row an output channel

spec = {expression(plan.weight)}
quantizer = fit(x, spec)
report = quantizer.measure(x)
print(f"SQNR {{report.sqnr_db:.2f}} dB, MSE {{report.mse:.4g}}, of which clipping {{report.clipping_mse:.4g}}")
print(f"{{quantizer.storage(x.shape).bits_per_value:.4f}} bits per value")
"""


def plan_code(source: str, digest: str, file: str, split: str) -> str:
    """Return the lines that score a plan of a file on a model, and say if it is another model."""
    return f"""\
from quant_engine import QuantizationPlan
from quant_engine.network import load

network = load({source!r})
assert network.digest == {digest!r}
plan = QuantizationPlan.load({file!r})
for score in network.scores(plan, {split!r}).values():
    print(score)
"""


def numpy_code(origin: Origin, spec: QuantizerSpec, view: BlockView, slices: tuple[slice, ...]) -> str:
    """Return the lines of numpy that quantize the block shown, with the scale and zero point or the codewords."""
    if not (spec.format.even and spec.format.scaled):
        return _codeword_code(origin, view, slices)
    last_code = view.first_code + view.levels.size - 1
    place = ", ".join(f"{s.start}:{s.stop}" for s in slices)
    return f"""\
import numpy as np
{origin.importing}

weight = {origin.weight}
x = {origin.matrix}[{place}]

scale, zero_point = np.float32({view.scale!r}), {view.zero_point}
codes = np.clip(np.rint(x / scale) + np.float32(zero_point), {view.first_code}, {last_code}).astype(int)
x_hat = scale * (codes - zero_point).astype(np.float32)

mse = np.mean((x_hat.astype(np.float64) - x) ** 2)
print(f"MSE {{mse:.6g}} with {{np.unique(codes).size}} of {view.levels.size} codes used")
"""


def _codeword_code(origin: Origin, view: BlockView, slices: tuple[slice, ...]) -> str:
    place = ", ".join(f"{s.start}:{s.stop}" for s in slices)
    first, last = np.searchsorted(view.levels, [view.distribution.lo, view.distribution.hi])
    near = slice(max(int(first) - 1, 0), int(last) + 1)
    levels = view.levels[near]
    if levels.size > MAX_WRITTEN:
        return f"# The block meets {levels.size} codewords, too many to write out: see the lines of quant_engine."
    words = ", ".join(repr(float(level)) for level in levels)
    return f"""\
import numpy as np
{origin.importing}

weight = {origin.weight}
x = {origin.matrix}[{place}]

codewords = np.array([{words}], np.float32)
codes = np.abs(x[..., None].astype(np.float64) - codewords).argmin(axis=-1)
x_hat = codewords[codes]

mse = np.mean((x_hat.astype(np.float64) - x) ** 2)
print(f"MSE {{mse:.6g}} with {{np.unique(codes).size}} of {view.levels.size} codes used")
"""


def _names(choice: Any) -> set[str]:
    """Return what the expression of a frozen choice takes from quant_engine."""
    if choice in NAMED:
        return {NAMED[choice].partition("(")[0]}
    found = {type(choice).__name__}
    for field in fields(choice):
        value = getattr(choice, field.name)
        if is_dataclass(value) and value != field.default:
            found |= _names(value)
    return found


def expression(choice: Any) -> str:
    """Return Python that builds a frozen choice, by its name if it has one, without what is at its default."""
    if choice in NAMED:
        return NAMED[choice]
    parts = []
    positional = True
    for field in fields(choice):
        value = getattr(choice, field.name)
        if field.default is not MISSING and value == field.default:
            positional = False
            continue
        text = expression(value) if is_dataclass(value) else repr(value)
        parts.append(text if positional else f"{field.name}={text}")
    return f"{type(choice).__name__}({', '.join(parts)})"
