"""The simple GGUF blocks against the gguf package, byte for byte and bit for bit."""

import gguf
import numpy as np
import pytest

import quant_engine as qe
from quant_engine.formats.block import BlockFormat

FORMATS = [BlockFormat(name) for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")]
every = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)

rng = np.random.default_rng(40)


def peer(form):
    return gguf.GGMLQuantizationType[form.name]


def bits(x):
    return np.ascontiguousarray(x).view(np.int32)


@every
def test_a_block_has_the_size_that_gguf_gives_it(form):
    values, size_bytes = gguf.GGML_QUANT_SIZES[peer(form)]
    assert (form.block, form.bits_per_block) == (values, 8 * size_bytes)


@every
def test_the_bytes_of_any_codes_are_read_by_gguf_as_their_values(form):
    codes = rng.integers(form.qmin, form.qmax + 1, (3, 5, 64)).astype(form.dtype)
    d, m = rng.standard_normal((2, 3, 5, 2)).astype(np.float16)
    written = form.to_bytes(codes, d, m if form.has_minimum else None)
    assert (written.dtype, written.shape) == (np.uint8, (3, 5, form.bits_per_block // 4))
    levels = np.repeat(d.astype(np.float32), 32, axis=-1) * form.decode(codes)
    x_hat = levels + np.repeat(m.astype(np.float32), 32, axis=-1) if form.has_minimum else levels
    np.testing.assert_array_equal(bits(gguf.dequantize(written, peer(form))), bits(x_hat))


@every
def test_values_are_those_of_all_codes_in_order(form):
    codes = np.arange(form.qmin, form.qmax + 1)
    assert codes.size == 2**form.bits
    np.testing.assert_array_equal(form.decode(codes), form.values())
    np.testing.assert_array_equal(form.encode(form.values()), codes)
    np.testing.assert_array_equal(form.encode([-1e9, 1e9]), codes[[0, -1]])
    for code in (form.qmin - 1, form.qmax + 1):
        with pytest.raises(qe.QuantError, match="not all codes"):
            form.decode(code)


def test_halves_go_up_and_in_q8_0_away_from_zero():
    halves = [-2.5, -1.5, -0.5, 0.5, 1.5, np.nextafter(np.float32(0.5), np.float32(0))]
    assert (BlockFormat("Q4_0").encode(halves[:5]) - 8.0).tolist() == [-2, -1, 0, 1, 2]
    assert BlockFormat("Q8_0").encode(halves).tolist() == [-3, -2, -1, 1, 2, 0]


@pytest.mark.parametrize("name", ["Q4_K", "q4_0", 4, None, ["Q4_0"]])
def test_other_names_are_refused_with_those_there_are(name):
    with pytest.raises(qe.QuantError, match="Q4_0, Q4_1, Q5_0, Q5_1, Q8_0"):
        BlockFormat(name)


@pytest.mark.parametrize(
    ("name", "codes", "d", "m", "reason"),
    [
        ("Q4_0", np.zeros(31, int), [1], None, "pad the last axis"),
        ("Q4_0", np.int64(3), [1], None, "pad the last axis"),
        ("Q4_0", np.full(32, 16), [1], None, "not all codes"),
        ("Q4_0", np.zeros(32, int), [1, 1], None, "d has shape"),
        ("Q4_1", np.zeros(32, int), [1], [[1]], "m has shape"),
        ("Q4_0", np.zeros(32, int), [1], [1], "no minimum"),
        ("Q5_1", np.zeros(32, int), [1], None, "have a minimum"),
        ("Q8_0", np.zeros(32, int), [65520], None, "d has values that float16.*scale the tensor down"),
    ],
)
def test_what_makes_no_blocks_is_refused(name, codes, d, m, reason):
    with pytest.raises(qe.QuantError, match=reason):
        BlockFormat(name).to_bytes(codes, d, m)
