"""Vectors of int32 lanes as values of kernels, for sums of products of codes: what a loop alone does not compile to.

Each lane of what is multiplied holds two 16-bit numbers, the first in the lower half. Their two products are added up
in one instruction where the machine has it (`pmaddwd` of x86, with the sum `vpdpwssd`); elsewhere LLVM writes the same
in several.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from quant_engine.kernels.compile import helper, operation

LANES = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8  # as many as a register holds
WORD, HALF_WORD = ir.IntType(32), ir.IntType(16)


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
        wide = ir.VectorType(WORD, LANES)
        first = builder.insert_element(ir.Constant(wide, ir.Undefined), args[0], WORD(0))
        return builder.shuffle_vector(first, first, _constant([0] * LANES))

    return lanes(types.int32), generate


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
    return builder.bitcast(place, ir.VectorType(WORD, LANES).as_pointer())


def _constant(numbers: Any) -> Any:
    listed = list(numbers)
    return ir.Constant(ir.VectorType(WORD, len(listed)), listed)
