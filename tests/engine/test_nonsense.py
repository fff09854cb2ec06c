"""Nonsense given to the functions of the array half: a value or a `QuantError`, never a raw error or a warning."""

import math

import numpy as np
import pytest

import quant_engine as qe
import quant_engine.distribution as dist

NONSENSE = [
    None,
    True,
    "x",
    "",
    b"x",
    math.nan,
    math.inf,
    -math.inf,
    1.5,
    -1,
    0,
    10**400,
    -(10**400),
    1e308,
    5e-324,
    [],
    [[]],
    {},
    {1: 2},
    (),
    (1,),
    (1, 2, 3),
    object(),
    1j,
    np.array([1, 2]),
    np.float32("nan"),
    np.array(None),
    [1, "a"],
    [None],
    [10**400],
    [[1.0, 2.0], [3.0]],
    np.array([np.inf, 1.0]),
    {1.5},
    range(3),
    type,
    np.datetime64("2020"),
    np.int8(3),
]
D = qe.Distribution([-1.0, 0.5, 2.0])
W = dist.WeightedValues([0.0, 1.0, 4.0], [2, 1, 1])
X = np.float32([[1, 2], [3, 4]])
S = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0))
Q = qe.fit(X, S)
CALLS = {
    "err": D.error,
    "runs": D.runs,
    "hist": D.histogram,
    "lloyd": D.lloyd_max,
    "below": D.sums_below,
    "best": D.best_range,
    "best2": lambda v: D.best_range(qe.IntFormat(4), v),
    "surf1": lambda v: D.error_surface(v, [1.0]),
    "surf2": lambda v: D.error_surface([4], v),
    "rerr": lambda v: D.range_errors(qe.IntFormat(4), v),
    "rerr2": lambda v: D.range_errors(v, [[0, 1]]),
    "dist": qe.Distribution,
    "exact": lambda v: qe.Distribution([1.0], v),
    "wv": lambda v: dist.WeightedValues(v, [1]),
    "wv2": lambda v: dist.WeightedValues([1.0], v),
    "wfa": dist.WeightedValues.from_array,
    "wh": lambda v: dist.WeightedValues.from_histogram(v, [0, 1, 2]),
    "wh2": lambda v: dist.WeightedValues.from_histogram([1, 2], v),
    "wh3": lambda v: dist.WeightedValues.from_histogram([1, 2], [0, 1, 2], lo=v),
    "wh4": lambda v: dist.WeightedValues.from_histogram([1, 2], [0, 1, 2], zeros=v),
    "wp": W.percentile,
    "ws": W.share_outside,
    "whist": lambda v: W.histogram(v, 0, 1),
    "whist2": lambda v: W.histogram(3, v, 1),
    "wl": W.lloyd_max,
    "wb": W.best_range,
    "wr": lambda v: W.range_errors(qe.IntFormat(4), v),
    "wbel": W.sums_below,
    "ls": lambda v: list(dist.lloyd_steps(v, [0.0])),
    "ls2": lambda v: list(dist.lloyd_steps([1.0, 2.0], v)),
    "pp": lambda v: dist.plus_plus_start([1.0, 2.0], v, np.random.default_rng(0)),
    "pp2": lambda v: dist.plus_plus_start([1.0, 2.0], 2, v),
    "lin": lambda v: dist.linear_start(v, 1.0, 3),
    "lin2": lambda v: dist.linear_start(0.0, v, 3),
    "lin3": lambda v: dist.linear_start(0.0, 1.0, v),
    "qs": lambda v: dist.quantile_start([1.0, 2.0], v),
    "qs2": lambda v: dist.quantile_start(v, 2),
    "oc": lambda v: dist.optimal_codebooks(v, np.array([0, 2]), 2),
    "oc2": lambda v: dist.optimal_codebooks([1.0, 2.0], v, 2),
    "oc3": lambda v: dist.optimal_codebooks([1.0, 2.0], np.array([0, 2]), v),
    "oc4": lambda v: dist.optimal_codebooks([1.0, 2.0], np.array([0, 2]), 2, v),
    "qc": lambda v: dist.quantile_codebooks([1.0, 2.0], v, 2),
    "int1": qe.IntFormat,
    "int2": lambda v: qe.IntFormat(4, v),
    "int3": lambda v: qe.IntFormat(4, narrow=v),
    "fix": lambda v: qe.FixedPointFormat(v, 2),
    "fix2": lambda v: qe.FixedPointFormat(2, 2, v),
    "flo": lambda v: qe.FloatFormat(v, 2),
    "flo2": lambda v: qe.FloatFormat(3, v),
    "flo3": lambda v: qe.FloatFormat(4, 3, v),
    "flo4": lambda v: qe.FloatFormat(4, 3, specials=v),
    "flo5": lambda v: qe.FloatFormat(4, 3, saturate=v),
    "cb": qe.Codebook,
    "pt": qe.power_of_two,
    "bf": qe.BlockFormat,
    "km": qe.KMeans,
    "vc": lambda v: qe.VectorCodebook(v, 2),
    "vc2": lambda v: qe.VectorCodebook(2, v),
    "vc3": lambda v: qe.VectorCodebook(2, 2, v),
    "vc4": lambda v: qe.VectorCodebook(2, 2, remainder=v),
    "pc": lambda v: qe.ProductCodebook(2, 2, v),
    "pch": qe.PerChannel,
    "pcg": qe.PerChannelGroup,
    "pg": qe.PerGroup,
    "pg2": lambda v: qe.PerGroup(2, v),
    "pg3": lambda v: qe.PerGroup(2, remainder=v),
    "pb": lambda v: qe.PerBlock(v, 2),
    "pb2": lambda v: qe.PerBlock(2, 2, v),
    "ps": qe.PerSample,
    "blocks": lambda v: qe.PerTensor().blocks(v),
    "blocks2": lambda v: qe.PerGroup(2).blocks(v),
    "blocks3": lambda v: qe.PerChannel().blocks(v),
    "blocks4": lambda v: qe.PerSample().blocks(v),
    "perc": qe.Percentile,
    "ma": qe.MovingAverage,
    "kl": qe.MinKL,
    "kl2": lambda v: qe.MinKL(100, v),
    "aciq": qe.ACIQ,
    "fr": lambda v: qe.FixedRange(v, 1.0),
    "fr2": lambda v: qe.FixedRange(0.0, v),
    "fr3": lambda v: qe.FixedRange(v, v),
    "spec": qe.QuantizerSpec,
    "spec2": lambda v: qe.QuantizerSpec(qe.IntFormat(4), v),
    "spec3": lambda v: qe.QuantizerSpec(qe.IntFormat(4), clipping=v),
    "spec4": lambda v: qe.QuantizerSpec(qe.IntFormat(4), symmetric=v),
    "spec5": lambda v: qe.QuantizerSpec(qe.IntFormat(4), scale_format=v),
    "spec6": lambda v: qe.QuantizerSpec(qe.IntFormat(4), rounding=v),
    "sj": qe.QuantizerSpec.from_json,
    "fit": lambda v: qe.fit(v, S),
    "fit2": lambda v: qe.fit(X, v),
    "fit3": lambda v: qe.fit(X, S, v),
    "fit4": lambda v: qe.fit(X, S, importance=v),
    "fit5": lambda v: qe.fit(X, qe.QuantizerSpec(qe.KMeans(2)), importance=v),
    "quant": lambda v: qe.quantize(X, v),
    "fq": lambda v: qe.fake_quantize(v, S),
    "fq2": lambda v: qe.fake_quantize(X, v),
    "dq": qe.dequantize,
    "me": lambda v: qe.measure(v, X),
    "me2": lambda v: qe.measure(X, v),
    "me3": lambda v: qe.measure(X, X, v),
    "me4": lambda v: qe.measure(X, X, (v, 1.0)),
    "me5": lambda v: qe.measure(X, X, (0.0, v)),
    "br": lambda v: qe.block_ranges(X, v),
    "br2": lambda v: qe.block_ranges(v, S),
    "er": lambda v: qe.edit_ranges(X, S, v),
    "er3": lambda v: qe.edit_ranges(X, S, {0: v}),
    "er4": lambda v: qe.edit_ranges(X, v, {0: (0, 1)}),
    "er5": lambda v: qe.edit_ranges(X, S, {0: (v, 1.0)}),
    "enc": qe.IntFormat(4).encode,
    "enc2": qe.E4M3.encode,
    "enc3": qe.E2M1.encode,
    "enc4": qe.NF4.encode,
    "enc5": qe.FixedPointFormat(2, 2).encode,
    "enc6": qe.BlockFormat("Q4_0").encode,
    "dec": qe.IntFormat(4).decode,
    "dec2": qe.E4M3.decode,
    "dec3": qe.NF4.decode,
    "dec4": qe.FixedPointFormat(2, 2).decode,
    "dec5": qe.BlockFormat("Q4_0").decode,
    "split": qe.FP16.split,
    "join": lambda v: qe.FP16.join(v, 0, 0),
    "tb": lambda v: qe.BlockFormat("Q4_0").to_bytes(v, [1.0]),
    "tb2": lambda v: qe.BlockFormat("Q4_0").to_bytes(np.zeros(32, int), v),
    "lev": Q.levels,
    "thr": Q.thresholds,
    "qenc": Q.encode,
    "qdec": Q.decode,
    "qst": Q.storage,
    "sst": S.storage,
    "rec": lambda v: Q.reconstruct(X, v),
    "obj": lambda v: qe.MinMax().objective(W, qe.IntFormat(4), True, v),
    "obj2": lambda v: qe.Percentile(99.0).objective(W, qe.IntFormat(4), True, v),
    "obj3": lambda v: qe.ACIQ().objective(W, qe.IntFormat(4), True, v),
    "obj4": lambda v: qe.MinMSE().objective(W, qe.IntFormat(4), True, v),
    "obj5": lambda v: qe.MinKL(100).objective(W, qe.IntFormat(4), True, v),
    "obj6": lambda v: qe.FixedRange(0.0, 1.0).objective(W, qe.IntFormat(4), True, v),
}


@pytest.mark.filterwarnings("error", "ignore:.*a tensor of one axis its own scale")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nonsense_is_refused_or_taken_for_what_it_is(call):
    for value in NONSENSE:
        try:
            call(value)
        except qe.QuantError:
            continue
        except Exception as error:
            error.add_note(f"given {value!r}")
            raise


def test_bools_text_and_values_that_are_not_finite_are_no_numbers():
    for value in (True, "1", None, math.nan, math.inf, 10**400, 1j):
        for name in ("Percentile", "FixedRange of both", "the lowest end", "MovingAverage", "a percentile of values"):
            make = {
                "Percentile": lambda v: qe.Percentile(v),
                "FixedRange of both": lambda v: qe.FixedRange((v,), (v,)),
                "the lowest end": lambda v: qe.FixedRange(v, 1.0),
                "MovingAverage": lambda v: qe.MovingAverage(v),
                "a percentile of values": W.percentile,
            }[name]
            with pytest.raises(qe.QuantError):
                make(value)
    for make in (
        lambda: qe.FixedRange((), ()),
        lambda: qe.fit(X, qe.IntFormat(4)),
        lambda: qe.edit_ranges(X, S, {"0": (0, 1)}),
    ):
        with pytest.raises(qe.QuantError, match=r"give|must be"):
            make()
