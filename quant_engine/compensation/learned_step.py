"""Quantization that can be trained: the straight-through gradient, learned steps (LSQ) and clipping values (PACT)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from quant_engine.inputs import Float64Array

if TYPE_CHECKING:
    from torch import Tensor

Rule = Literal["LSQ", "PACT"]


def fake_quantize(x: Tensor, step: Tensor, lowest: Tensor, highest: Tensor, rule: Rule = "LSQ") -> Tensor:
    """Return x̂ = s · q with q = clip(rint(x/s), lowest, highest), which has a gradient for x and for s.

    `lowest` and `highest` are the outermost codes less the zero point; they and `step` spread to the shape of `x`, and
    what is found for a step is summed over the values that share it. Rounding (half to even) has no useful derivative
    and is given the slope 1 (straight-through estimator: Bengio, Léonard and Courville 2013), so that ∂x̂/∂x is 1 where
    lowest ≤ x/s ≤ highest and 0 beyond. ∂x̂/∂s is, inside that range and beyond it,

    - LSQ: q − x/s and q (Esser et al. 2020, section 2.1, "Step size gradient");
    - PACT: 0 and q, which for a clipping value α = s · highest is ∂x̂/∂α = 0 and 1 (Choi et al. 2018).
    """
    quantized: Tensor = _function().apply(x, step, lowest, highest, rule == "LSQ")
    return quantized


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Return x itself; its gradient is multiplied by `factor` (as `gradscale` of Esser et al. 2020)."""
    scaled: Tensor = _gradient_scale().apply(x, factor)
    return scaled


def gradient_factor(count: int, highest: float) -> float:
    """Return 1/√(N · Qp), which balances a step's gradient with those of the N values that share it.

    (Esser et al. 2020, section 2.2.)
    """
    return 1.0 / math.sqrt(count * highest)


def initial_step(values: NDArray[Any], highest: float) -> float:
    """Return LSQ's first step, 2 · mean|v|/√Qp (Esser et al. 2020, section 2.1); 0 where all values are.

    Example:
        >>> initial_step(np.array([-1.0, 2.0]), 9.0)
        1.0
    """
    return 2.0 * float(np.abs(values, dtype=np.float64).mean()) / math.sqrt(highest)


def slopes(x: NDArray[Any], step: float, lowest: float, highest: float, rule: Rule = "LSQ") -> dict[str, Float64Array]:
    """Return, to be drawn, what training takes for the derivatives of x̂ at each x: by "x" and by "step".

    Example:
        >>> slopes(np.array([-9.0, 0.25, 9.0]), 1.0, -2.0, 1.0)["step"].tolist()
        [-2.0, -0.25, 1.0]
    """
    ratio = np.asarray(x, np.float64) / step
    codes = np.clip(np.rint(ratio), lowest, highest)
    inside = (ratio >= lowest) & (ratio <= highest)
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
