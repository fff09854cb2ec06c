"""Integer codes: their limits, their rounding, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quant_engine import FORMATS, IntFormat, QuantError
from tests.engine.strategies import integer_formats


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.uint16])
def test_limits_are_those_of_the_machine_type(dtype):
    form = IntFormat(torch.iinfo(dtype).bits, signed=dtype.is_signed)
    assert (form.qmin, form.qmax) == (torch.iinfo(dtype).min, torch.iinfo(dtype).max)


@given(integer_formats())
def test_there_are_two_to_the_bits_codes_or_one_fewer_in_the_restricted_range(form):
    assert form.qmax - form.qmin + 1 == 2**form.bits - form.narrow
    assert form.qmin == (-form.qmax - (not form.narrow) if form.signed else 0)


@given(integer_formats())
def test_values_are_sorted_distinct_and_come_back_from_encode_and_decode(form):
    values = form.values()
    assert (np.diff(values) > 0).all()
    np.testing.assert_array_equal(form.decode(form.encode(values)), values)


@given(integer_formats())
def test_the_code_type_holds_every_code_and_no_smaller_type_does(form):
    info = np.iinfo(form.dtype)
    assert info.min <= form.qmin
    assert form.qmax <= info.max
    assert info.bits == (8 if form.bits <= 8 else 16)


@given(integer_formats(), st.floats(-1e9, 1e9))
def test_encode_gives_the_nearest_code_and_of_two_the_even_one(form, u):
    distances = np.abs(form.values() - u)
    nearest = form.values()[distances == distances.min()]
    code = int(form.encode(u))
    assert code in nearest
    assert nearest.size == 1 or code % 2 == 0


@given(integer_formats())
def test_encode_saturates(form):
    assert form.encode([-1e9, 1e9, -np.inf, np.inf]).tolist() == [form.qmin, form.qmax] * 2


@pytest.mark.parametrize("bits", [0, -1, 1, 17, 1000])
def test_signed_widths_outside_2_to_16_are_refused_with_the_width_and_the_limits(bits):
    with pytest.raises(QuantError, match=rf"bits={bits} .* 2 to 16"):
        IntFormat(bits)


@pytest.mark.parametrize("bits", [0, 17])
def test_unsigned_widths_outside_1_to_16_are_refused(bits):
    with pytest.raises(QuantError, match=rf"bits={bits} .* 1 to 16"):
        IntFormat(bits, signed=False)


@pytest.mark.parametrize("bits", [4.0, "4", None, True])
def test_a_width_that_is_no_integer_is_refused(bits):
    with pytest.raises(QuantError, match="must be an integer from 2 to 16"):
        IntFormat(bits)


def test_an_unsigned_restricted_range_is_refused_with_the_remedy():
    with pytest.raises(QuantError, match="use narrow=False"):
        IntFormat(8, signed=False, narrow=True)


@pytest.mark.parametrize("field", ["signed", "narrow"])
@pytest.mark.parametrize("value", [0, 1, "no", None])
def test_a_flag_that_is_no_truth_value_is_refused(field, value):
    with pytest.raises(QuantError, match=f"{field}={value!r} .* True or False"):
        IntFormat(4, **{field: value})


def test_a_width_from_numpy_is_the_same_format():
    assert IntFormat(np.int64(4)).to_json() == IntFormat(4).to_json()


def test_the_format_table_is_keyed_by_class_name():
    assert {name: form.__name__ for name, form in FORMATS.items()} == {name: name for name in FORMATS}
