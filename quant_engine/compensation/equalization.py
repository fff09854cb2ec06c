"""Cross-layer equalization: channels between two layers are scaled so that both layers' weights have like ranges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance
from quant_engine.compensation.bias import normal_parameters
from quant_engine.compensation.float_layer import FloatLayer
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, Float64Array, as_finite

ABSORBED = 3.0  # standard deviations, below which 0.13 % of a normal distribution lie
ROUNDS = 100
DEAD = 2.0**-10  # channels of less count for nothing; the built-in networks' weakest ones that live have 0.05
BIAS_GROWTH = 2.0  # over what channels reach; the built-in networks' biases come to 1.6 times that
SETTLED = 1e-4  # relative change of a scale at which nothing is gained any more
NOISE_GROWTH = 1.25  # 1 dB
HALF_STEP = 2.0**-8  # of eight bits, as a share of the largest weight


class Equalization(NamedTuple):
    """An equalized chain, and what the channels of each joint were divided by: (channels,) for every layer but one."""

    layers: tuple[FloatLayer, ...]
    scales: tuple[Float64Array, ...]


def equalize(layers: Sequence[FloatLayer]) -> tuple[FloatLayer, ...]:
    """Return a chain of layers that computes the same, with the ranges of weights made equal across every joint.

    Between two layers, channel i is divided by s_i in the first and multiplied by it in the second,
    s_i = √(r_i⁽¹⁾ r_i⁽²⁾)/r_i⁽²⁾, with r⁽¹⁾ and r⁽²⁾ the greatest |weight| that makes and that reads the channel
    (Nagel et al. 2019, "Data-Free Quantization", appendix A); both ranges are then √(r⁽¹⁾ r⁽²⁾). All pairs in turn,
    again and again until nothing changes: a depthwise convolution has a joint on either side.

    The layers must be joined by what commutes with a positive factor for each channel: ReLU, maximum or average
    pooling, flattening.

    Channels that nothing, or nearly nothing, makes or reads go with the others (`hold_dead`), so that they harm none
    and the unit of the channels does not matter. A channel of small weights and a large bias would get a scale that
    makes its bias larger than what all others give, and the inputs of the next layer would lose their codes to a
    constant. Where it would come to more than twice what any channel reaches, its bias stays as large beside the
    others' as it was. What channels reach is taken as |b| + λ·r⁽¹⁾, with the λ by which weights give as much as biases
    do, Σ|b|/Σr⁽¹⁾. If some channel was held thus, and rounding a layer's weights to eight bits would still add 1 dB
    to the noise that it adds without scales (`noise_growth`), all scales' logarithms are halved until it does not.

    Raises:
        QuantError: for layers of which one does not read as many channels as the one before makes, and for weights or
            biases that come to lie beyond float32.

    Example:
        >>> first = FloatLayer([[8.0], [0.5]], [1.0, 1.0])
        >>> second = FloatLayer([[0.5, 2.0]], [0.0])
        >>> one, two = equalize([first, second])
        >>> one.weight.tolist(), two.weight.tolist()
        ([[2.0], [1.0]], [[2.0, 1.0]])
    """
    return equalization(layers).layers


def equalization(layers: Sequence[FloatLayer]) -> Equalization:
    """Return what `equalize` comes to, with the scales that it found.

    Raises:
        QuantError: as `equalize`.
    """
    layers = [as_instance(layer, FloatLayer, "a layer", "give FloatLayer(weight, bias)") for layer in layers]
    chain = list(layers)
    scales = [np.ones(layer.outputs) for layer in chain[:-1]]
    for first, second in pairwise(chain):
        if first.outputs != second.channels:
            raise QuantError(
                f"a layer of {first.outputs} outputs is followed by one that reads {second.channels} channels; give "
                "layers in the order in which they run, with `channels` where a picture is flattened"
            )
    held = False
    for _ in range(ROUNDS):
        moved = 0.0
        for at in range(len(chain) - 1):
            factors, exact = _equalizing_factors(chain[at], chain[at + 1])
            held |= not exact
            chain[at], chain[at + 1] = chain[at].scaled_outputs(1 / factors), chain[at + 1].scaled_inputs(factors)
            scales[at] *= factors
            moved = max(moved, float(np.abs(factors - 1).max()))
        if moved < SETTLED:
            break
    if not held or noise_growth(layers, scales) <= NOISE_GROWTH:
        return Equalization(tuple(chain), tuple(scales))
    while noise_growth(layers, scales) > NOISE_GROWTH:
        scales = [np.sqrt(each * np.sqrt(each.min() * each.max())) for each in scales]  # towards one factor for all
    chain = list(layers)
    for at, factors in enumerate(scales):
        chain[at], chain[at + 1] = chain[at].scaled_outputs(1 / factors), chain[at + 1].scaled_inputs(factors)
    return Equalization(tuple(chain), tuple(scales))


def noise_growth(layers: Sequence[FloatLayer], scales: Sequence[Float64Array]) -> float:
    """Return how much more noise rounding adds in the layer of a chain for which scales do most harm, ≥ 1.

    The noise of W is Σ min(Δ/2, |w|)² · E[a²] · ‖w⁽²⁾‖² over its weights, with the half step Δ/2 of eight bits and of a
    scale for each output or one for all, the input a that the weight meets, and the next layer's weights w⁽²⁾ that read
    what it makes. Inputs are taken to be what the layer before makes of its biases alone and of its weights alone.
    """
    joints = [np.ones(layers[0].channels), *scales, np.ones(layers[-1].outputs)]
    growth = 1.0
    for at, layer in enumerate(layers):
        heard = _squares(layers[at + 1].by_input(), (1, 3)) if at + 1 < len(layers) else np.ones(layer.outputs)
        powers = _powers(layers[at - 1]) if at else (np.ones(layer.channels),)
        for power in powers:
            before = _noise(layer, power, heard, np.ones_like(joints[at]), np.ones_like(joints[at + 1]))
            after = _noise(layer, power, heard, joints[at], joints[at + 1])
            growth = max([growth, *(after[before > 0] / before[before > 0])])
    return growth


def _squares(weight: Float32Array, axes: tuple[int, ...]) -> Float64Array:
    """Return the sums of squares over some axes, beside the greatest sum: only relations count."""
    sums: Float64Array = np.square(weight / np.float64(np.abs(weight).max() or 1)).sum(axes).reshape(-1)
    return sums


def _powers(layer: FloatLayer) -> tuple[Float64Array, Float64Array]:
    """Return the mean squares of what a layer and a ReLU make of the biases alone, and of equal inputs alone."""
    return _squares(np.maximum(layer.bias, 0)[:, None], (1,)), _squares(layer.weight.reshape(layer.outputs, -1), (1,))


def _noise(
    layer: FloatLayer, power: Float64Array, heard: Float64Array, into: Float64Array, out: Float64Array
) -> Float64Array:
    """Return the noise of `noise_growth` with a scale for each output, and with one for all, (2,)."""
    groups = layer.groups
    weight = np.abs(layer.by_input()).max(axis=3) * into.reshape(groups, 1, -1) / out.reshape(groups, -1, 1)
    met = (power / into**2).reshape(groups, 1, -1) * (heard * out**2).reshape(groups, -1, 1)
    steps = (weight.max(axis=2, keepdims=True), weight.max())
    return np.array([(np.minimum(HALF_STEP * step, weight) ** 2 * met).sum() for step in steps])


def _equalizing_factors(first: FloatLayer, second: FloatLayer) -> tuple[Float64Array, bool]:
    """Return s = √(r⁽¹⁾ r⁽²⁾)/r⁽²⁾ = √(r⁽¹⁾/r⁽²⁾) of every channel but those that are held, and whether none is."""
    made, read = first.output_ranges().astype(np.float64), second.input_ranges().astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        equation = np.sqrt(made / read)
        factors = hold_dead(equation, made, read)
    biases, alive = np.abs(first.bias.astype(np.float64)), living(made, read)
    if biases.any() and alive.any():
        common = (read * factors)[alive].max() / read[alive].max()  # with it alone, all would keep their places
        reach = (biases + biases.sum() / made.sum() * made).max()
        held = biases / factors * common > BIAS_GROWTH * reach
        factors = np.where(held, biases / biases.max() * common, factors)
    return factors, np.array_equal(factors, equation)


def living(made: Float64Array, read: Float64Array) -> NDArray[np.bool_]:
    """Return which channels count: those whose √(made · read) is more than a share `DEAD` of the greatest."""
    strengths: Float64Array = np.sqrt(made) * np.sqrt(read)
    return np.asarray(strengths > DEAD * strengths.max(initial=0.0))


def hold_dead(scales: Float64Array, made: Float64Array, read: Float64Array) -> Float64Array:
    """Return scales with those of dead and nearly dead channels held between two that let none of them stand out.

    `made` and `read` are the ranges on either side, of which the first is divided by the scales and the second
    multiplied. With s = max(r·s)/max(r) of the `living` a channel keeps its place among the ranges that are read, with
    s = max(r)/max(r/s) among those that are made. A channel that nothing makes gets the first, one that nothing reads
    the second. If no channel lives, all scales are 1.
    """
    alive = living(made, read)
    if not alive.any():
        return np.ones_like(scales)
    low = (read * scales)[alive].max() / read[alive].max()
    high = made[alive].max() / (made / scales)[alive].max()
    held = np.where(read > 0, np.where(made > 0, scales, low), high)
    return np.where(alive, scales, np.clip(held, low, max(low, high)))


def absorb(first: FloatLayer, second: FloatLayer, amounts: Any) -> tuple[FloatLayer, FloatLayer]:
    """Return two layers between which every channel is smaller by an amount: high biases move into the second.

    b⁽¹⁾ − c and b⁽²⁾ + W⁽²⁾c, for r(Wx + b − c) = r(Wx + b) − c wherever Wx + b ≥ c (Nagel et al. 2019, "Absorbing high
    biases"). `amounts` are c ≥ 0, (channels,), such as `absorbable`; the range between the layers shrinks by them.
    The layers are joined by a ReLU, pooling or flattening. Where the second layer pads with zeros, its outputs at the
    border change: they read c there too, which had read nothing.

    Raises:
        QuantError: for amounts that are negative, not finite, or not one for each channel of both layers, and for a
            bias that comes to lie beyond float32.

    Example:
        >>> one, two = absorb(FloatLayer([[1.0]], [5.0]), FloatLayer([[2.0]], [0.0]), [4.0])
        >>> one.bias.tolist(), two.bias.tolist()
        ([1.0], [8.0])
    """
    for layer in (first, second):
        as_instance(layer, FloatLayer, "a layer", "give FloatLayer(weight, bias)")
    c = as_finite(amounts, "amounts")
    if not first.outputs == second.channels == c.size or c.ndim != 1:
        raise QuantError(
            f"amounts has shape {c.shape}, for a layer of {first.outputs} outputs and one that reads {second.channels} "
            "channels; give one for each channel between the two"
        )
    if (c < 0).any():
        raise QuantError(f"amounts of shape {c.shape} has values that are negative ({c.min():.4g}); give 0 or more")
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float64 is refused with the bias
        read = np.einsum("goiv,gi->go", second.by_input().astype(np.float64), c.reshape(second.groups, -1)).reshape(-1)
    return first.with_bias(first.bias - c), second.with_bias(second.bias + read)


def absorbable(mean: Any, deviation: Any) -> Float64Array:
    """Return c = max(0, β − 3γ), which all but 0.13 % of normal values with mean β and deviation γ exceed.

    (Nagel et al. 2019, "Absorbing high biases", with β and γ of the BatchNorm before.)

    Raises:
        QuantError: for values that are not finite, and shapes that do not broadcast.

    Example:
        >>> absorbable([5.0, 1.0], [1.0, 1.0]).tolist()
        [2.0, 0.0]
    """
    beta, gamma = normal_parameters(mean, deviation)
    with np.errstate(over="ignore"):
        return np.maximum(beta - ABSORBED * gamma, 0.0)
