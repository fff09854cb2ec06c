"""What BatchNorms remember of the data they were trained on, put to use where there are none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_engine.compensation.bias import normal_parameters, standard_normal
from quant_engine.inputs import Float64Array

if TYPE_CHECKING:
    from torch import Tensor

RATE = 0.1  # of Adam, in normalised pixels
LIMIT = 40.0  # deviations, beyond which a normal value lies with a probability of 0 in float64


class Moments(NamedTuple):
    """Mean and standard deviation of each channel of what a layer gives, as tensors (channels,)."""

    mean: Tensor
    deviation: Tensor


def moments(x: Tensor) -> Moments:
    """Return the moments of values (images, channels, …), the deviation of them all about their mean."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    variance = x.var(axes, unbiased=False)
    alive = variance > 0  # the root has no slope at 0
    return Moments(x.mean(axes), variance.where(alive, 1.0).sqrt() * alive)


def distance(found: Mapping[str, Moments], wanted: Mapping[str, Moments]) -> Tensor:
    """Return Σ_l ‖μ̃_l − μ_l‖² + ‖σ̃_l − σ_l‖² over the layers l, as means over their channels.

    (Cai et al. 2020, "ZeroQ", whose published program takes means too.)
    """
    import torch

    parts = [
        (found[layer].mean - mean).square().mean() + (found[layer].deviation - deviation).square().mean()
        for layer, (mean, deviation) in wanted.items()
    ]
    return torch.stack(parts).sum()


def synthesise(
    run: Callable[[Tensor], Mapping[str, Moments]],
    wanted: Mapping[str, Moments],
    start: Tensor,
    limits: tuple[float, float],
    steps: int,
) -> Iterator[tuple[float, Tensor]]:
    """Change images by gradient descent until what layers give of them has wanted moments; yield loss and images.

    ZeroQ's distilled data (Cai et al. 2020): Adam from `start` on, which is left as it is; here the images also stay
    within `limits`, as pixels do, and the rate falls along half a cosine. `run` gives the moments that images lead to.
    The loss is that before the step.
    """
    import torch

    images = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([images], RATE)
    for step in range(steps):
        with torch.enable_grad():
            loss = distance(run(images), wanted)
            (images.grad,) = torch.autograd.grad(loss, [images])
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.step()
        images.data.clamp_(*limits)
        yield float(loss.detach()), images.detach()


def normal_range(mean: NDArray[Any], deviation: NDArray[Any], reach: float, relu: bool) -> tuple[float, float]:
    """Return the least and greatest of mean ± reach · deviation over all channels, behind a ReLU or not.

    (Nagel et al. 2019, experiments: β ± n·γ, with n = 6, is what a BatchNorm with shift β and scale γ gives.)

    Example:
        >>> normal_range(np.array([0.0, 1.0]), np.array([1.0, 0.5]), 6.0, relu=True)
        (0.0, 6.0)
    """
    low, high = float((mean - reach * deviation).min()), float((mean + reach * deviation).max())
    return (max(low, 0.0), max(high, 0.0)) if relu else (low, high)


def rectified(mean: NDArray[Any], deviation: NDArray[Any]) -> tuple[Float64Array, Float64Array]:
    """Return mean and standard deviation of max(0, x) for normal x, of any shape.

    With z = β/γ: E = γ·φ(z) + β·Φ(z), E² = (β² + γ²)·Φ(z) + β·γ·φ(z) (Nagel et al. 2019, appendix C). The variance
    E² − (E)² is taken in units of γ, and as Φ + z²·Φ(1 − Φ) + z·φ(1 − 2Φ) − φ², in which a large z cancels nothing.

    Raises:
        QuantError: for values that are not finite, and shapes that do not broadcast.
    """
    beta, gamma = normal_parameters(mean, deviation)
    density, below = standard_normal(beta, gamma)
    with np.errstate(over="ignore"):
        z = np.clip(np.divide(beta, gamma, out=np.zeros_like(beta), where=gamma > 0), -LIMIT, LIMIT)
    variance = below + z * z * below * (1 - below) + z * density * (1 - 2 * below) - density**2
    return gamma * density + beta * below, gamma * np.sqrt(np.maximum(variance, 0.0))
