"""How every kernel is compiled, and the few machine operations Python has no word for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

operation = cast(Callable[[Callable[..., Any]], Callable[..., Any]], intrinsic)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use, cache on disk, release the GIL, and divide as numpy does (no exception at 0)."""
    return cast(Callable[..., Any], njit(nogil=True, cache=True, error_model="numpy")(function))


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as `kernel` does, always inlined into the kernels that call it."""
    return cast(Callable[..., Any], njit(nogil=True, cache=True, error_model="numpy", forceinline=True)(function))


@operation
def add_any_order(context: Any, a: Any, b: Any) -> Any:
    """Return a + b, an addition the compiler may reorder, so that a sum runs in vector lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(args[0], args[1], flags=("reassoc",))

    return a(a, a), generate


@operation
def bits_of(context: Any, x: Any) -> Any:
    """Return the bit pattern of a float32 as int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


@operation
def float_of(context: Any, bits: Any) -> Any:
    """Return the float32 with this bit pattern."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


@operation
def round_even(context: Any, x: Any) -> Any:
    """Return the nearest whole number of a float32 or float64, half to even."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [args[0].type]), args)

    return x(x), generate


MAGNITUDE = np.int32(0x7FFFFFFF)  # every bit of a float32 but the sign; also the largest int32
INFINITY_BITS = np.int32(0x7F800000)


@kernel
def ordered(x):
    """Return an int32 that sorts as the float32 does; beyond ±infinity's for NaN."""
    bits = bits_of(x)
    return bits ^ ((bits >> np.int32(31)) & MAGNITUDE)


@kernel
def unordered(key):
    """Undo `ordered`."""
    return float_of(np.int32(key ^ ((key >> np.int32(31)) & MAGNITUDE)))
