"""AdaRound: for every weight it is learned whether to round it down or up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from quant_engine.checks import as_instance, as_integer, as_number, validate_boolean
from quant_engine.compensation.layer import as_layer, exponents, in_groups
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, as_float32, raise_non_finite
from quant_engine.kernels.adaround import DECAYS, LOW, SPAN, descend, reconstruct, roundings
from quant_engine.kernels.parallel import over_ranges
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec, fit

LARGEST_SEED = 2**63 - 1  # that numpy and torch take
COST = 16  # a weight's step in values that are merely read


@dataclass(frozen=True)
class AdaRoundSetting:
    """How the rounding is learned.

    `weight` is λ of the regulariser, whose exponent β falls along a cosine from the first of `exponents` to the second,
    after a share `warm_start` of the iterations that go without it. `batch` samples are drawn in each, or all are taken
    where there are no more. By default a layer of 384 × 1536 takes some seven seconds on two cores; time grows with
    its weights and with the iterations.

    Raises:
        QuantError: for counts below 1, a rate or an exponent that is not positive, a negative weight or seed, and a
            warm start outside 0 to 1.
    """

    iterations: int = 1000
    batch: int = 128
    rate: float = 0.05
    weight: float = 10.0
    exponents: tuple[float, float] = (20.0, 2.0)
    warm_start: float = 0.2
    seed: int = 0
    every: int = 100  # iterations between two steps that are told

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("iterations", "batch", "every"):
            object.__setattr__(self, name, as_integer(getattr(self, name), name, 1))
        object.__setattr__(self, "seed", as_integer(self.seed, "seed", 0, LARGEST_SEED))
        object.__setattr__(self, "rate", as_number(self.rate, "rate", above=0))
        object.__setattr__(self, "weight", as_number(self.weight, "weight", low=0))
        object.__setattr__(self, "warm_start", as_number(self.warm_start, "warm_start", 0, 1))
        pair = self.exponents if isinstance(self.exponents, tuple | list) else ()
        if len(pair) != 2:
            raise QuantError(
                f"exponents={self.exponents!r} must be two numbers: the first β and the last, as (20.0, 2.0)"
            )
        object.__setattr__(self, "exponents", tuple(as_number(beta, "exponents", above=0) for beta in pair))


@dataclass(frozen=True, eq=False)
class AdaRoundStep:
    """How far it is: `loss` is the mean squared error of the outputs over that of rounding to nearest.

    Both are measured on the same samples, and with weights that are still between two codes until the end. `undecided`
    is the share of those. `quantized` is what all weights would be rounded to now.
    """

    iteration: int
    loss: float
    undecided: float
    quantized: QuantizedTensor


def adaround(W: Any, x: Any, spec: QuantizerSpec, target: Any = None, **more: Any) -> QuantizedTensor:
    """Quantize a layer with the rounding, down or up, that changes its outputs least: the end of `adaround_steps`.

    Raises:
        QuantError: as `adaround_steps`.

    Example:
        >>> from quant_engine import IntFormat, PerChannel, quantize
        >>> rng = np.random.default_rng(0)
        >>> W, x = rng.standard_normal((8, 16)), rng.standard_normal((500, 4)) @ rng.standard_normal((4, 16))
        >>> spec = QuantizerSpec(IntFormat(3), PerChannel())
        >>> def error(q):
        ...     return np.square(x @ (q.dequantize() - W).T).mean()
        >>> bool(error(adaround(W, x, spec)) < 0.5 * error(quantize(W, spec)))
        True
    """
    *_, last = adaround_steps(W, x, spec, target, **more)
    return last.quantized


def adaround_steps(
    W: Any,
    x: Any,
    spec: QuantizerSpec,
    target: Any = None,
    bias: Any = None,
    relu: bool = False,
    setting: AdaRoundSetting | None = None,
) -> Iterator[AdaRoundStep]:
    """Learn whether to round each weight down or up, a step each `setting.every` iterations.

    Ŵ = s·clip(⌊W/s⌋ + h(V), qmin, qmax) with h(V) = clip(σ(V)(ζ − γ) + γ, 0, 1), ζ = 1.1 and γ = −0.1 (Nagel et al.
    2020, "Up or Down?", equations 22 and 23). V is learned by Adam; what is minimised is the mean of
    ‖f(Wx + b) − f(Ŵx̂ + b)‖² over the samples plus λ·Σ(1 − |2h(V) − 1|^β) (equations 24 and 25), whose β falls, so that
    every h ends at 0 or 1. Other than there, the error is divided by that of rounding to nearest and the sum by the
    number of weights, so that λ means the same in every layer. Nor do the units of weights and inputs matter: all are
    divided by powers of two first, so that float32 holds their squares.

    W is (out, in); x̂, (samples, in) or (groups, samples, in), are the inputs of the quantized layer; `target`,
    (samples, out), is what the layer should give before f: by default Wx̂ + b. `bias` is (out,), 0 by default; f is the
    ReLU if `relu`, else nothing. Everything random is drawn from `setting.seed`.

    Raises:
        QuantError: for formats whose codes are not of equal steps, for shapes that do not go together, a layer without
            outputs or inputs, and values that are not finite.
    """
    weight = as_layer(W)
    if not as_instance(spec, QuantizerSpec, "spec", "give a QuantizerSpec").format.even:
        raise QuantError(
            f"AdaRound with {spec.format}: it chooses between ⌊W/s⌋ and the next code, so codes must have equal steps; "
            "use IntFormat or FixedPointFormat, or GPTQ, which takes every scalar format"
        )
    validate_boolean(relu, "relu")
    chosen = AdaRoundSetting() if setting is None else setting
    as_instance(chosen, AdaRoundSetting, "setting", "give an AdaRoundSetting")
    inputs = _as_samples(x, weight)
    outputs = inputs.shape[1], len(weight)
    shift = _finite(np.zeros(len(weight), np.float32) if bias is None else bias, "bias")
    if shift.shape != weight.shape[:1]:
        raise QuantError(f"bias has shape {shift.shape} for W of shape {weight.shape}; give one value for each output")
    wanted = None if target is None else _finite(target, "target")
    if wanted is not None and wanted.shape != outputs:
        raise QuantError(f"target has shape {wanted.shape}; give (samples, out), here {outputs}")
    return _learn(_Problem(weight, inputs, shift, wanted), spec, relu, chosen)


class _Problem(NamedTuple):
    weight: Float32Array
    inputs: Float32Array  # (groups, samples, in)
    bias: Float32Array
    target: Float32Array | None  # None: what the weight gives of the inputs


class _Layer:
    """What a layer is to give, with an axis of groups, in units in which float32 holds all squares.

    `x` is (groups, samples, in), `y` (groups, samples, out/groups) and `b` (groups, 1, out/groups). Weights and outputs
    are divided by powers of two with which the greatest are about 1.
    """

    def __init__(self, problem: _Problem, fitted: Quantizer, relu: bool) -> None:
        """Choose the units."""
        weight, inputs, bias, target = problem
        groups, samples, _ = inputs.shape
        self.rounding = rounding = _Rounding(weight, fitted, groups)
        unit = rounding.unit
        outputs = max(unit + int(exponents(inputs)), int(exponents(bias)))
        outputs = outputs if target is None else max(outputs, int(exponents(target)))
        self._relu = relu
        self._x, self._b = np.ldexp(inputs, unit - outputs), np.ldexp(bias, -outputs).reshape(groups, 1, -1)
        if target is None:
            self._y = self._outputs(self._x, in_groups(np.ldexp(weight, -unit), groups))
        else:
            y = np.ldexp(target, -outputs).reshape(samples, groups, -1).transpose(1, 0, 2)
            self._y = self._rectify(y)
        self.samples = samples
        self.unit = float(self.error(rounding.nearest, slice(None))[0] + 1e-12 * _mean_square(self._y) + 1e-30)

    def error(self, w_hat: Float32Array, at: Any) -> tuple[float, Float32Array]:
        """Return the squared error of the outputs of Ŵ, a mean over the samples `at`, and its gradient by Ŵ."""
        x, y = self._x[:, at], self._y[:, at]
        outputs = self._outputs(x, w_hat)
        difference = outputs - y
        slope = np.where(outputs > 0, difference, np.float32(0)) if self._relu else difference
        gradient = _product(slope.transpose(0, 2, 1), x)
        gradient *= np.float32(2 / x.shape[1])
        return _mean_square(difference), gradient

    def _outputs(self, x: Float32Array, weight: Float32Array) -> Float32Array:
        outputs = _product(x, weight.transpose(0, 2, 1))
        outputs += self._b
        return self._rectify(outputs)

    def _rectify(self, outputs: Float32Array) -> Float32Array:
        return np.maximum(outputs, np.float32(0)) if self._relu else outputs


def _product(one: Float32Array, other: Float32Array) -> Float32Array:
    """Return one @ other, by torch: numpy's threads spin for a while behind a product, when the kernel needs them."""
    import torch

    product: Float32Array = torch.bmm(torch.from_numpy(one), torch.from_numpy(other)).numpy()
    return product


def _mean_square(errors: Float32Array) -> float:
    """Return the sum over groups and outputs of the mean square over samples."""
    return float(np.square(errors).mean(1).sum())


def _learn(problem: _Problem, spec: QuantizerSpec, relu: bool, setting: AdaRoundSetting) -> Iterator[AdaRoundStep]:
    layer = _Layer(problem, fit(problem.weight, spec), relu)
    rounding, rng = layer.rounding, np.random.default_rng(setting.seed)
    few = setting.batch < layer.samples
    for start in range(0, setting.iterations, setting.every):
        stop, total = min(start + setting.every, setting.iterations), 0.0
        for iteration in range(start, stop):
            at = rng.integers(layer.samples, size=setting.batch) if few else slice(None)
            error, gradient = layer.error(rounding.w_hat, at)
            total += error
            gradient /= np.float32(layer.unit)
            rounding.descend(gradient, setting, iteration)
        h = rounding.shares()
        undecided = float(np.mean((h > 0.01) & (h < 0.99)))
        yield AdaRoundStep(stop, total / layer.unit / (stop - start), undecided, rounding.quantized(h))


class _Rounding:
    """A weight's codes, of which it has two to choose from, and what has been learned of the choice.

    Arrays are (groups, out/groups, in); values are divided by 2^`unit`.
    """

    def __init__(self, weight: Float32Array, fitted: Quantizer, groups: int) -> None:
        """Find the lower code of every weight, and V with h(V) = W/s − ⌊W/s⌋: learning starts where the weights are."""
        self._fitted, spec = fitted, fitted.spec
        rows, columns = spec.granularity.blocks(weight.shape).block
        place = np.ix_(np.arange(weight.shape[0]) // rows, np.arange(weight.shape[1]) // columns)
        step = (fitted.scale[place] * np.float32(getattr(spec.format, "step", 1.0))).astype(np.float32)
        largest = np.zeros_like(fitted.scale)
        np.maximum.at(largest, place, np.abs(weight))
        step[largest[place] == 0] = 0.0  # a block of zeros stays one, whatever scale it was given
        self.unit = unit = int(max(exponents(weight), exponents(step))) if weight.any() else 0
        zero = fitted.zero_point[place].astype(np.float32)
        ratio = np.divide(weight, step, out=np.zeros_like(weight), where=step > 0)
        lower = np.floor(ratio)
        share = np.clip((ratio - lower - LOW) / SPAN, 1e-4, 1 - 1e-4)
        self._grid = np.stack([part.ravel() for part in (lower + zero, np.ldexp(step, -unit), zero)])
        self._state = np.zeros((3, weight.size), np.float32)
        self._state[0] = np.log(share / (1 - share)).ravel()
        self._ends = np.float32(spec.format.qmin), np.float32(spec.format.qmax)
        self.nearest = in_groups(np.ldexp(fitted.fake_quantize(weight), -unit), groups)
        self.w_hat = np.empty_like(self.nearest)
        reconstruct(self._state, self._grid, self._ends, self.w_hat.reshape(-1))

    def descend(self, gradient: Float32Array, setting: AdaRoundSetting, iteration: int) -> None:
        """Take a step down the error, whose gradient by Ŵ is given, and the regulariser."""
        size, exponent = gradient.size, _annealed(iteration, setting)
        weight = 0.0 if exponent is None else setting.weight / size
        regulariser = np.float32(weight), np.float32(exponent or 1.0)
        corrections = tuple(np.float32(1 / (1 - float(decay) ** (iteration + 1))) for decay in DECAYS)
        flat, out, rate = gradient.reshape(-1), self.w_hat.reshape(-1), np.float32(setting.rate)

        def work(start: int, stop: int) -> None:
            descend(flat, self._state, self._grid, self._ends, rate, corrections, regulariser, out, start, stop)

        over_ranges(size, work, cost=size * COST)

    def shares(self) -> Float32Array:
        """Return h(V) of every weight: the share of the way from the lower code to the upper one."""
        h = np.empty(self._state.shape[1], np.float32)
        roundings(self._state, h)
        return h

    def quantized(self, h: Float32Array) -> QuantizedTensor:
        """Return the codes that are nearer."""
        fitted = self._fitted
        codes = np.clip(self._grid[0] + (h >= 0.5), *self._ends).reshape(self.w_hat.shape[0] * self.w_hat.shape[1], -1)
        return QuantizedTensor(codes.astype(fitted.spec.format.dtype), fitted.scale, fitted.zero_point, fitted.spec)


def _annealed(iteration: int, setting: AdaRoundSetting) -> float | None:
    """Return β, or None during the warm start."""
    begun = iteration / setting.iterations - setting.warm_start
    if begun < 0:
        return None
    done = begun / (1 - setting.warm_start)
    first, last = setting.exponents
    return last + 0.5 * (first - last) * (1 + float(np.cos(np.pi * done)))


def _as_samples(x: Any, weight: Float32Array) -> Float32Array:
    """Return inputs as (groups, samples, in)."""
    array = _finite(x, "x")
    inputs = array[None] if array.ndim == 2 else array
    outputs, width = weight.shape
    if (
        inputs.ndim != 3
        or inputs.shape[2] != width
        or not inputs.shape[0]
        or outputs % inputs.shape[0]
        or not inputs.shape[1]
    ):
        raise QuantError(
            f"x has shape {array.shape} for W of shape {weight.shape}; give (samples, {width}), or (groups, samples, "
            f"{width}) with as many groups as divide the {outputs} outputs"
        )
    return inputs


def _finite(given: Any, name: str) -> Float32Array:
    array = as_float32(given, name)
    if not np.isfinite(array).all():
        raise_non_finite(array, name)
    return array
