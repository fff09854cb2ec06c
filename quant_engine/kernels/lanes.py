"""Vectors of int32 lanes as values of kernels, for sums of products of codes: what a loop alone does not compile to.

Each lane of what is multiplied holds two 16-bit numbers, the first in the lower half. Their two products are added up
in one instruction where the machine has it (`pmaddwd` of x86, with the sum `vpdpwssd`); elsewhere LLVM writes the same
in several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from quant_engine.kernels.compile import helper, operation

LANES = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8  # as many as a register holds
HALF_WORD, WORD, DOUBLE_WORD = ir.IntType(16), ir.IntType(32), ir.IntType(64)


class Lanes(types.Type):
    """The type of a vector of `LANES` int32."""

    def __init__(self) -> None:
        """Name it."""
        super().__init__(f"Lanes({LANES})")


lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.VectorType(WORD, LANES))


@operation
def load(context: Any, array: Any, start: Any) -> Any:
    """Return the lanes of an int32 array (size,) from `start` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = builder.load(_pointer(context, builder, signature, args))
        found.align = 4
        return found

    return lanes(array, types.int64), generate


@operation
def store(context: Any, array: Any, start: Any, values: Any) -> Any:
    """Write lanes to an int32 array (size,) from `start` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature, args)).align = 4
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes), generate


@operation
def spread(context: Any, number: Any) -> Any:
    """Return an int32 in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(builder, args[0], ir.VectorType(WORD, LANES))

    return lanes(types.int32), generate


def _elementwise(build: Callable[[Any, Any, Any], Any]) -> Any:
    """Return an operation on two vectors, lane by lane."""

    @operation
    def both(context: Any, a: Any, b: Any) -> Any:
        return lanes(lanes, lanes), lambda context, builder, signature, args: build(builder, *args)

    return both


add = _elementwise(lambda builder, a, b: builder.add(a, b))
both_bits = _elementwise(lambda builder, a, b: builder.and_(a, b))
shift_right = _elementwise(lambda builder, a, b: builder.ashr(a, b))
minimum = _elementwise(lambda builder, a, b: builder.select(builder.icmp_signed("<", a, b), a, b))
maximum = _elementwise(lambda builder, a, b: builder.select(builder.icmp_signed(">", a, b), a, b))


@operation
def scaled(context: Any, values: Any, multiplier: Any, half: Any, places: Any) -> Any:
    """Return the lower 32 bits of (values · multiplier + half) >> places, computed in 64, for a multiplier of 32 bits.

    Even and odd lanes apart, each in the lower half of 64 bits, as x86 multiplies; on a little-endian machine.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.VectorType(DOUBLE_WORD, LANES // 2)
        word, upper = (ir.Constant(wide, [number] * (LANES // 2)) for number in (32, -1 << 32))
        values = builder.bitcast(args[0], wide)
        factor, half, places = (_spread(builder, one, wide) for one in args[1:])
        even, odd = (
            builder.ashr(builder.add(builder.mul(one, factor), half), places)
            for one in (builder.ashr(builder.shl(values, word), word), builder.ashr(values, word))
        )
        found = builder.or_(builder.and_(even, builder.not_(upper)), builder.shl(odd, word))
        return builder.bitcast(found, ir.VectorType(WORD, LANES))

    return lanes(lanes, types.int64, types.int64, types.int64), generate


@operation
def store_codes(context: Any, array: Any, start: Any, values: Any) -> Any:
    """Write the lowest 8 bits of lanes to an array of codes (size,) from `start` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        codes = builder.trunc(args[2], ir.VectorType(ir.IntType(8), LANES))
        builder.store(codes, _pointer(context, builder, signature, args)).align = 1
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes), generate


@operation
def add_pairs(context: Any, total: Any, a: Any, b: Any) -> Any:
    """Return total + the sum of the two products of a's and b's 16-bit numbers, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        halves, wide = ir.VectorType(HALF_WORD, 2 * LANES), ir.VectorType(WORD, 2 * LANES)
        first, second = (builder.sext(builder.bitcast(one, halves), wide) for one in args[1:])
        products = builder.mul(first, second)
        even, odd = (
            builder.shuffle_vector(products, products, _constant(range(start, 2 * LANES, 2))) for start in (0, 1)
        )
        return builder.add(args[0], builder.add(even, odd))

    return lanes(lanes, lanes, lanes), generate


@helper
def pair(first, second):
    """Return an int32 that holds two 16-bit numbers, to be put into a lane."""
    return np.int32((np.int32(first) & np.int32(0xFFFF)) | np.int32(np.int32(second) << np.int32(16)))


def _pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    place = builder.gep(array.data, [args[1]])
    kind = ir.VectorType(array.data.type.pointee, LANES)
    return builder.bitcast(place, kind.as_pointer())


def _spread(builder: Any, number: Any, kind: ir.VectorType) -> Any:
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, WORD(0))
    return builder.shuffle_vector(first, first, _constant([0] * kind.count))


def _constant(numbers: Any) -> Any:
    listed = list(numbers)
    return ir.Constant(ir.VectorType(WORD, len(listed)), listed)
