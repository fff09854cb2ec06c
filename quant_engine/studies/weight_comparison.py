"""Two models or files, tensor by tensor: what the weights of one have become in the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.formats import FP32
from quant_engine.inputs import Float32Array
from quant_engine.models import TensorModel, stored_quantization
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import QuantizedTensor, Quantizer

BLOCK = 1 << 20  # values that are float64 at a time
ENDINGS = ("_quantized", "/weight", ".weight")  # of onnxruntime for codes, of exporters and torch for weights


@dataclass(frozen=True, eq=False)
class WeightSet:
    """The weights of a model, a file, or a plan of one.

    Attributes:
        name: what it is called.
        shapes: of all weights, by name, in order.
        load: returns a weight in float32.
        bits: returns the bits that are stored for each value, everything counted.
    """

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    load: Callable[[str], Float32Array]
    bits: Callable[[str], float]


@dataclass(frozen=True)
class WeightDifference:
    """A weight in two sets, or in one of them alone.

    Attributes:
        name: in the first; None where it is in the second alone.
        other: its name in the second; None where it is in the first alone.
        shape: in the first, or the only one.
        bits: stored for each value in the first and in the second.
        sqnr_db: 10·log10(Σ x²/Σ (x − y)²): infinite where both are the same, NaN where only one has it.
        max_abs: the largest |x − y|.
        changed: share of the values that differ.
        refusal: why the values were not compared.
    """

    name: str | None
    other: str | None
    shape: tuple[int, ...]
    bits: tuple[float, float] = (math.nan, math.nan)
    sqnr_db: float = math.nan
    max_abs: float = math.nan
    changed: float = math.nan
    refusal: str = ""


def weights_of(network: Network, plan: QuantizationPlan | None = None) -> WeightSet:
    """Return the weights of a model or file as it stores them, or under a frozen plan.

    Raises:
        QuantError: for a plan that is not frozen.
    """
    chosen = QuantizationPlan() if plan is None else plan
    if not chosen.frozen:
        raise QuantError("the plan has specs that are not fitted; give network.freeze(plan)")
    layers = network.layers()

    def load(name: str) -> Float32Array:
        planned = chosen[name].weight
        if isinstance(planned, QuantizedTensor):
            return planned.dequantize().reshape(layers[name].shape)
        weight = network.weight(name)
        if not isinstance(planned, Quantizer):
            return weight
        return planned.fake_quantize(weight.reshape(layers[name].matrix_shape)).reshape(weight.shape)

    def bits(name: str) -> float:
        planned = chosen[name].weight
        if isinstance(planned, Quantizer | QuantizedTensor):
            return planned.spec.storage(layers[name].matrix_shape).bits_per_value
        stored = stored_quantization(network.model, name)
        if stored is not None and stored.read is not None:
            return stored.bits_per_value
        return _float_bits(network, name)

    return WeightSet(network.name, {name: info.shape for name, info in layers.items()}, load, bits)


def compare_weights(first: WeightSet, second: WeightSet) -> Iterator[WeightDifference]:
    """Yield what each weight has become, in the first's order; then those that are in the second alone.

    Weights of one name belong together, ".weight" and onnxruntime's "_quantized" aside. Those without a namesake are
    paired by their shape, transposed or not, where it tells them from all others that are left. Values are read weight
    by weight and not kept.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan, QuantizerSpec
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> frozen = network.freeze(QuantizationPlan({"fc2": LayerPlan(QuantizerSpec(IntFormat(8)))}))
        >>> found = {one.name: one for one in compare_weights(weights_of(network), weights_of(network, frozen))}
        >>> found["conv1"].sqnr_db, found["fc2"].bits, 35 < found["fc2"].sqnr_db < 45
        (inf, (32.0, 8.033333333333333), True)
    """
    pairs = _paired(first.shapes, second.shapes)
    for name, shape in first.shapes.items():
        other = pairs.get(name)
        if other is None:
            yield WeightDifference(name, None, shape, (first.bits(name), math.nan))
        else:
            yield _difference(first, second, name, other)
    taken = set(pairs.values())
    for name, shape in second.shapes.items():
        if name not in taken:
            yield WeightDifference(None, name, shape, (math.nan, second.bits(name)))


def _paired(first: Mapping[str, tuple[int, ...]], second: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return which weight of the second each of the first is."""
    pairs = {name: name for name in first if name in second}
    for grouped in (_by_stem, _by_shape):
        taken = set(pairs.values())
        left = grouped({name: shape for name, shape in first.items() if name not in pairs})
        right = grouped({name: shape for name, shape in second.items() if name not in taken})
        for key, names in left.items():
            if len(names) == 1 and len(found := right.get(key, [])) == 1:
                pairs[names[0]] = found[0]
    return pairs


def _by_stem(shapes: Mapping[str, tuple[int, ...]]) -> dict[object, list[str]]:
    """Return names by what is left of them without the endings that tools give weights, and by number of values."""
    found: dict[object, list[str]] = {}
    for name, shape in shapes.items():
        stem = name
        for ending in ENDINGS:
            stem = stem.removesuffix(ending)
        found.setdefault((stem, math.prod(shape)), []).append(name)
    return found


def _by_shape(shapes: Mapping[str, tuple[int, ...]]) -> dict[object, list[str]]:
    """Return names by shape."""
    found: dict[object, list[str]] = {}
    for name, shape in shapes.items():
        found.setdefault(_either_way(shape), []).append(name)
    return found


def _either_way(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape, of matrices the same one for both orientations."""
    return min(shape, shape[::-1]) if len(shape) == 2 else shape


def _difference(first: WeightSet, second: WeightSet, name: str, other: str) -> WeightDifference:
    shape, twin = first.shapes[name], second.shapes[other]
    known = WeightDifference(name, other, shape, (first.bits(name), second.bits(other)))
    alike = shape[:1] == twin[:1] and math.prod(shape) == math.prod(twin)  # or a view of it as (out, everything else)
    if not alike and (len(shape) != 2 or shape != twin[::-1]):
        return replace(known, refusal=f"it has shape {shape} in {first.name} and {twin} in {second.name}")
    try:
        x, y = first.load(name), second.load(other)
    except QuantError as error:
        return replace(known, refusal=str(error))
    found = _measured(known, x.reshape(-1), (y if alike else y.T).reshape(-1))
    if (
        found.sqnr_db < 0 and len(shape) == 2 and shape == shape[::-1]
    ):  # it may be the transposed one: the nearer counts
        return max(found, _measured(known, x.reshape(-1), y.T.reshape(-1)), key=lambda one: one.sqnr_db)
    return found


def _measured(known: WeightDifference, x: Float32Array, y: Float32Array) -> WeightDifference:
    """Return the difference of values (n,), block by block in float64."""
    signal = noise = largest = 0.0
    changed = 0
    for start in range(0, x.size, BLOCK):
        one, other = (side[start : start + BLOCK].astype(np.float64) for side in (x, y))
        moved = one - other
        signal, noise = signal + float(one @ one), noise + float(moved @ moved)
        largest, changed = max(largest, float(np.abs(moved).max())), changed + int(np.count_nonzero(moved))
    sqnr = math.inf if not noise else 10 * math.log10(signal / noise) if signal else -math.inf
    return replace(known, sqnr_db=sqnr, max_abs=largest, changed=changed / max(x.size, 1))


def _float_bits(network: Network, name: str) -> float:
    """Return the width of real values as the file stores them; of what is no file, 32."""
    if isinstance(network.model, TensorModel):
        dtype = network.model.file.info(name).dtype
        return float(16 if dtype in ("float16", "bfloat16") else 8 if dtype.startswith("float8") else 32)
    return float(FP32.bits)
