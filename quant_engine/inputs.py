"""What the engine takes in: arrays of real numbers, finite, with an error that says where they are not."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Inputs = NDArray[Any] | Mapping[str, NDArray[Any]]  # a batch of what a model takes: one tensor, or several by name

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
WIDER_THAN_FLOAT32 = 4  # bytes an element
FLOATS = ("float", "bfloat")  # how names of float types begin, ml_dtypes' too


def as_float32(x: Any, name: str = "x") -> Float32Array:
    """Return `x` as a read-only float32 array of the same shape, a view of one that already is.

    Read-only, for numba compiles a kernel once more for arrays that are not. Takes numpy arrays of any float type
    (those of ml_dtypes too), lists of floats, and torch tensors of any float type and layout, quantized and sparse ones
    too. Values are checked for finiteness later, by the pass that reads them.

    Raises:
        QuantError: for integers, booleans, complex numbers and objects, for masked arrays and tensors without values,
            and for values beyond float32.
    """
    array = as_array(x, name)
    if not array.dtype.name.startswith(FLOATS):
        remedy = "numpy.abs(x), or numpy.asarray(x).real" if array.dtype.kind == "c" else "numpy.asarray(x)"
        raise QuantError(
            f"{name} has dtype {array.dtype} and shape {array.shape}; quantization takes real values: "
            f"convert with {remedy}.astype(numpy.float32)"
        )
    if array.dtype == np.float32:
        return _read_only(array.view())
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
    return _read_only(narrow)


def _read_only(array: Float32Array) -> Float32Array:
    array.flags.writeable = False
    return array


def as_float64(values: Any, name: str) -> Float64Array:
    """Return real numbers, integers among them, as a float64 array of the same shape; finite or not.

    Raises:
        QuantError: for booleans, complex numbers, text and objects.
    """
    array = as_array(values, name)
    if array.dtype.kind not in "iu" and not array.dtype.name.startswith(FLOATS):
        raise QuantError(f"{name} of dtype {array.dtype} and shape {array.shape} are not numbers; give real ones")
    return array.astype(np.float64)


def as_finite(values: Any, name: str) -> Float64Array:
    """Return finite real numbers, integers among them, as a float64 array: ranges, means, XXᵀ.

    Raises:
        QuantError: as `as_float64`, and for NaN and infinity.
    """
    array = as_float64(values, name)
    if not np.isfinite(array).all():
        raise_non_finite(array, name)
    return array


def as_ranges(values: Any, name: str = "ranges", infinite: bool = False) -> Float64Array:
    """Return ranges (n, 2) as float64: finite ones unless infinite ends are allowed.

    Raises:
        QuantError: for another shape, and what are not finite numbers.
    """
    array = as_float64(values, name)
    if array.ndim != 2 or array.shape[1] != 2 or not (~np.isnan(array) if infinite else np.isfinite(array)).all():
        raise QuantError(f"{name} of shape {array.shape} must be finite, of shape (n, 2)")
    return array


def as_ascending(values: Any, name: str, empty: bool = False) -> Float64Array:
    """Return a sorted, finite run of numbers as float64; not an empty one unless that is allowed.

    Raises:
        QuantError: for anything else.
    """
    array = as_float64(values, name)
    if array.ndim != 1 or not (array.size or empty) or not np.isfinite(array).all() or (array[1:] < array[:-1]).any():
        raise QuantError(
            f"{name} of shape {array.shape} are not a sorted, finite, non-empty run of numbers; give numpy.sort(…)"
        )
    return array


def as_model_inputs(inputs: Any) -> Inputs:
    """Return a batch of a model's inputs: an array, or a dict of arrays by name, each (n, …) with the same n.

    Floats become float32; integers, such as tokens, and booleans stay what they are.

    Raises:
        QuantError: for none at all, arrays of unequal n, what are no numbers, and values that are not finite.
    """
    if not isinstance(inputs, Mapping):
        return _as_model_input(inputs, "inputs")
    arrays = {name: _as_model_input(array, f"input {name!r}") for name, array in inputs.items()}
    if len({len(array) for array in arrays.values()}) != 1:
        shapes = ", ".join(f"{name!r} {array.shape}" for name, array in arrays.items())
        raise QuantError(f"inputs have shapes {shapes or '{}'}; give each the same number of samples along axis 0")
    return arrays


def each_batch(data: Any) -> Iterable[Any]:
    """Return the batches of a list or an iterator of arrays or mappings; anything else is a single batch."""
    if isinstance(data, Mapping) or hasattr(data, "__array__") or not isinstance(data, Iterable):
        return [data]
    if isinstance(data, Sequence) and not any(isinstance(part, Mapping) or hasattr(part, "ndim") for part in data):
        return [data]  # lists of numbers
    return data


def _as_model_input(values: Any, name: str) -> NDArray[Any]:
    array = as_array(values, name)
    if array.dtype.kind not in "iub":
        array = as_float32(array, name)
        if not np.isfinite(array).all():
            raise_non_finite(array, name)
    if not array.ndim or not len(array):
        raise QuantError(f"{name} of shape {array.shape} must be a batch (n, …) with n of 1 and more")
    return np.ascontiguousarray(array)


def as_array(x: Any, name: str) -> NDArray[Any]:
    """Return what numpy makes of an array, a list or a torch tensor, of whatever type.

    Raises:
        QuantError: for what is no array, or holds values that numpy cannot.
    """
    tensor: Any = getattr(sys.modules.get("torch"), "Tensor", ())  # it has none while another thread imports it
    if isinstance(x, tensor):
        return _from_torch(x, name)
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise QuantError(f"{name} of shape {x.shape} has masked values; give x.filled(0) or x.compressed()")
    try:
        return np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise QuantError(f"{name} is not a rectangular array of numbers ({error}); give one array of floats") from error


def _from_torch(x: Any, name: str) -> NDArray[Any]:
    """Return the values of a torch tensor: what numpy has no type or layout for, exactly, in those it has."""
    torch: Any = sys.modules["torch"]
    if x.is_nested:
        raise QuantError(f"{name} is a nested tensor of {x.size(0)} shapes; give each of x.unbind() by itself")
    if x.is_meta:
        raise QuantError(f"{name} of shape {tuple(x.shape)} is on the device meta, without values; load them first")
    try:
        plain = x.detach().dequantize() if x.is_quantized else x.detach()
        plain = plain if plain.layout == torch.strided else plain.to_dense()
        plain = plain.cpu().resolve_conj().resolve_neg()
        known = (torch.float16, torch.float32, torch.float64)
        return np.asarray((plain.float() if plain.is_floating_point() and plain.dtype not in known else plain).numpy())
    except (TypeError, RuntimeError) as error:
        raise QuantError(
            f"{name} is a {type(x).__name__} of {x.dtype} and shape {tuple(x.shape)}, whose values numpy cannot hold "
            f"({error}); give a plain torch.float32 tensor of them"
        ) from error


def as_integers(values: Any, subject: str, low: int, high: int, remedy: str) -> NDArray[Any]:
    """Return an array of integers from `low` to `high`, both included, of whatever integer type it has.

    The values are not read where the type holds no others.

    Raises:
        QuantError: for other types, also where all values are whole, and for integers outside; `subject` says what is
            wrong and `remedy` what to do.
    """
    array = as_array(values, "the array of integers")
    if not array.size:
        return np.zeros(array.shape, array.dtype if array.dtype.kind in "iu" else np.int64)  # [] is float64 to numpy
    if array.dtype.kind not in "iu":
        first = str(array.reshape(-1)[0])[:40]
        raise QuantError(f"{subject}: {first} of shape {array.shape} and dtype {array.dtype} is no integer; {remedy}")
    held = np.iinfo(array.dtype)
    if (held.min < low and array.min() < low) or (held.max > high and array.max() > high):
        where = first_index((array < low) | (array > high))
        raise QuantError(
            f"{subject}: {array[where]} at {where} of shape {array.shape} is no integer from {low} to {high}; {remedy}"
        )
    return array


def first_index(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the index of the first true element."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape))


def raise_non_finite(x: NDArray[Any], name: str = "x") -> None:
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
