"""What the engine takes in: real numbers as float32, finite, with an error that says where they are not."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
WIDER_THAN_FLOAT32 = 4  # bytes an element


def as_float32(x: Any, name: str = "x") -> Float32Array:
    """Return `x` as a float32 array of the same shape, without copying one that already is.

    Takes numpy arrays of any float type (those of ml_dtypes too), torch tensors of float16, bfloat16, float32 and
    float64, and lists of floats. Values are checked for finiteness later, by the pass that reads them.

    Raises:
        QuantError: for integers, booleans, complex numbers and objects, and for values beyond float32.
    """
    tensor: Any = getattr(sys.modules.get("torch"), "Tensor", ())  # it has none while another thread imports it
    if isinstance(x, tensor):
        x = x.detach().cpu()
        x = (x.float() if x.dtype == sys.modules["torch"].bfloat16 else x).numpy()
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise QuantError(f"{name} is not a rectangular array of numbers: {error}") from error
    if not array.dtype.name.startswith(("float", "bfloat")):
        raise QuantError(
            f"{name} has dtype {array.dtype} and shape {array.shape}; quantization takes real values: "
            "convert with .astype(numpy.float32)"
        )
    if array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    if array.dtype.itemsize > WIDER_THAN_FLOAT32:
        overflow = np.isinf(narrow) & np.isfinite(array)
        if overflow.any():
            where = first_index(overflow)
            raise QuantError(
                f"{name} of shape {array.shape} has {int(overflow.sum())} values beyond float32's largest "
                f"({LARGEST_FLOAT32:.4g}), the first {array[where]:.4g} at {where}; scale the tensor down"
            )
    return narrow


def first_index(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the index of the first true element."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape))


def refuse_non_finite(x: Float32Array, name: str = "x") -> None:
    """Raise the error for an array known to hold NaN or infinity.

    Raises:
        QuantError: always; it says how many there are and where the first one is.
    """
    mask = ~np.isfinite(x)
    nan = int(np.isnan(x).sum())
    where = first_index(mask)
    raise QuantError(
        f"{name} of shape {x.shape} has {nan} NaN and {int(mask.sum()) - nan} infinite values, the first "
        f"({x[where]}) at {where}; replace them, for example with numpy.nan_to_num"
    )
