"""Floats, fixed point and codebooks: every code and every half-way case against ml_dtypes and numpy."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant_engine as qe

PEERS = {  # ours: the same format as another project has it
    "float8_e4m3fn": qe.FloatFormat(4, 3, specials="nan"),
    "float8_e5m2": qe.E5M2,
    "float8_e4m3": qe.FloatFormat(4, 3),
    "float8_e3m4": qe.FloatFormat(3, 4),
    "float8_e4m3fnuz": qe.FloatFormat(4, 3, bias=8, specials="fnuz"),
    "float8_e4m3b11fnuz": qe.FloatFormat(4, 3, bias=11, specials="fnuz"),
    "float8_e5m2fnuz": qe.FloatFormat(5, 2, bias=16, specials="fnuz"),
    "float8_e8m0fnu": qe.E8M0,
    "float6_e3m2fn": qe.E3M2,
    "float6_e2m3fn": qe.E2M3,
    "float4_e2m1fn": qe.E2M1,
    "bfloat16": qe.BF16,
    "float16": qe.FP16,
}
PARAMETERS = [  # greatest value, least normal, least subnormal
    (qe.E4M3, 448.0, 2.0**-6, 2.0**-9),
    (qe.E5M2, 57344.0, 2.0**-14, 2.0**-16),
    (qe.E3M2, 28.0, 0.25, 0.0625),
    (qe.E2M3, 7.5, 1.0, 0.125),
    (qe.E2M1, 6.0, 1.0, 0.5),
    (qe.FP16, 65504.0, 2.0**-14, 2.0**-24),
    (qe.FP32, float(np.finfo(np.float32).max), 2.0**-126, 2.0**-149),
]


def peer_type(name):
    return np.float16 if name == "float16" else getattr(ml_dtypes, name)


def peer_codes(name, x):
    made = np.asarray(x, np.float32).astype(peer_type(name))
    return made.view(f"uint{8 * made.itemsize}")


each_peer = pytest.mark.parametrize("name", PEERS)
formats = pytest.mark.parametrize(
    "form",
    [*PEERS.values(), qe.E4M3, qe.FixedPointFormat(2, 5), qe.FixedPointFormat(0, 3, signed=False), qe.NF4],
    ids=str,
)


@each_peer
def test_every_code_stands_for_the_peers_value(name):
    form = PEERS[name]
    codes = np.arange(2**form.bits).astype(form.dtype)
    np.testing.assert_array_equal(form.decode(codes), codes.view(peer_type(name)).astype(np.float32))


def around(values):
    """Return values, the half-way cases between them, and the float32 next to each on either side."""
    with np.errstate(over="ignore"):
        middles = (0.5 * (values[1:] + values[:-1])).astype(np.float32)
        x = np.concatenate([values.astype(np.float32), middles])
        return np.unique(np.concatenate([x, np.nextafter(x, -np.inf), np.nextafter(x, np.inf)]).astype(np.float32))


@each_peer
def test_every_value_and_every_half_way_case_and_its_neighbours_get_the_peers_code(name):
    form = PEERS[name]
    x = around(form.values())
    x = x[(np.abs(x) <= form.highest) & ((x > 0) | form.signed)]
    if name == "float8_e8m0fnu":  # the peer takes what is between 2^-127 and the half-way case above it up, not down
        x = x[(x <= 2.0**-127) | (x >= 1.5 * 2.0**-127)]
    np.testing.assert_array_equal(form.encode(x), peer_codes(name, x))


@each_peer
def test_beyond_the_greatest_value_the_peers_overflow_is_ours(name):
    form = PEERS[name]
    with np.errstate(over="ignore"):
        next_one = np.float32(form.highest + (form.highest - form.values()[-2]))
        half_way = np.float32(form.highest + 0.5 * (form.highest - form.values()[-2]))
    x = np.float32([half_way, np.nextafter(half_way, np.float32(0)), next_one, 3e38, np.inf])
    with np.errstate(over="ignore"):
        x = np.concatenate([x, -x]) if form.signed else x
        np.testing.assert_array_equal(
            form.decode(form.encode(x)), x.astype(peer_type(name)).astype(np.float32), str(form.highest)
        )


@pytest.mark.parametrize("name", [name for name, form in PEERS.items() if form.nan_code is not None])
def test_nan_and_the_zeros_get_the_peers_code(name):
    form = PEERS[name]
    x = np.float32([np.nan, 0.0, -0.0])
    assert form.encode(x)[0] in (peer_codes(name, x)[0], peer_codes(name, x)[0] & (form.nan_code | 0))
    np.testing.assert_array_equal(form.encode(x)[1:], peer_codes(name, x)[1:])


def test_without_nan_a_nan_is_refused():
    with pytest.raises(qe.QuantError, match="1 of 2 values have no code"):
        qe.E2M1.encode([np.nan, 1.0])


@pytest.mark.parametrize(("form", "highest", "normal", "subnormal"), PARAMETERS, ids=lambda part: str(part))
def test_limits_are_those_of_the_standards(form, highest, normal, subnormal):
    assert (form.highest, form.lowest, form.smallest_normal, form.smallest_subnormal) == (
        highest,
        -highest,
        normal,
        subnormal,
    )


def test_e2m1_has_its_eight_magnitudes():
    assert qe.E2M1.values().tolist() == [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]


def test_fp32_is_every_float32_and_tf32_is_it_with_ten_bits_of_mantissa():
    rng = np.random.default_rng(5)
    x = rng.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    np.testing.assert_array_equal(qe.FP32.encode(x), x.view(np.uint32))
    np.testing.assert_array_equal(qe.FP32.decode(x.view(np.uint32)), x)
    tf32 = qe.TF32.decode(qe.TF32.encode(x))
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0xFFF + ((bits >> 13) & 1)) & ~np.uint64(0x1FFF)
    np.testing.assert_array_equal(tf32.view(np.uint32), rounded.astype(np.uint32))


@formats
def test_values_are_finite_sorted_and_distinct_and_come_back_from_their_codes(form):
    values = form.values()
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()
    assert (values[0], values[-1]) == (form.lowest, form.highest)
    np.testing.assert_array_equal(form.decode(form.encode(values)), values.astype(np.float32))


@formats
def test_encode_gives_the_nearest_value(form):
    values = form.values()
    x = np.random.default_rng(3).uniform(max(form.lowest, -1e4), min(form.highest, 1e4), 500)
    distance = np.abs(form.decode(form.encode(x)).astype(np.float64) - x)
    assert (distance <= np.abs(values[:, None] - x).min(axis=0) if values.size < 1000 else distance < np.inf).all()


@pytest.mark.parametrize(("m", "n", "signed"), [(2, 5, True), (0, 7, True), (3, 0, True), (4, 4, False), (0, 1, False)])
def test_fixed_point_is_an_integer_with_an_agreed_point(m, n, signed):
    form = qe.FixedPointFormat(m, n, signed)
    whole = qe.IntFormat(m + n + signed, signed)
    x = np.arange(-600, 600) / 2.0 ** (n + 2)  # with all ties
    np.testing.assert_array_equal(form.encode(x), whole.encode(x * 2**n))
    np.testing.assert_array_equal(form.values(), whole.values() / 2**n)
    assert form.bits == m + n + signed


def test_nf4_is_the_published_table():
    published = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635]
    published += [-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725]
    published += [0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941]
    assert qe.NF4.values().tolist() == [*published, 0.7229568362236023, 1.0]
    assert qe.NF4.bits == 4


@pytest.mark.parametrize("bits", range(2, 9))
def test_powers_of_two_are_zero_and_powers_of_two(bits):
    form = qe.power_of_two(bits)
    fraction, _ = np.frexp(form.values())
    assert form.bits == bits
    assert set(np.abs(fraction)) <= {0.0, 0.5}
    assert form.values().size == 2**bits - 1
    np.testing.assert_array_equal(form.values(), -form.values()[::-1])


def test_a_codebook_takes_a_tie_down_and_saturates():
    assert qe.Codebook((-1.0, 0.0, 2.0)).encode([-9, -0.5, 1, 1.0001, 9]).tolist() == [0, 0, 1, 2, 2]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: qe.FloatFormat(9, 2), "exponent_bits=9"),
        (lambda: qe.FloatFormat(4, 24), "mantissa_bits=24"),
        (lambda: qe.FloatFormat(True, 3), "exponent_bits=True"),
        (lambda: qe.FloatFormat(8, 3, bias=200), "beyond float32"),
        (lambda: qe.FloatFormat(8, 3, bias=0), "beyond float32"),
        (lambda: qe.FloatFormat(4, 3, specials="some"), "specials='some'"),
        (lambda: qe.FloatFormat(1, 0), "no finite value above"),
        (lambda: qe.FloatFormat(4, 3, saturate=1), "saturate=1"),
        (lambda: qe.FloatFormat(4, 3, specials="fnuz", signed=False), "fnuz"),
        (lambda: qe.FixedPointFormat(-1, 4), "integer_bits=-1"),
        (lambda: qe.FixedPointFormat(0, 0), "one bit or more"),
        (lambda: qe.FixedPointFormat(16, 16), "33 bits"),
        (lambda: qe.FixedPointFormat(1, 1, signed=0), "signed=0"),
        (lambda: qe.Codebook((1.0,)), r"shape \(1,\)"),
        (lambda: qe.Codebook((1.0, 1.0 + 1e-12)), "distinct"),
        (lambda: qe.Codebook((0.0, np.nan)), "finite"),
        (lambda: qe.Codebook(("a", "b")), "are not numbers"),
        (lambda: qe.power_of_two(9), "bits=9"),
        (lambda: qe.FP32.values(), "32 bits"),
        (lambda: qe.FixedPointFormat(8, 12).values(), "21 bits"),
        (lambda: qe.E2M1.decode([16]), "not all codes"),
        (lambda: qe.E2M1.decode([0.5]), "give integers"),
        (lambda: qe.NF4.decode([-1]), "not all codes"),
    ],
)
def test_what_is_no_format_and_no_code_is_refused_with_the_reason(make, reason):
    with pytest.raises(qe.QuantError, match=reason):
        make()


def test_constants_are_distinct_and_a_bias_may_be_left_out():
    constants = [qe.FP32, qe.TF32, qe.FP16, qe.BF16, qe.E5M2, qe.E4M3, qe.E3M2, qe.E2M3, qe.E2M1, qe.E8M0, qe.NF4]
    assert all(one != other for one, other in itertools.combinations(constants, 2))
    assert qe.FloatFormat(5, 10) == qe.FloatFormat(5, 10, bias=15) == qe.FP16
    assert [form.bits for form in constants] == [32, 19, 16, 16, 8, 8, 6, 6, 4, 8, 4]


# --- parts of a float -------------------------------------------------------------------------------------------------


@given(st.floats(width=32))
def test_a_float32_is_taken_apart_and_put_together_again(x):
    code = int(np.array(x, np.float32).view(np.uint32))
    sign, exponent, mantissa = (int(part) for part in qe.FP32.split(code))
    assert int(qe.FP32.join(sign, exponent, mantissa)) == code
    if math.isfinite(x) and exponent:
        assert (-1) ** sign * 2.0 ** (exponent - 127) * (1 + mantissa / 2**23) == x


@pytest.mark.parametrize("form", [qe.FP16, qe.BF16, qe.TF32, qe.E5M2, qe.E4M3, qe.E3M2, qe.E2M3, qe.E2M1, qe.E8M0])
def test_every_code_is_put_together_again(form):
    codes = np.arange(1 << form.bits)
    np.testing.assert_array_equal(form.join(*form.split(codes)), codes)
    assert form.join(*form.split(codes)).dtype == form.dtype


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(qe.QuantError, match="exponent"):
        qe.E4M3.join(0, 16, 0)
    with pytest.raises(qe.QuantError, match="sign"):
        qe.E8M0.join(1, 3, 0)
