"""How every kernel is compiled, and the few machine operations Python has no word for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.caching import IndexDataCacheFile
from numba.extending import intrinsic

operation = cast(Callable[[Callable[..., Any]], Callable[..., Any]], intrinsic)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use, cache on disk, release the GIL, and divide as numpy does (no exception at 0)."""
    return _cached(njit(nogil=True, error_model="numpy")(function))


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as `kernel` does, always inlined into the kernels that call it."""
    return _cached(njit(nogil=True, error_model="numpy", forceinline=True)(function))


def _cached(compiled: Any) -> Callable[..., Any]:
    """Cache a kernel on disk if there is a place for it: else each process compiles it, and a full disk is no error."""
    try:
        compiled.enable_caching()
    except RuntimeError:  # no folder takes files: not beside the source, not in the home, not NUMBA_CACHE_DIR
        return cast(Callable[..., Any], compiled)
    cache = compiled._cache
    numbered = cache._cache_file
    cache._cache_file = _LabelledFile(cache.cache_path, cache._impl.filename_base, numbered._source_stamp)
    save = cache.save_overload

    def save_if_possible(*kept: Any) -> None:
        with suppress(OSError):
            save(*kept)

    cache.save_overload = save_if_possible
    return cast(Callable[..., Any], compiled)


class _LabelledFile(IndexDataCacheFile):
    """A kernel's files, of which each says what its code is for; any other is compiled anew.

    numba numbers them: two processes that begin together may give one number to code for different types, and one of
    them would then run machine code for the other's arrays.
    """

    def save(self, key: Any, code: Any) -> None:
        """Keep the code for some types under a label."""
        super().save(key, (self._source_stamp, key, code))

    def load(self, key: Any) -> Any:
        """Return the code for some types, None if there is none or it is not whole."""
        try:
            stamp, labelled, code = super().load(key) or (None, None, None)
        except (EOFError, ValueError, pickle.UnpicklingError):  # cut when the power failed, or another version's
            return None
        return code if (stamp, labelled) == (self._source_stamp, key) else None

    def _load_index(self) -> Any:
        """Return which code there is, none if that is not whole."""
        try:
            return super()._load_index()
        except (EOFError, pickle.UnpicklingError):
            return {}


@operation
def add_any_order(context: Any, a: Any, b: Any) -> Any:
    """Return a + b, an addition the compiler may reorder, so that a sum runs in vector lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(args[0], args[1], flags=("reassoc",))

    return a(a, a), generate


@operation
def add_product(context: Any, total: Any, a: Any, b: Any) -> Any:
    """Return total + a · b in any order and, where the machine can, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flags = ("reassoc", "contract")
        return builder.fadd(args[0], builder.fmul(args[1], args[2], flags=flags), flags=flags)

    return total(total, a, b), generate


@operation
def magnitude_bits(context: Any, x: Any) -> Any:
    """Return the bit pattern of |x|, an integer as wide as x that sorts as |x| does, above infinity's for NaN."""
    width = x.bitwidth

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.and_(builder.bitcast(args[0], ir.IntType(width)), ir.IntType(width)(2 ** (width - 1) - 1))

    return getattr(types, f"int{width}")(x), generate


@operation
def bits_of(context: Any, x: Any) -> Any:
    """Return the bit pattern of a float32 as int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


@operation
def float_of(context: Any, bits: Any) -> Any:
    """Return the float32 of an int32 bit pattern, or the float64 of an int64."""
    single = bits.bitwidth == 32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType() if single else ir.DoubleType())

    return (types.float32 if single else types.float64)(bits), generate


@operation
def round_even(context: Any, x: Any) -> Any:
    """Return the nearest whole number of a float32 or float64, half to even."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [args[0].type]), args)

    return x(x), generate


MAGNITUDE = np.int32(0x7FFFFFFF)  # every bit of a float32 but the sign
INFINITY_BITS = np.int32(0x7F800000)


@kernel
def ordered(x):
    """Return an int32 that sorts as the float32 does; beyond ±infinity's for NaN."""
    bits = bits_of(x)
    return np.int32(bits ^ ((bits >> np.int32(31)) & MAGNITUDE))


@kernel
def unordered(key):
    """Undo `ordered`."""
    return float_of(np.int32(key ^ ((key >> np.int32(31)) & MAGNITUDE)))
