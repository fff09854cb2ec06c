"""One contract that every spec keeps, on tensors of every kind: specs in which every two parts that go together meet.

`pytest tests/engine/test_contract.py --full` takes every combination of the parts instead.
"""

import functools
import itertools
import math

import ml_dtypes
import numpy as np
import pytest
import torch

import quant_engine as qe
from tests import reference

FORMATS = {
    "IntFormat": [qe.IntFormat(4), qe.IntFormat(8, signed=False), qe.IntFormat(3, narrow=True), qe.IntFormat(16)],
    "FixedPointFormat": [qe.FixedPointFormat(2, 5), qe.FixedPointFormat(4, 12, signed=False)],
    "FloatFormat": [qe.E2M1, qe.E4M3, qe.FloatFormat(4, 3, bias=8, specials="fnuz"), qe.FP16, qe.TF32, qe.FP32],
    "Codebook": [qe.NF4, qe.power_of_two(3), qe.Codebook((-1.0, 0.0, 0.25, 0.7, 3.0))],
    "BlockFormat": [qe.BlockFormat(name) for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")],
    "KMeans": [qe.KMeans(5)],
    "Quantiles": [qe.Quantiles(4)],
    "VectorCodebook": [qe.VectorCodebook(2, 5, remainder="pad")],
    "ProductCodebook": [qe.ProductCodebook(4, 3, 2, remainder="pad")],
}
GRANULARITIES = {
    "PerTensor": [qe.PerTensor()],
    "PerChannel": [qe.PerChannel(0), qe.PerChannel(-1)],
    "PerChannelGroup": [qe.PerChannelGroup(2, remainder="short")],
    "PerGroup": [qe.PerGroup(4, remainder="short"), qe.PerGroup(2, axis=0, remainder="short")],
    "PerBlock": [qe.PerBlock(2, 3, remainder="short"), qe.PerBlock(4, 2, (-1, 0), remainder="pad")],
    "PerToken": [qe.PerToken()],
    "PerSample": [qe.PerSample(), qe.PerSample(qe.PerGroup(2, remainder="short"))],
}
CLIPPINGS = {
    "MinMax": [qe.MinMax()],
    "Percentile": [qe.Percentile(90)],
    "MinMSE": [qe.MinMSE()],
    "MinKL": [qe.MinKL(bins=40)],
    "ACIQ": [qe.ACIQ("gaussian"), qe.ACIQ("laplace"), qe.ACIQ("fit")],
    "MovingAverage": [qe.MovingAverage()],
    "FixedRange": [qe.FixedRange(-0.75, 1.5)],
    "EditedRanges": [qe.EditedRanges(qe.MinMSE(), ((0, -0.75, 1.5),))],
}
TABLES = {
    "format": (qe.FORMATS, FORMATS),
    "granularity": (qe.GRANULARITIES, GRANULARITIES),
    "clipping": (qe.CLIPPINGS, CLIPPINGS),
}
VECTORS = qe.VectorCodebook | qe.ProductCodebook
WHOLE = {"nearest": np.rint, "floor": np.floor, "ceil": np.ceil, "zero": np.trunc}
CHOICES = [
    (form, granularity, symmetric, clipping, scale_format, rounding)
    for form, granularity, clipping in itertools.product(
        *(itertools.chain.from_iterable(examples.values()) for _, examples in TABLES.values())
    )
    if not isinstance(form, qe.BlockFormat | VECTORS)  # with one choice; test_block_formats.py and test_vectors.py
    for symmetric in (True, False)
    for scale_format in (None, qe.E8M0, qe.E4M3, qe.FP16)
    for rounding in (*WHOLE, "stochastic")
]


def stands_for_itself(form):
    """Say whether values are not scaled, as DESIGN has it: fixed point, and floats of more than 8 bits."""
    return isinstance(form, qe.FixedPointFormat) or (isinstance(form, qe.FloatFormat) and form.bits > 8)


def is_learned(form):
    return isinstance(form, qe.KMeans | qe.Quantiles | VECTORS)


def is_meaningful(form, granularity, symmetric, clipping, scale_format, rounding):
    """Say whether the parts go together: nearly anything with integers; of the others, what needs no even steps."""
    if isinstance(form, qe.IntFormat):
        return symmetric or scale_format != qe.E8M0
    if not symmetric or (rounding != "nearest" and not isinstance(form, qe.FixedPointFormat)):
        return False
    if is_learned(form) or stands_for_itself(form):
        return isinstance(clipping, qe.MinMax) and scale_format is None
    return not isinstance(clipping, qe.MinKL | qe.ACIQ)


def pairwise(rows):
    """Return rows in which every two entries meet that meet in any: over and over the one with most that are new."""
    numbers = [
        {entry: number for number, entry in enumerate(dict.fromkeys(column))} for column in zip(*rows, strict=True)
    ]
    coded = np.array([[of[entry] for of, entry in zip(numbers, row, strict=True)] for row in rows])
    pairs = list(itertools.combinations(range(coded.shape[1]), 2))
    met = np.stack([((a * 6 + b) * 64 + coded[:, a]) * 64 + coded[:, b] for a, b in pairs], axis=1)
    missing, chosen = np.zeros(met.max() + 1, bool), []
    missing[met] = True
    while missing.any():
        chosen.append(int(missing[met].sum(axis=1).argmax()))
        missing[met[chosen[-1]]] = False
    return [rows[number] for number in chosen]


BLOCKS = qe.PerGroup(32, remainder="short")
MEANINGFUL = [choice for choice in CHOICES if is_meaningful(*choice)]
REFUSED = pairwise([choice for choice in CHOICES if not is_meaningful(*choice)])
ONLY = [qe.QuantizerSpec(form, part) for form in FORMATS["BlockFormat"] for part in (BLOCKS, qe.PerSample(BLOCKS))]
ONLY += [qe.QuantizerSpec(form) for name in ("VectorCodebook", "ProductCodebook") for form in FORMATS[name]]

rng = np.random.default_rng(17)
normal = rng.standard_normal((6, 10)).astype(np.float32)
TENSORS = {
    "a vector": normal.reshape(-1),
    "a matrix": normal,
    "a matrix with an odd shape": normal[:5, :7],
    "of rank 3": normal.reshape(3, 4, 5),
    "of rank 4": normal.reshape(2, 3, 2, 5),
    "a transposed view": normal.T,
    "every other column": normal[:, ::2],
    "reversed": normal[::-1, ::-1],
    "in Fortran order": np.asfortranarray(normal),
    "float16": normal.astype(np.float16),
    "float64": normal.astype(np.float64),
    "bfloat16": normal.astype(ml_dtypes.bfloat16),
    "a torch tensor": torch.from_numpy(normal.copy()),
    "a torch parameter, transposed": torch.nn.Parameter(torch.from_numpy(normal.copy())).T,
    "a list of lists": normal.tolist(),
    "constant": np.full((3, 4), 0.3, np.float32),
    "constant and negative": np.full((3, 4), -0.3, np.float32),
    "all zero": np.zeros((3, 4), np.float32),
    "negative zero": np.full((3, 4), -0.0, np.float32),
    "with one outlier": np.where(np.arange(60).reshape(6, 10) == 31, np.float32(150), normal),
    "without negative values": np.maximum(normal, 0),
    "all negative": -np.abs(normal) - 1,
    "tiny": normal * np.float32(1e-40),
    "huge": np.clip(normal * np.float32(5e37), -1e38, 1e38),
    "one element": np.float32([[0.7]]),
    "empty": np.empty((0, 4), np.float32),
}
EVERY_FORM = {f"{kind} {number}": form for kind, forms in FORMATS.items() for number, form in enumerate(forms)}


@pytest.fixture(scope="module")
def all_specs(request):
    """Return the specs looked at, by format."""
    choices = MEANINGFUL if request.config.getoption("--full") else pairwise(MEANINGFUL)
    specs = [*itertools.starmap(qe.QuantizerSpec, choices), *ONLY]
    return {form: [spec for spec in specs if spec.format == form] for form in EVERY_FORM.values()}


def on_every_spec(check):
    """Make a test of each format over all its specs; a failure names the spec."""

    @pytest.mark.parametrize("form", EVERY_FORM.values(), ids=EVERY_FORM)
    def test(form, all_specs):
        assert all_specs[form]
        for spec in all_specs[form]:
            try:
                check(spec)
            except (AssertionError, pytest.fail.Exception, qe.QuantError) as error:
                error.add_note(f"with {spec.key}")
                raise

    return test


@functools.cache
def done(spec, name):
    """Return a tensor as float32, its quantizer, its codes, and its fake-quantized values with their report."""
    given = TENSORS[name]
    x = given.detach().float().numpy() if isinstance(given, torch.Tensor) else np.asarray(given).astype(np.float32)
    fitted = qe.fit(given, spec)
    return x, fitted, fitted.encode(given), *fitted.reconstruct(given)


def is_block(spec):
    """Say whether a spec is of GGUF's blocks, whose scales may be negative or 0."""
    return isinstance(spec.format, qe.BlockFormat)


def block_numbers(spec, fitted):
    """Return d and m of each block, before and after they were rounded to float16."""
    d, m = fitted.learned[..., 0], fitted.learned[..., -1] if spec.format.has_minimum else np.zeros_like(fitted.scale)
    return d, m, d.astype(np.float16).astype(np.float32), m.astype(np.float16).astype(np.float32)


def on_every_tensor(check):
    """Make a test over all specs of a check of one tensor; a failure names spec and tensor."""

    @on_every_spec
    def test(spec):
        for name in TENSORS:
            if is_block(spec) and name == "huge":
                continue  # beyond float16
            if name == "empty" and is_learned(spec.format):
                continue
            if np.ndim(TENSORS[name]) < 2 and isinstance(spec.granularity, qe.PerBlock):
                continue  # which has no two axes
            try:
                check(spec, *done(spec, name))
            except AssertionError as error:
                error.add_note(f"on the tensor {name!r}")
                raise

    return test


@pytest.mark.parametrize("table", TABLES)
def test_every_entry_of_the_tables_has_an_example_of_its_class(table):
    entries, examples = TABLES[table]
    assert {name: {type(example) for example in examples.get(name, [])} for name in entries} == {
        name: {kind} for name, kind in entries.items()
    }


@pytest.mark.parametrize("kind", qe.FORMATS)
def test_parts_that_do_not_go_together_are_refused_with_the_remedy(kind):
    remedy = r"use (symmetric=True|(clipping=)?MinMax\(\)|MinMSE\(\)|scale_format=None|rounding=[\"']nearest[\"'])"
    for choice in REFUSED:
        if choice[0] in FORMATS[kind]:
            with pytest.raises(qe.QuantError, match=remedy):
                pytest.fail(f"made {qe.QuantizerSpec(*choice)}")


@on_every_tensor
def test_scales_are_positive_float32_and_zero_points_are_codes(spec, x, fitted, q, x_hat, report):
    assert fitted.scale.shape == fitted.zero_point.shape == spec.granularity.blocks(x.shape).grid
    assert fitted.scale.dtype == np.float32
    assert np.issubdtype(fitted.zero_point.dtype, np.integer)
    if not is_block(spec):
        assert (fitted.scale >= 0).all()
    if spec.scale_format is None:
        assert is_block(spec) or (fitted.scale > 0).all()
    if not is_learned(spec.format):
        assert ((fitted.zero_point >= spec.format.lowest) & (fitted.zero_point <= spec.format.highest)).all()
    assert not (spec.symmetric and fitted.zero_point.any())


def at_random(steps):
    """Round to either neighbour, as the numbers of seed 0 say."""
    below = np.floor(steps)
    with np.errstate(invalid="ignore"):
        return below + (steps - below > np.random.default_rng(0).random(steps.shape, np.float32))


@on_every_tensor
def test_codes_and_values_are_those_of_the_reference(spec, x, fitted, q, x_hat, report):
    block = spec.granularity.blocks(x.shape).block
    scale, zero_point = (reference.spread(a, x.shape, block) for a in (fitted.scale, fitted.zero_point))
    divisor = np.where(scale == 0, np.float32(np.inf), scale)  # a scale that was rounded to 0 gives zeros
    assert (q.codes.dtype, q.shape) == (spec.format.dtype, x.shape)
    if isinstance(spec.format, qe.IntFormat | qe.FixedPointFormat):
        step = 2.0**-spec.format.fraction_bits if isinstance(spec.format, qe.FixedPointFormat) else 1.0
        ends = spec.format.lowest / step, spec.format.highest / step
        codes = reference.encode(x, divisor * np.float32(step), zero_point, *ends, WHOLE.get(spec.rounding, at_random))
        np.testing.assert_array_equal(q.codes, codes)
        np.testing.assert_array_equal(x_hat, reference.decode(codes, scale * np.float32(step), zero_point))
    elif is_block(spec):
        d, m, d_stored, m_stored = (reference.spread(part, x.shape, block) for part in block_numbers(spec, fitted))
        with np.errstate(all="ignore"):
            inverse = np.nan_to_num(1 / d, posinf=0, neginf=0)
        shape = spec.format.offset, spec.format.qmin, spec.format.qmax, spec.format.name == "Q8_0"
        codes = reference.ggml_encode(x, inverse, m, shape)
        np.testing.assert_array_equal(q.codes, codes)
        np.testing.assert_array_equal(x_hat, reference.ggml_decode(codes, d_stored, m_stored, spec.format.offset))
    elif isinstance(spec.format, VECTORS):
        assert_nearest(
            reference.cut_vectors(x, spec.format.dim), q.codes.reshape(-1, spec.format.parts), fitted.learned[0]
        )
    elif is_learned(spec.format):
        blocks = zip(reference.blocks(x, block), reference.blocks(q.codes, block), strict=True)
        for (place, values), (_, codes) in blocks:
            levels = fitted.levels(place)
            np.testing.assert_array_equal(codes.reshape(-1), reference.nearest_levels(values.reshape(-1), levels))
        assert (fitted.decode(q.codes) == x_hat).all()
    else:  # the format alone has its oracles elsewhere; it may overflow where a quantizer saturates
        with np.errstate(over="ignore"):
            u = np.clip(x / divisor, np.float32(spec.format.lowest), np.float32(spec.format.highest))
        np.testing.assert_array_equal(q.codes, spec.format.encode(u))
        np.testing.assert_array_equal(x_hat, spec.format.decode(q.codes) * scale)


def assert_nearest(cut, codes, learned):
    """Check that no codeword of a part is nearer than the chosen one, by more than float32 cannot tell."""
    for part, (values, held) in enumerate(zip(np.split(cut, len(learned), axis=1), learned, strict=True)):
        distances = reference.square_distances(values, held[~np.isnan(held).any(axis=1)])
        chosen = np.take_along_axis(distances, codes[:, part : part + 1].astype(int), axis=1)[:, 0]
        size = np.square(np.abs(values).max(initial=0) + np.nanmax(np.abs(held), initial=0), dtype=np.float64)
        assert (chosen <= distances.min(axis=1) + 1e-6 * size).all()


@on_every_tensor
def test_every_way_to_a_value_agrees_to_the_bit(spec, x, fitted, q, x_hat, report):
    from_codes = fitted.decode(q.codes)[..., : x.shape[-1]]  # of vectors, whole ones
    for other in (q.dequantize(), from_codes):
        assert other.dtype == np.float32
        np.testing.assert_array_equal(other.view(np.int32), x_hat.view(np.int32))


def moved(spec, fitted):
    """Return how far rounding to float16 moves the levels of GGUF's blocks, at most, in steps."""
    d, m, d_stored, m_stored = block_numbers(spec, fitted)
    most = np.abs(spec.format.values()).max()
    with np.errstate(all="ignore"):
        steps = (np.abs(d_stored - d) * most + np.abs(m_stored - m)) / np.abs(d)
    return np.nan_to_num(steps, posinf=0).max()  # where d is 0, there is but one level


@on_every_tensor
def test_quantizing_the_values_again_gives_the_same_codes(spec, x, fitted, q, x_hat, report):
    if spec.rounding != "nearest":
        return  # a quotient one rounding below a whole number goes to the one before
    if not (isinstance(spec.format, qe.IntFormat) and spec.scale_format is None) and (fitted.scale < 1e-37).any():
        return  # products with scales of so few bits are rounded by more than the levels are apart
    if is_block(spec) and moved(spec, fitted) >= 0.49:
        return  # levels that float16 has moved half-way to the next
    if isinstance(spec.format, VECTORS) and x.shape[-1] % spec.format.dim:
        return  # what a codeword has beyond the row is lost
    np.testing.assert_array_equal(fitted.encode(x_hat).codes, q.codes)


@on_every_tensor
def test_the_error_report_is_that_of_the_values(spec, x, fitted, q, x_hat, report):
    expected = np.square(x_hat.astype(np.float64) - x).mean() if x.size else 0.0
    assert report.mse == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert report == fitted.measure(x)
    assert report.count == x.size


@on_every_tensor
def test_zero_stays_zero(spec, x, fitted, q, x_hat, report):
    if is_block(spec) and spec.format.has_minimum:
        return  # whose levels are wherever the least value puts them
    if is_learned(spec.format):
        return  # what is learned holds 0 only where the values ask for it
    assert not x_hat[x == 0].any()
    if not isinstance(spec.format, qe.FloatFormat | qe.BlockFormat):  # whose codes or scales tell −0 from 0
        assert not x_hat[x == 0].view(np.int32).any()


def stored_values(spec, x):
    """Return how many codes are stored: the values, or whole blocks where they are padded."""
    if getattr(spec.granularity, "remainder", None) != "pad":
        return x.size
    return sum(
        math.prod(spec.granularity.blocks(x.shape).block)
        for _ in reference.blocks(x, spec.granularity.blocks(x.shape).block)
    )


@on_every_tensor
def test_the_storage_is_counted_for_the_shape(spec, x, fitted, q, x_hat, report):
    if is_block(spec):
        assert q.storage.bits == (fitted.scale.size * spec.format.bits_per_block if x.size else 0)
        return
    if isinstance(spec.format, VECTORS):
        form = spec.format
        indices = x.size // max(x.shape[-1], 1) * -(-x.shape[-1] // form.dim) * form.parts
        assert q.storage.bits == indices * form.bits + form.codewords * form.dim * 32
        return
    assert q.storage.code_bits == stored_values(spec, x) * spec.format.bits
    unscaled = stands_for_itself(spec.format) or is_learned(spec.format)
    bits = 32 if spec.scale_format is None else spec.scale_format.bits
    tensors = (len(x) if isinstance(spec.granularity, qe.PerSample) else 1) if spec.scale_format == qe.E4M3 else 0
    assert q.storage.scale_bits == (0 if unscaled else fitted.scale.size * bits + tensors * 32)
    assert q.storage.codebook_bits == (fitted.scale.size * spec.format.levels * 32 if is_learned(spec.format) else 0)
    assert q.storage.zero_point_bits == (0 if spec.symmetric else fitted.scale.size * spec.format.bits)


@on_every_spec
def test_where_there_is_no_range_the_scale_is_one(spec):
    if isinstance(spec.clipping, qe.FixedRange | qe.EditedRanges) or is_block(spec):
        return  # which have a range of their own, or scales that may be 0
    for name in ("all zero", "negative zero", "empty"):
        if name == "empty" and is_learned(spec.format):
            with pytest.raises(qe.QuantError, match=r"shape \(0, 4\) has no values"):
                qe.fit(TENSORS[name], spec)
        else:
            assert (done(spec, name)[1].scale == 1.0).all(), name


@on_every_spec
def test_a_scalar_is_one_block_or_has_no_axis(spec):
    if isinstance(spec.granularity, qe.PerTensor) and not isinstance(spec.format, VECTORS):
        q = qe.quantize(np.float32(0.5), spec)
        assert q.codes.shape == q.scale.shape == q.dequantize().shape == ()
    else:
        with pytest.raises(qe.QuantError, match=r"shape \(\)"):
            qe.quantize(np.float32(0.5), spec)
