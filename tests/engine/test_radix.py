"""The radix sort against numpy's, on values of every shape of distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from quant_engine.kernels.parallel import SERIAL_BELOW, one_thread
from quant_engine.kernels.radix import NUMPY_BELOW, sort_into

LARGEST = float(np.finfo(np.float32).max)
SIZES = (0, 1, 2, NUMPY_BELOW - 1, NUMPY_BELOW, 3 * NUMPY_BELOW + 7, 2 * SERIAL_BELOW + 1)


def drawn(kind: str, size: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(size)
    values = {
        "normal": lambda: 0.02 * rng.standard_normal(size),
        "heavy tails": lambda: rng.standard_cauchy(size).clip(-LARGEST, LARGEST),
        "one of many signs": lambda: rng.uniform(1.0, 1.0625, size),
        "one outlier": lambda: np.where(np.arange(size) == size // 2, -1e30, rng.uniform(1.0, 1.0 + 1e-6, size)),
        "few distinct": lambda: rng.integers(-3, 4, size) / 4,
        "all alike": lambda: np.full(size, -2.5),
        "subnormal": lambda: rng.integers(-900, 900, size) * 1e-45,
        "any bits": lambda: _finite(rng.integers(0, 1 << 32, size, np.uint32).view(np.float32)),
        "descending": lambda: -np.arange(size, dtype=np.float64),
    }
    return np.asarray(values[kind](), np.float32)


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isfinite(values), values, np.float32(-0.0))


def in_order(values: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.full(values.size, np.nan, np.float32)
    sort_into(values, out)
    return out


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "kind",
    [
        "normal",
        "heavy tails",
        "one of many signs",
        "one outlier",
        "few distinct",
        "all alike",
        "subnormal",
        "any bits",
        "descending",
    ],
)
def test_values_are_in_ascending_order_and_none_is_lost(kind: str, size: int) -> None:
    values = drawn(kind, size)
    before, found = values.copy(), in_order(values)
    np.testing.assert_array_equal(found, np.sort(values))
    np.testing.assert_array_equal(np.sort(found.view(np.uint32)), np.sort(values.view(np.uint32)))  # signs of 0, too
    np.testing.assert_array_equal(values, before)
    with one_thread():
        np.testing.assert_array_equal(found, in_order(values))


@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_any_few_values_many_times_are_in_order(few: NDArray[np.float32]) -> None:
    values = np.resize(few, NUMPY_BELOW + 1)
    np.testing.assert_array_equal(in_order(values), np.sort(values))
