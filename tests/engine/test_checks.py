"""One module checks single numbers and truth values."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.checks import as_instance, as_integer, as_number, validate_boolean
from quant_engine.errors import QuantError

NOT_NUMBERS = ("0.01", None, True, float("nan"), float("inf"), -float("inf"), 1j, [1.0], np.array([1.0]), 10**400)


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: str(value)[:20])
def test_what_is_no_finite_number_is_refused_by_name(value: object) -> None:
    with pytest.raises(QuantError, match="damping="):
        as_number(value, "damping")


@pytest.mark.parametrize("value", [*NOT_NUMBERS[:-1], 2.0, np.float32(2)], ids=lambda value: str(value)[:20])
def test_what_is_no_integer_is_refused_by_name(value: object) -> None:
    with pytest.raises(QuantError, match="bits="):
        as_integer(value, "bits")


def test_bounds_are_included_and_above_is_not() -> None:
    assert as_integer(np.int8(2), "bits", 2, 8) == as_integer(2, "bits", 2) == as_integer(2, "bits", high=2) == 2
    assert as_number(np.float32(0.5), "share", 0.5, 1) == 0.5
    for refused in (
        lambda: as_integer(9, "bits", 2, 8),
        lambda: as_integer(1, "bits", 2),
        lambda: as_number(0, "damping", above=0),
        lambda: as_number(2, "damping", above=0, high=1),
        lambda: as_number(-1, "share", low=0),
    ):
        with pytest.raises(QuantError, match=r"must be"):
            refused()


def test_results_are_plain_python_numbers_without_a_negative_zero() -> None:
    assert type(as_integer(np.uint8(3), "n")) is int
    assert type(as_number(np.float64(3), "n")) is float
    assert str(as_number(-0.0, "n")) == "0.0"


def test_a_message_stays_short_whatever_it_is_given() -> None:
    for value in (10**100_000, [0.0] * 1_000_000):
        with pytest.raises(QuantError) as caught:
            as_integer(value, "n", 0, 5)
        assert len(str(caught.value)) < 200


def test_truth_values_and_types() -> None:
    validate_boolean(False, "symmetric")
    for value in (0, 1, None, "yes", np.True_):
        with pytest.raises(QuantError, match="True or False"):
            validate_boolean(value, "symmetric")
    assert as_instance(3, int, "n", "give one") == 3
    with pytest.raises(QuantError, match="give one"):
        as_instance("3", int, "n", "give one")
