"""What the instrument is given: statistics, marks and words, checked against the engine and numpy."""

from __future__ import annotations

import json

import numpy as np
import pytest

from explorer import compute, results
from explorer.instrument.words import describe_curve, describe_values
from explorer.payloads import MAX_RUNS, MAX_VALUES, InstrumentSetting, Mark, pack, statistics
from explorer.results import BlockView
from explorer.state import PlaygroundState
from quant_engine import (
    BF16,
    E4M3,
    NF4,
    Distribution,
    FixedRange,
    IntFormat,
    KMeans,
    MinMSE,
    PerChannel,
    QuantizerSpec,
    fit,
    measure,
)
from tests.models import CNN_KEY

MODEL, LAYER = CNN_KEY, "conv3"
SETTING = InstrumentSetting(4, signed=True, narrow=False, symmetric=True, lo=-1.0, hi=1.0)


def view_of(spec: QuantizerSpec, block: int = 0) -> BlockView:
    return compute.block_view(MODEL, LAYER, spec, block)


def test_small_tensors_are_sent_value_by_value() -> None:
    x = np.random.default_rng(0).standard_normal(MAX_VALUES).astype(np.float32)
    source = statistics(x, Distribution(x))
    assert source.values
    np.testing.assert_array_equal(np.frombuffer(source.payload, "<f4"), np.sort(x))


@pytest.mark.parametrize("size", [MAX_VALUES + 1, 5_000_000])
def test_large_tensors_are_sent_as_runs_that_lose_no_count_sum_or_square(size: int) -> None:
    x = np.random.default_rng(1).standard_t(4, size).astype(np.float32)
    source = statistics(x, Distribution(x))
    assert not source.values
    runs = len(source.payload) // 12
    assert MAX_RUNS / 2 < runs <= MAX_RUNS
    counts = np.frombuffer(source.payload, "<u4", runs).astype(np.float64)
    means = np.frombuffer(source.payload, "<f4", runs, 4 * runs).astype(np.float64)
    variances = np.frombuffer(source.payload, "<f4", runs, 8 * runs).astype(np.float64)
    exact = x.astype(np.float64)
    assert counts.sum() == size
    assert (np.diff(means) > 0).all()
    assert (counts * means).sum() == pytest.approx(exact.sum(), abs=1e-6 * size)
    assert (counts * (means**2 + variances)).sum() == pytest.approx(np.square(exact).sum(), rel=1e-6)


def test_an_outlier_is_a_run_of_its_own() -> None:
    x = np.random.default_rng(2).standard_normal(1_000_000).astype(np.float32)
    x[7] = 150.0
    runs = Distribution(x).runs(MAX_RUNS)
    assert runs.counts[-1] == 1
    assert runs.means[-1] == 150.0


def test_what_is_packed_is_a_header_and_the_payload() -> None:
    x = np.linspace(-1, 1, 100, dtype=np.float32)
    source = statistics(x, Distribution(x))
    packed = pack(source, SETTING, [Mark("least MSE", -0.5, 0.5, "least MSE")], unit="weight")
    length = int.from_bytes(packed[:4], "little")
    header = json.loads(packed[4 : 4 + length])
    assert header["setting"]["hi"] == 1.0
    assert header["marks"][0]["method"] == "least MSE"
    assert header["unit"] == "weight"
    assert packed[4 + length :] == source.payload


def test_another_tensor_has_another_digest() -> None:
    first, second = (statistics(x, Distribution(x)) for x in (np.float32([1, 2]), np.float32([1, 3])))
    assert first.digest != second.digest


@pytest.mark.parametrize("symmetric", [True, False])
def test_marks_are_the_ranges_of_the_clipping_methods(symmetric: bool) -> None:
    spec = QuantizerSpec(IntFormat(4), symmetric=symmetric)
    marks = {mark.name: mark for mark in compute.marks(MODEL, LAYER, 0, spec, PlaygroundState().methods)}
    levels = fit(
        compute.matrix(MODEL, LAYER), QuantizerSpec(IntFormat(4), symmetric=symmetric, clipping=MinMSE())
    ).levels()
    assert marks["least MSE"].hi == levels[-1]
    assert marks["least MSE"].lo == (-levels[-1] if symmetric else levels[0])
    assert marks["min–max"].hi > marks["percentile"].hi


def test_the_use_of_codes_adds_up_to_all_values() -> None:
    view = view_of(QuantizerSpec(IntFormat(5), PerChannel(0)), block=7)
    codes = fit(compute.matrix(MODEL, LAYER), QuantizerSpec(IntFormat(5), PerChannel(0)))
    counted = np.bincount(codes.encode(compute.matrix(MODEL, LAYER)).codes[7].astype(int) + 16, minlength=32)
    np.testing.assert_array_equal(view.counts, counted)


def test_least_mse_reaches_the_least_error() -> None:
    spec = QuantizerSpec(IntFormat(4), clipping=MinMSE())
    assert view_of(spec).error == compute.min_error(MODEL, LAYER, 0, QuantizerSpec(IntFormat(4)))


def test_the_descriptions_name_the_numbers() -> None:
    view = view_of(QuantizerSpec(IntFormat(4)))
    text = describe_values(view, "weight")
    assert "18,432 weights" in text
    assert "16 codewords" in text
    assert "With 4 bits it is now 8.18·10⁻⁴" in describe_curve("4 bits", view, 1e-4)


CLIPPED = {"clipping": FixedRange(-3.0, 3.0)}
LARGE_SPECS = {
    "symmetric": QuantizerSpec(IntFormat(4), **CLIPPED),
    "asymmetric": QuantizerSpec(IntFormat(4, signed=False), symmetric=False, **CLIPPED),
    "E4M3": QuantizerSpec(E4M3, **CLIPPED),
    "BF16": QuantizerSpec(BF16),
    "NF4": QuantizerSpec(NF4, **CLIPPED),
    "k-means": QuantizerSpec(KMeans(8)),
}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec, id=name, marks=[] if name in ("asymmetric", "E4M3") else pytest.mark.full)
        for name, spec in LARGE_SPECS.items()
    ],
)
def test_a_large_tensor_is_counted_by_its_codes_as_a_small_one_by_thresholds(spec: QuantizerSpec) -> None:
    x = np.random.default_rng(1).standard_t(3, (1, results.LARGE)).astype(np.float32)
    quantizer = fit(x, spec)
    view = results.view_of(x, quantizer, Distribution(x), outcome=results.outcome_of(x, quantizer))
    assert (
        view.counts.tolist()
        == np.bincount(np.searchsorted(view.thresholds, x[0], side="right"), minlength=view.levels.size).tolist()
    )
    own = measure(x, quantizer.fake_quantize(x), (view.levels[0], view.levels[-1]))
    assert (view.report.clipped, view.report.max_abs) == (own.clipped, own.max_abs)
    assert view.report.mse == pytest.approx(own.mse, rel=1e-9)
    assert view.report.clipping_mse == pytest.approx(own.clipping_mse, rel=1e-9)
