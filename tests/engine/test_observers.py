"""Observers: what they keep of batches, in whatever order these come."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from torch.ao.quantization import MovingAverageMinMaxObserver

import quant_engine as qe
from quant_engine.observers import (
    OBSERVERS,
    BlockObservers,
    HistogramObserver,
    MinMaxObserver,
    MovingAverageObserver,
    load_observers,
    observer_for,
    save_observers,
)

EIGHT_BITS = qe.IntFormat(8)
values = st.lists(st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-2, 2, width=32), max_size=30)
batches = st.lists(values, min_size=1, max_size=5)
merging = pytest.mark.parametrize("kind", [MinMaxObserver, lambda: HistogramObserver(16)], ids=["extremes", "counts"])


def shown(observer, parts):
    for part in parts:
        observer.update(np.float32(part))
    return observer


def assert_same_state(one, other):
    one, other = one.to_arrays(), other.to_arrays()
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@merging
@given(parts=batches, order=st.randoms(use_true_random=False))
def test_order_and_division_into_batches_do_not_matter(kind, parts, order):
    whole = [value for part in parts for value in part]
    shuffled = list(parts)
    order.shuffle(shuffled)
    assert_same_state(shown(kind(), shuffled), shown(kind(), [whole]))


@merging
@given(parts=batches, order=st.randoms(use_true_random=False))
def test_merging_in_any_order_is_seeing_everything(kind, parts, order):
    observers = [shown(kind(), [part]) for part in parts]
    order.shuffle(observers)
    while len(observers) > 1:
        first = observers.pop(order.randrange(len(observers)))
        observers[order.randrange(len(observers))].merge(first)
    assert_same_state(observers[0], shown(kind(), parts))


@given(batches, st.integers(2, 40))
def test_the_counts_are_those_numpy_finds_between_the_edges(parts, bins):
    observer = shown(HistogramObserver(bins), parts)
    whole = np.array([value for part in parts for value in part], np.float32).astype(np.float64)
    edges = observer.edges
    expected = [np.count_nonzero((whole >= low) & (whole < high)) for low, high in itertools.pairwise(edges)]
    np.testing.assert_array_equal(observer.counts, expected)
    assert observer.counts.sum() == whole.size


@given(batches, st.integers(2, 40))
def test_bins_are_as_narrow_as_a_power_of_two_can_be(parts, bins):
    observer = shown(HistogramObserver(bins), parts)
    assert observer.counts.size <= bins
    width = np.diff(observer.edges)
    assert (width == width[0]).all()
    assert math.frexp(width[0])[0] == 0.5
    if observer.exponent > -149:
        lo, hi = observer.seen.range()
        half = width[0] / 2
        assert math.floor(max(hi, 0) / half) - math.floor(min(lo, 0) / half) + 1 > bins


def test_growth_by_a_thousandfold_loses_no_value():
    rng = np.random.default_rng(5)
    observer = HistogramObserver()
    for power in range(5):
        observer.update((1000.0**power * rng.standard_normal(500)).astype(np.float32))
        assert observer.counts.sum() == 500 * (power + 1)
    whole = observer.weighted_values()
    assert whole.total == pytest.approx(2500)
    assert observer.counts.size > 1024


@given(batches, st.integers(0, 9))
def test_zeros_are_known_apart_from_their_bin(parts, zeros):
    whole = np.float32([value for part in parts for value in part] + [0.0] * zeros + [-0.0])
    observer = shown(HistogramObserver(16), [*parts, [0.0] * zeros, [-0.0]])
    found = observer.weighted_values()
    assert found.counts[found.values == 0].sum() >= np.count_nonzero(whole == 0)
    assert found.total == pytest.approx(whole.size)
    assert (found.lo, found.hi) == pytest.approx((whole.min(), whole.max()), abs=np.diff(observer.edges)[0])


def test_the_exact_extremes_are_kept():
    observer = shown(HistogramObserver(8), [[0.1, 0.77], [-0.3]])
    found = observer.range(qe.QuantizerSpec(EIGHT_BITS, symmetric=False, clipping=qe.Percentile(100)))
    assert found == pytest.approx((np.float32(-0.3), np.float32(0.77)))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    "clipping", [qe.MinKL(), qe.MinKL(512), qe.ACIQ(), qe.ACIQ("laplace"), qe.ACIQ("fit")], ids=str
)
def test_calibrators_find_in_batches_nearly_what_they_find_in_the_whole_tensor(clipping, signed):
    x = np.maximum(np.random.default_rng(7).standard_normal(50_000), 0).astype(np.float32)
    spec = qe.QuantizerSpec(qe.IntFormat(4, signed), symmetric=False, clipping=clipping)
    seen = BlockObservers(spec, ())
    for part in np.split(x, 10):
        seen.update(part)
    assert seen.quantizer().scale.item() == pytest.approx(qe.fit(x, spec).scale.item(), rel=0.03)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_histograms_range_loses_no_more_than_the_whole_tensors(symmetric, bits):
    x = np.maximum(np.random.default_rng(6).standard_normal(20_000), 0).astype(np.float32)
    spec = qe.QuantizerSpec(qe.IntFormat(bits, signed=False), symmetric=symmetric, clipping=qe.MinMSE())
    observer = shown(HistogramObserver(), np.split(x, 10))
    lo, hi = observer.range(spec)
    fixed = qe.QuantizerSpec(spec.format, symmetric=symmetric, clipping=qe.FixedRange(lo, hi))
    assert qe.fit(x, fixed).measure(x).mse <= 1.01 * qe.fit(x, spec).measure(x).mse


@given(st.lists(values.filter(len), min_size=1, max_size=6), st.floats(0.0625, 1))
def test_the_moving_average_is_torchs(parts, constant):
    theirs = MovingAverageMinMaxObserver(averaging_constant=constant)
    for part in parts:
        theirs(torch.tensor(part, dtype=torch.float32))
    lo, hi = shown(MovingAverageObserver(constant), parts).range()
    np.testing.assert_allclose(
        [lo, hi],
        [theirs.min_val.item(), theirs.max_val.item()],
        rtol=1e-4,
        atol=1e-4 * np.abs(np.concatenate(parts)).max(),
    )


def test_two_moving_averages_have_no_common_order():
    one, other, empty = (shown(MovingAverageObserver(0.1), parts) for parts in ([[1.0]], [[2.0], [3.0]], []))
    with pytest.raises(qe.QuantError, match=r"1 and 2 batches cannot be merged.*order"):
        one.merge(other)
    with pytest.raises(qe.QuantError, match=r"constants 0\.1 and 0\.2"):
        one.merge(MovingAverageObserver(0.2))
    one.merge(empty)
    empty.merge(other)
    assert one.range() == (1.0, 1.0)
    assert_same_state(empty, other)


def test_histograms_of_other_bins_are_not_merged():
    with pytest.raises(qe.QuantError, match="8 and 16 bins"):
        HistogramObserver(8).merge(HistogramObserver(16))


@pytest.mark.parametrize("kind", OBSERVERS.values())
class TestEveryObserver:
    def test_nothing_seen_is_no_range(self, kind):
        observer = kind()
        observer.update(np.empty((0, 3), np.float32))
        with pytest.raises(qe.QuantError, match="nothing has been observed"):
            observer.range(qe.QuantizerSpec(EIGHT_BITS))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_a_batch_that_is_not_finite_is_refused_and_leaves_no_trace(self, kind, bad):
        observer = shown(kind(), [[1.0, 2.0]])
        before = observer.to_arrays()
        with pytest.raises(qe.QuantError, match=r"the batch of shape \(2, 2\) has .* the first .* at \(1, 0\)"):
            observer.update(np.float32([[0, 5], [bad, 1]]))
        for name, array in observer.to_arrays().items():
            np.testing.assert_array_equal(array, before[name])

    def test_all_zero_is_a_range_of_no_width(self, kind):
        for clipping in (qe.MinMax(), qe.MinMSE(), qe.Percentile(99), qe.MinKL(), qe.ACIQ(), qe.MovingAverage()):
            spec = qe.QuantizerSpec(EIGHT_BITS, clipping=clipping)
            assert shown(kind(), [np.zeros(5), -np.zeros(5)]).range(spec) == (0.0, 0.0)

    def test_the_state_comes_back_from_a_file_and_goes_on(self, kind, tmp_path):
        observers = {"a/b": shown(kind(), [[-1.0, 3.0]]), "empty": kind()}
        save_observers(tmp_path / "seen.safetensors", observers)
        back = load_observers(tmp_path / "seen.safetensors")
        assert list(back) == list(observers)
        for name, observer in observers.items():
            assert_same_state(observer, back[name])
            assert_same_state(shown(observer, [[5e3, 0.25]]), shown(back[name], [[5e3, 0.25]]))

    def test_a_state_with_a_part_missing_is_refused(self, kind):
        arrays = kind().to_arrays()
        for name in arrays:
            with pytest.raises(qe.QuantError, match="no"):
                kind.from_arrays({part: a for part, a in arrays.items() if part != name})


def test_a_file_without_observers_is_refused(tmp_path):
    (tmp_path / "text").write_text("hello")
    save_file({"a": np.zeros(3)}, tmp_path / "arrays")
    for name in ("text", "arrays", "nothing"):
        with pytest.raises(qe.QuantError, match=f"{name} holds no observers"):
            load_observers(tmp_path / name)


@pytest.mark.parametrize("constant", [0, -1, 1.5, "a", True])
def test_a_weight_of_a_batch_lies_between_0_and_1(constant):
    with pytest.raises(qe.QuantError, match=r"constant=.* must be a finite number above 0"):
        MovingAverageObserver(constant)


@pytest.mark.parametrize("bins", [1, 2.5, True, "many", 2**40])
def test_a_histogram_has_two_bins_or_more(bins):
    with pytest.raises(qe.QuantError, match=r"bins=.* must be an integer from 2"):
        HistogramObserver(bins)


def test_finer_formats_get_more_bins():
    assert observer_for(qe.MinMSE(), 4).bins == observer_for(qe.MinMSE()).bins == 2048
    assert observer_for(qe.MinMSE(), 12).bins == 8 * 4096
    assert observer_for(qe.MinKL(512)).bins == 16 * 512
    assert isinstance(observer_for(qe.MinMax()), MinMaxObserver)
    assert observer_for(qe.MovingAverage(0.25)).constant == 0.25


@pytest.mark.parametrize("granularity", [qe.PerTensor(), qe.PerChannel(1), qe.PerChannelGroup(2, 1, "short")], ids=str)
@pytest.mark.parametrize("symmetric", [True, False])
def test_observing_batches_under_min_max_is_fitting_to_everything(granularity, symmetric):
    x = np.random.default_rng(8).standard_normal((20, 5, 3, 4)).astype(np.float32)
    spec = qe.QuantizerSpec(EIGHT_BITS, granularity, symmetric)
    seen = BlockObservers(spec, (5, 3, 4))
    for part in np.array_split(x, 7):
        seen.update(part)
    expected = qe.fit(x, spec)
    np.testing.assert_array_equal(seen.quantizer().scale, expected.scale)
    np.testing.assert_array_equal(seen.quantizer().zero_point, expected.zero_point)


def test_a_fixed_range_needs_no_batch():
    spec = qe.QuantizerSpec(EIGHT_BITS, qe.PerChannel(1), clipping=qe.FixedRange((-1, -2), (1, 2)))
    np.testing.assert_allclose(BlockObservers(spec, (2,)).quantizer().scale, [[1 / 127, 2 / 127]], rtol=1e-6)


@pytest.mark.parametrize(
    "granularity",
    [qe.PerToken(), qe.PerSample(), qe.PerChannel(0), qe.PerGroup(2), qe.PerChannelGroup(512, 0, "short")],
    ids=str,
)
def test_scales_that_belong_to_a_sample_cannot_be_static(granularity):
    with pytest.raises(qe.QuantError, match=r"\(3, 4\).*dynamic=True"):
        BlockObservers(qe.QuantizerSpec(EIGHT_BITS, granularity), (3, 4))


def test_a_batch_of_another_shape_is_refused():
    with pytest.raises(qe.QuantError, match=r"shape \(2, 5\); give \(n, 4\)"):
        BlockObservers(qe.QuantizerSpec(EIGHT_BITS), (4,)).update(np.ones((2, 5), np.float32))
    with pytest.raises(qe.QuantError, match=r"shape \(2, 5, 3\); give \(n, 4, 3\)"):
        BlockObservers(qe.QuantizerSpec(EIGHT_BITS, qe.PerChannel(1)), (4, 3)).update(np.ones((2, 5, 3), np.float32))


def test_texts_of_several_lengths_share_their_scales():
    short, long = np.full((2, 4, 3), [1.0, 2.0, 3.0], np.float32), np.full((1, 7, 3), [2.0, -1.0, 0.5], np.float32)
    for granularity, ends in ((qe.PerTensor(), [[[3]]]), (qe.PerChannel(2), [[[2, 2, 3]]])):
        seen = BlockObservers(qe.QuantizerSpec(qe.IntFormat(8, narrow=True), granularity), (4, 3))
        seen.update(short)
        seen.update(long)
        np.testing.assert_allclose(seen.quantizer().scale, np.array(ends) / 127, rtol=1e-6)


# --- states from elsewhere --------------------------------------------------------------------------------------------

ODD = [
    *(np.array(odd) for odd in (math.nan, math.inf, -math.inf, 1e300, -1e300, 3.7, -0.5, 0.0, 1.0, -1.0, 5e-324)),
    *(np.array(odd) for odd in (0, 1, -1, 2, 7, -200, 1000, 2**40, 2**62, -(2**63), 2**64 - 1, 2**70, True, False)),
    *(np.array(odd) for odd in ("1", b"1", None, 1j, np.datetime64("2026-01-01"), [1, 2], [[3]], [], [0.5], [None])),
]
SEEN = {
    "nothing": [],
    "zeros": [[0.0, -0.0]],
    "positive": [[0.25, 0.9, 0.0], [3.0]],
    "negative": [[-0.25, -7.0]],
    "both": [[-1.5, 0.0, 0.5, 2.0], [0.1]],
    "one value": [[1.5, 1.5]],
    "large": [[3e38, -1e-40]],
}
KINDS = [MinMaxObserver, lambda: MovingAverageObserver(0.25), lambda: HistogramObserver(8)]


def variants(array):
    """Yield what may stand in an array's place: other values, types and shapes, and one value changed by itself."""
    yield from ODD
    yield from (array[None], array.astype(np.float32), array.astype(str), array.astype(object), np.append(array, 1))
    for place in np.ndindex(array.shape):
        for more in (-1, 1, 1000, -(2**40)):
            changed = array.copy()
            changed[place] += more
            yield changed


def check_right(observer, given):
    """Check that an observer is what its state says, and goes on."""
    for name, array in observer.to_arrays().items():
        np.testing.assert_array_equal(array, given[name].reshape(array.shape))
    lo, hi = float(given["lo"].item()), float(given["hi"].item())
    if lo <= hi:
        assert observer.range(qe.QuantizerSpec(EIGHT_BITS, symmetric=False, clipping=qe.MinMax())) == (lo, hi)
    if isinstance(observer, HistogramObserver) and lo <= hi:
        whole = observer.weighted_values()
        assert whole.total == observer.counts.sum()
        assert (whole.lo, whole.hi) == (lo, hi)
    observer.update([4.0, -4.0])


def test_any_part_of_a_state_that_is_spoilt_is_refused_or_is_another_state():
    tried = kept = 0
    for make, parts in itertools.product(KINDS, SEEN.values()):
        observer = shown(make(), parts)
        arrays = observer.to_arrays()
        check_right(type(observer).from_arrays(arrays), arrays)
        for name, array in arrays.items():
            for odd in variants(array):
                given, tried = {**arrays, name: odd}, tried + 1
                try:
                    found = type(observer).from_arrays(given)
                except qe.QuantError:
                    continue
                check_right(found, given)
                kept += 1
        with pytest.raises(qe.QuantError, match="no observer's state"):
            type(observer).from_arrays({**arrays, "more": np.array(1)})
    assert 0 < kept < tried / 4


def test_counts_and_numbers_of_the_wrong_type_are_refused_with_their_value():
    arrays = shown(HistogramObserver(8), SEEN["both"]).to_arrays()
    for name, odd, said in (
        ("exponent", np.array(3.7), "exponent=3.7 must be an integer"),
        ("counts", arrays["counts"] + 0.5, "counts: .* is no integer"),
        ("first", arrays["first"] + 1, "exponent, first and size of counts are"),
        ("zeros", np.array(5), "5 of them 0, are not those of"),
        ("hi", np.array(np.nan), "hi=nan must be a finite number"),
        ("lo", np.array("a"), "lo='a' must be a finite number"),
    ):
        with pytest.raises(qe.QuantError, match=said):
            HistogramObserver.from_arrays({**arrays, name: odd})


def test_heads_that_nobody_wrote_are_refused(tmp_path):
    path = tmp_path / "seen"
    arrays = {f"a/{name}": array for name, array in shown(MinMaxObserver(), [[1.0]]).to_arrays().items()}
    head = {"schema": 1, "kinds": {"a": "MinMaxObserver"}}
    for entry in (
        "[" * 100_000,
        "9" * 5_000,
        "",
        "{}",
        "[]",
        *(json.dumps(odd) for odd in (None, 3, {**head, "schema": 2}, {**head, "schema": True}, {**head, "more": 1})),
        *(json.dumps({**head, "kinds": odd}) for odd in (None, [], {"a": "Observer"}, {"a": ["MinMaxObserver"]}, {})),
        json.dumps({**head, "kinds": {"a": "MinMaxObserver", "b": "MinMaxObserver"}}),
        json.dumps({**head, "kinds": {"a": "HistogramObserver"}}),
        '{"schema": 1, "kinds": {"a": "MinMaxObserver", "a": "MinMaxObserver"}}',
    ):
        save_file(arrays, path, {"observers": entry})
        with pytest.raises(qe.QuantError, match="holds no observers that can be read"):
            load_observers(path)
    for more in ({"b/lo": np.zeros(1)}, {"a/more": np.zeros(1)}, {"more": np.zeros(1)}):
        save_file({**arrays, **more}, path, {"observers": json.dumps(head)})
        with pytest.raises(qe.QuantError, match="holds no observers that can be read"):
            load_observers(path)
    save_file(arrays, path, {"observers": json.dumps(head)})
    assert list(load_observers(path)) == ["a"]


def test_bytes_of_a_file_that_are_changed_are_refused_or_make_another_state(tmp_path):
    path = tmp_path / "seen.safetensors"
    save_observers(path, {"a": shown(HistogramObserver(8), SEEN["both"]), "b": shown(MovingAverageObserver(), [[1.0]])})
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([draw.integers(256)]) + whole[place + 1 :])
        try:
            found = load_observers(path)
        except qe.QuantError:
            continue
        for observer in found.values():
            check_right(observer, observer.to_arrays())
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place])
        with pytest.raises(qe.QuantError, match="holds no observers"):
            load_observers(path)


def test_observers_replace_only_observers(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(3)}, path)
    before = path.read_bytes()
    with pytest.raises(qe.QuantError, match=r"model\.safetensors exists and was not written by .*give another name"):
        save_observers(path, {})
    assert path.read_bytes() == before
    path.unlink()
    for _ in range(2):
        save_observers(path, {"a": MinMaxObserver()})
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_what_is_no_observer_is_not_saved(tmp_path):
    derived = type("MinMaxObserver", (MinMaxObserver,), {})
    for observers in ([], None, {"a": 3}, {1: MinMaxObserver()}, {"a": derived()}):
        with pytest.raises(qe.QuantError, match="give"):
            save_observers(tmp_path / "seen", observers)
    assert not list(tmp_path.iterdir())
