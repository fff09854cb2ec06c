"""Quantization that can be trained: the straight-through gradient, learned steps (LSQ) and clipping values (PACT)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_number
from quant_engine.errors import QuantError
from quant_engine.inputs import LARGEST_FLOAT32, Float64Array, as_finite

if TYPE_CHECKING:
    from torch import Tensor

Rule = Literal["LSQ", "PACT"]


def validate_rule(rule: Rule) -> None:
    """Check that a rule is one of those by which steps learn.

    Raises:
        QuantError: for another.
    """
    if rule not in get_args(Rule):
        raise QuantError(f"rule={rule!r} is unknown; choose one of {', '.join(get_args(Rule))}")


def fake_quantize(x: Tensor, step: Tensor, lowest: Tensor, highest: Tensor, rule: Rule = "LSQ") -> Tensor:
    """Return x̂ = s · q with q = clip(rint(x/s), lowest, highest), which has a gradient for x and for s.

    `lowest` and `highest` are the outermost codes less the zero point; they and `step` spread to the shape of `x`, and
    what is found for a step is summed over the values that share it. Rounding (half to even) has no useful derivative
    and is given the slope 1 (straight-through estimator: Bengio, Léonard and Courville 2013), so that ∂x̂/∂x is 1 where
    lowest ≤ x/s ≤ highest and 0 beyond. ∂x̂/∂s is, inside that range and beyond it,

    - LSQ: q − x/s and q (Esser et al. 2020, section 2.1, "Step size gradient");
    - PACT: 0 and q, which for a clipping value α = s · highest is ∂x̂/∂α = 0 and 1 (Choi et al. 2018).

    Raises:
        QuantError: for another rule.
    """
    validate_rule(rule)
    quantized: Tensor = _function().apply(x, step, lowest, highest, rule == "LSQ")
    return quantized


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Return x itself; its gradient is multiplied by `factor` (as `gradscale` of Esser et al. 2020)."""
    scaled: Tensor = _gradient_scale().apply(x, factor)
    return scaled


def gradient_factor(count: int, highest: float) -> float:
    """Return 1/√(N · Qp), which balances a step's gradient with those of the N values that share it.

    (Esser et al. 2020, section 2.2.)

    Raises:
        QuantError: for a count or a highest code that is not positive.
    """
    return 1.0 / math.sqrt(as_number(count, "count", above=0) * as_number(highest, "highest", above=0))


def initial_step(values: NDArray[Any], highest: float) -> float:
    """Return LSQ's first step, 2 · mean|v|/√Qp (Esser et al. 2020, section 2.1); 0 where all values are.

    Raises:
        QuantError: for no values, values that are not finite float32, and a highest code that is not positive.

    Example:
        >>> initial_step(np.array([-1.0, 2.0]), 9.0)
        1.0
    """
    magnitudes = np.abs(as_finite(values, "values"))
    if not magnitudes.size or magnitudes.max() > LARGEST_FLOAT32:
        raise QuantError(f"values of shape {magnitudes.shape} must be one or more, none beyond float32's largest")
    return 2.0 * float(magnitudes.mean()) / math.sqrt(as_number(highest, "highest", above=0))


def slopes(x: NDArray[Any], step: float, lowest: float, highest: float, rule: Rule = "LSQ") -> dict[str, Float64Array]:
    """Return, to be drawn, what training takes for the derivatives of x̂ at each x: by "x" and by "step".

    Raises:
        QuantError: for values that are not finite, a step that is not positive, a lowest code above the highest, and
            another rule.

    Example:
        >>> slopes(np.array([-9.0, 0.25, 9.0]), 1.0, -2.0, 1.0)["step"].tolist()
        [-2.0, -0.25, 1.0]
    """
    validate_rule(rule)
    low = as_number(lowest, "lowest")
    high = as_number(highest, "highest", low=low)
    with np.errstate(over="ignore"):  # beyond float64 is beyond the highest code
        ratio = as_finite(x, "x") / as_number(step, "step", above=0)
    codes = np.clip(np.rint(ratio), low, high)
    inside = (ratio >= low) & (ratio <= high)
    within = codes - ratio if rule == "LSQ" else np.zeros_like(ratio)
    return {"x": inside.astype(np.float64), "step": np.where(inside, within, codes)}


@cache
def _function() -> Any:
    """Return the fake quantization that torch differentiates by the rules above; torch is imported here."""
    import torch

    class FakeQuantize(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, step: Tensor, lowest: Tensor, highest: Tensor, learned: bool) -> Tensor:
            ratio = x / step
            codes = ratio.round().clamp_(lowest, highest)
            ctx.save_for_backward(ratio, codes, lowest, highest)
            ctx.learned, ctx.step_shape = learned, step.shape
            return codes * step

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
            (gradient,) = gradients
            ratio, codes, lowest, highest = ctx.saved_tensors
            inside = (ratio >= lowest) & (ratio <= highest)
            by_step = codes - ratio * inside if ctx.learned else codes * ~inside
            return gradient * inside, (gradient * by_step).sum_to_size(ctx.step_shape), None, None, None

    return FakeQuantize


@cache
def _gradient_scale() -> Any:
    import torch

    class GradientScale(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
            ctx.factor = factor
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
            return gradients[0] * ctx.factor, None

    return GradientScale
