"""What ONNX can say of a quantizer: the type of its codes, and where its scales lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.export.base import Finding, Part, planned_specs
from quant_engine.formats import E4M3, E5M2, FixedPointFormat, IntFormat
from quant_engine.granularity import PerTensor
from quant_engine.models import Layer
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import QuantizerSpec

OPSET, IR_VERSION = 21, 10  # int4, int16 and blocks
OPSET_INT2, IR_VERSION_INT2 = 25, 13
WIDTHS = 4, 8, 16  # of ONNX's integers that onnxruntime executes under opset 21
FLOATS = {"FLOAT8E4M3FN": E4M3, "FLOAT8E5M2": E5M2}
INTEGERS = IntFormat | FixedPointFormat


@dataclass(frozen=True)
class Layout:
    """Where the scales of a matrix (out, everything else) lie, as DequantizeLinear's attributes say it.

    Attributes:
        axis: along which they lie; None for one scale.
        block: values along the axis that share one; 0 where each index has its own.
        repeats: how often each scale of the grid is written along each axis.
    """

    axis: int | None
    block: int = 0
    repeats: tuple[int, int] = (1, 1)


def code_type(format: Any, int2: bool = False) -> str | None:
    """Return ONNX's name of the type that holds a format's codes, or None where there is none.

    >>> code_type(IntFormat(3)), code_type(IntFormat(8, signed=False)), code_type(E4M3)
    ('INT4', 'UINT8', 'FLOAT8E4M3FN')
    """
    if isinstance(format, INTEGERS):
        widths = (2, *WIDTHS) if int2 else WIDTHS
        width = next(width for width in widths if width >= format.bits)
        return f"{'' if format.signed else 'U'}INT{width}"
    return next((name for name, known in FLOATS.items() if _same_values(known, format)), None)


def activation_type(format: Any) -> str | None:
    """Return the type in which activations are quantized; what is narrower is cut off by Clip, which has 8 bits.

    >>> activation_type(IntFormat(6)), activation_type(IntFormat(12))
    ('INT8', None)
    """
    if not isinstance(format, INTEGERS):
        return None  # of float8, onnxruntime's graph optimization drops a ReLU before it, as if 0 were the least code
    for width in WIDTHS:
        kind = f"{'' if format.signed else 'U'}INT{width}"
        if integer_range(kind) == format.code_range or (width == 8 and format.bits <= width):
            return kind
    return None


def integer_range(kind: str) -> tuple[int, int]:
    """Return the least and the greatest code of one of ONNX's integers.

    >>> integer_range("INT4"), integer_range("UINT8")
    ((-8, 7), (0, 255))
    """
    bits = int(kind.removeprefix("U").removeprefix("INT"))
    return (0, (1 << bits) - 1) if kind.startswith("U") else (-(1 << bits - 1), (1 << bits - 1) - 1)


def weight_layout(spec: QuantizerSpec, shape: tuple[int, int]) -> Layout:
    """Return where the scales of a weight in the view (out, everything else) lie.

    Rectangles and groups of channels repeat their scales.

    >>> from quant_engine import PerChannelGroup, PerGroup
    >>> weight_layout(QuantizerSpec(IntFormat(4), PerGroup(32)), (8, 64))
    Layout(axis=1, block=32, repeats=(1, 1))
    >>> weight_layout(QuantizerSpec(IntFormat(4), PerChannelGroup(4)), (8, 64))
    Layout(axis=0, block=0, repeats=(4, 1))
    """
    (rows, columns), (out, width) = spec.granularity.blocks(shape).block, shape
    if rows == out and columns == width:
        return Layout(None)
    if columns == width:
        return Layout(0, 0, (rows, 1))
    if rows == out and columns == 1:
        return Layout(1)
    if columns == 1:
        return Layout(0, rows)
    return Layout(1, columns, (rows, 1))


def spread(values: NDArray[Any], layout: Layout, shape: tuple[int, int]) -> NDArray[Any]:
    """Return a grid's scales or zero points in the shape that DequantizeLinear wants for a matrix."""
    if layout.axis is None:
        return values.reshape(())
    repeated = np.repeat(values, layout.repeats[0], 0)[: shape[0]] if layout.repeats[0] > 1 else values
    return np.ascontiguousarray(repeated) if layout.block else repeated.reshape(-1)


def activation_axis(spec: QuantizerSpec, layer: Layer) -> int | None:
    """Return the axis of an activation's scales, from the end for a linear layer; None for one scale.

    Raises:
        QuantError: for blocks that QuantizeLinear cannot have where the number of samples is open.
    """
    shape = (1, *layer.input_shape)
    blocks = spec.granularity.blocks(shape)
    split = [axis for axis, (size, block) in enumerate(zip(shape, blocks.block, strict=True)) if block < size]
    if not split:
        return None
    if len(split) > 1 or blocks.block[split[0]] != 1:
        raise QuantError(f"{spec.granularity} makes blocks of {blocks.block} of {shape}")
    return split[0] - len(shape) if layer.op == "linear" else split[0]


def find_onnx(network: Network, plan: QuantizationPlan) -> Iterator[Finding]:
    """Yield what ONNX, or onnxruntime as it is today, cannot express of a plan."""
    layers = network.layers()
    for part, spec, layer in planned_specs(plan):
        if part.role == "weight":
            yield from _find_weight(part, spec)
        else:
            yield from find_activation(layers[part.layer], spec, layer.dynamic)
            yield from _find_saturation(plan, part)


def _find_weight(part: Part, spec: QuantizerSpec) -> Iterator[Finding]:
    kind = code_type(spec.format, int2=True)
    if kind is None:
        near = replace(spec, format=_nearest_integer(spec.format.bits), symmetric=True, scale_format=None)
        yield Finding("refused", f"{_named(spec)} is no type of ONNX that onnxruntime executes", *part, near)
        return
    if isinstance(spec.format, INTEGERS) and not kind.endswith(f"INT{spec.format.bits}"):
        yield Finding("warning", f"codes of {spec.format.bits} bits are stored as {kind}, with the same values", *part)
    if spec.scale_format is not None:
        yield Finding("warning", "the scales are stored as float32, with the same values", *part)


def find_activation(layer: Layer, spec: QuantizerSpec, dynamic: bool) -> Iterator[Finding]:
    """Yield why QuantizeLinear cannot quantize what a layer receives, if it cannot."""
    near, reasons = spec, []
    if activation_type(spec.format) is None:
        signed = getattr(spec.format, "signed", True)
        near = replace(near, format=_nearest_integer(spec.format.bits, signed), symmetric=near.symmetric or not signed)
        reasons.append(f"{_named(spec)} is no type in which onnxruntime quantizes activations")
    if spec.rounding != "nearest":
        near = replace(near, rounding="nearest")
        reasons.append(f"QuantizeLinear rounds to nearest, not {spec.rounding}")
    if dynamic:
        reasons.append("its range is found on each sample, but QuantizeLinear has a fixed one")
    try:
        activation_axis(spec, layer)
    except QuantError as error:
        near = replace(near, granularity=PerTensor())
        reasons.append(f"{error}; QuantizeLinear has one scale, or one for each index of an axis")
    if reasons:
        yield Finding("refused", "; ".join(reasons), layer.name, "activation", near)


def _find_saturation(plan: QuantizationPlan, part: Part) -> Iterator[Finding]:
    """Yield a warning where fused kernels add pairs of products in 16 bits."""
    specs = {other: spec for other, spec, _ in planned_specs(plan) if other.layer == part.layer}
    weight, activation = specs.get(Part(part.layer, "weight")), specs[part]
    if weight is None or not may_saturate(weight, activation):
        return
    seven = replace(weight, format=replace(weight.format, bits=7))
    yield Finding(
        "warning",
        "unsigned 8-bit inputs with signed 8-bit weights: on x86 without VNNI onnxruntime's fused kernels add pairs of "
        "products in 16 bits and saturate; weights of 7 bits (reduce_range) cannot",
        part.layer,
        "weight",
        seven,
    )


def may_saturate(weight: QuantizerSpec, activation: QuantizerSpec) -> bool:
    """Return whether 2 · 255 · 128 is beyond 16 bits: unsigned 8-bit inputs and signed 8-bit weights."""
    kinds = (weight.format, activation.format)
    if not all(isinstance(kind, IntFormat) and kind.bits == 8 for kind in kinds):
        return False
    return bool(weight.format.signed and not activation.format.signed)


def _nearest_integer(bits: int, signed: bool = True) -> IntFormat:
    return IntFormat(next(width for width in WIDTHS if width >= min(bits, WIDTHS[-1])), signed)


def _named(spec: QuantizerSpec) -> str:
    return f"{type(spec.format).__name__} of {spec.format.bits} bits"


def _same_values(known: Any, format: Any) -> bool:
    """Return whether two float formats have the same codes; that one saturates does not matter, a quantizer does."""
    return type(known) is type(format) and replace(format, saturate=known.saturate) == known
