"""Static ranges without data: from images made to fit the BatchNorms, from noise, from the BatchNorms alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from quant_engine.checks import as_integer, as_number
from quant_engine.clipping import FixedRange
from quant_engine.compensation.batch_norm import Moments, moments, synthesise
from quant_engine.errors import QuantError
from quant_engine.execution import TorchExecutor
from quant_engine.inputs import Float32Array
from quant_engine.methods.expected import expected_inputs, expected_outputs
from quant_engine.methods.rounding import uniform_plan
from quant_engine.methods.stages import MethodProgress, Setting
from quant_engine.models import NormStatistics, trace
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import fit

if TYPE_CHECKING:
    from torch import Tensor

IMAGES, STEPS = 128, 150
ANYWHERE = -np.inf, np.inf
REACH = 6.0  # standard deviations (Nagel et al. 2019, experiments)
PIXELS = "pixels"


class Synthesis(NamedTuple):
    """Images on their way to the BatchNorms' statistics: `done` of `total` steps, and the loss before the last one."""

    done: int
    total: int
    loss: float
    images: Float32Array


def synthetic_images(network: Network, seed: int = 0, count: int = IMAGES, steps: int = STEPS) -> Iterator[Synthesis]:
    """Make images from nothing but the network (ZeroQ: Cai et al. 2020), one step of gradient descent at a time.

    Started from Gaussian noise, until at every BatchNorm mean and deviation are those it was trained on and, where the
    model's inputs are known to be normalised, those of all pixels 0 and 1. "Images" are whatever samples it takes.

    Raises:
        QuantError: for a network without BatchNorm, and numbers of images or steps below 1.

    Example:
        >>> from quant_engine.network import load
        >>> *_, last = synthetic_images(load("fashion-cnn"), count=4, steps=2)
        >>> last.done, last.images.shape
        (2, (4, 1, 28, 28))
    """
    import torch

    known, steps = _known(network), as_integer(steps, "steps", 1)
    wanted = {
        name: Moments(*(torch.from_numpy(array.copy()) for array in pair)) for name, pair in known.moments.items()
    }
    if known.input_range is not None:
        channels = known.input_shape[0]
        wanted[PIXELS] = Moments(torch.zeros(channels), torch.ones(channels))
    start = torch.from_numpy(gaussian_images(network, seed, count))
    found = synthesise(_Statistics(known), wanted, start, known.input_range or ANYWHERE, steps)
    for done, (loss, images) in enumerate(found, 1):
        yield Synthesis(done, steps, loss, images.numpy().copy())


def gaussian_images(network: Network, seed: int = 0, count: int = IMAGES) -> Float32Array:
    """Return images of Gaussian noise with the mean and deviation that the normalisation gives to pixels, 0 and 1.

    Raises:
        QuantError: for a network without BatchNorm, a number of images below 1, and a negative seed.
    """
    shape = as_integer(count, "count", 1), *_known(network).input_shape
    return np.random.default_rng(as_integer(seed, "seed", 0)).standard_normal(shape, np.float32)


def norm_moments(network: Network, images: Float32Array) -> dict[str, tuple[Float32Array, Float32Array]]:
    """Return mean and deviation (channels,) of what images lead to before every BatchNorm.

    Beside them stand the `moments` of `Model.statistics`, those of the images it was trained on.

    Raises:
        QuantError: for a network without BatchNorm, and images that it does not take.

    Example:
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> mean, deviation = norm_moments(network, gaussian_images(network, count=2))["conv1"]
        >>> mean.shape, deviation.shape
        ((16,), (16,))
    """
    import torch

    run, given = _Statistics(_known(network)), network.model.as_inputs(images)
    if isinstance(given, Mapping):
        raise QuantError(f"images are {', '.join(given)}; give one array, of the only input")
    with torch.inference_mode():
        found = run(torch.from_numpy(given))
    return {name: (found[name].mean.numpy(), found[name].deviation.numpy()) for name in found if name != PIXELS}


def _known(network: Network) -> NormStatistics:
    found = network.model.statistics
    if found is None:
        raise QuantError(f"{network.name} has no BatchNorm that tells of its data; calibrate on data instead")
    return found


def batch_norm_ranges(network: Network, reach: float = REACH) -> dict[str, tuple[float, float]]:
    """Return the range (lo, hi) of each layer's input that the parameters alone tell.

    Behind a BatchNorm, β ± reach · γ, through the ReLU; behind a layer without one, the same of `expected_outputs`.
    Pooling leaves ranges as they are. Pixels lie between 0 and 1 before they are normalised.

    Raises:
        QuantError: for a reach that is not positive.
    """
    reach = as_number(reach, "reach", above=0)
    inputs = expected_inputs(network, expected_outputs(network))
    return {name: values.range(reach) for name, values in inputs.items()}


def zeroq(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Clip by synthetic images instead of calibration images: no data are needed."""
    for at in synthesis(network, setting):
        plan = _calibrated(network, setting, at.images) if at.done == at.total else None
        yield MethodProgress(at.done, at.total, "images", plan, at.loss)


def gaussian_data(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Clip by Gaussian noise instead of calibration images."""
    yield MethodProgress(1, 1, "ranges", _calibrated(network, setting, gaussian_images(network, setting.seed)))


def ranges_from_norms(network: Network, setting: Setting) -> Iterator[MethodProgress]:
    """Take the inputs' ranges from BatchNorms, whatever the setting's clipping of inputs."""
    layers: dict[str, LayerPlan] = {}
    for name, (low, high) in batch_norm_ranges(network).items():
        activation = None
        if setting.activation is not None:
            spec = replace(setting.activation, clipping=FixedRange(low, high))
            activation = fit(np.zeros((1, *network.layers()[name].input_shape), np.float32), spec)
        layers[name] = LayerPlan(setting.weight, activation)
    yield MethodProgress(1, 1, "ranges", network.freeze(QuantizationPlan(layers)))


def synthesis(network: Network, setting: Setting) -> Iterator[Synthesis]:
    """Make as many images as methods take, by the setting's seed."""
    return synthetic_images(network, setting.seed, IMAGES, STEPS)


def _calibrated(network: Network, setting: Setting, images: Float32Array) -> QuantizationPlan:
    return network.freeze(uniform_plan(network, setting), images)


class _Statistics:
    """Gives the moments before every BatchNorm, and of the pixels, that images lead to."""

    def __init__(self, known: NormStatistics) -> None:
        self._names = {part: name for name, part in known.parts.items()}
        self._executor = TorchExecutor(known.module, trace(known.module, list(self._names)))

    def __call__(self, x: Tensor) -> Mapping[str, Moments]:
        given = self._executor.capture(x, self._names)
        return {PIXELS: moments(x)} | {self._names[part]: moments(values) for part, values in given.items()}
