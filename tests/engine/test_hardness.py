"""Why a tensor is hard: each number against numpy, and what is blamed against what mends it."""

from __future__ import annotations

import numpy as np
import pytest

import quant_engine as qe
from quant_engine.network import load
from quant_engine.studies import cause, hardness, outlier_channels, remedies

TENSORS = {
    f"{name}/{layer}": load(name).weight(layer).reshape(info.matrix_shape)
    for name in ("fashion-cnn", "fashion-depthwise")
    for layer, info in load(name).layers().items()
}
SPECS = [
    qe.QuantizerSpec(qe.IntFormat(bits), shared) for bits in (3, 8) for shared in (qe.PerTensor(), qe.PerChannel(0))
]


def decibels(x: np.ndarray, x_hat: np.ndarray) -> float:
    x = x.astype(np.float64)
    return float(10 * np.log10(np.square(x).sum() / np.square(x_hat - x).sum()))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_numbers_are_numpys(spec: qe.QuantizerSpec) -> None:
    for x in TENSORS.values():
        found, rows = hardness(x, spec), isinstance(spec.granularity, qe.PerChannel)
        scale = np.abs(x).max(axis=1 if rows else None, keepdims=True).astype(np.float64) / spec.format.qmax
        codes = np.clip(np.rint(x / scale.astype(np.float32)), spec.format.qmin, spec.format.qmax)
        used, counts = np.unique(codes, return_counts=True)
        assert found.sqnr_db == pytest.approx(decibels(x, codes * scale), abs=1e-3)
        assert found.steps == pytest.approx(np.sqrt(np.mean((codes - x / scale) ** 2)), rel=1e-3)
        assert (found.codes_used, found.codes_total) == (used.size, 1 << spec.format.bits)
        most = np.sort(counts)[::-1]
        assert most[: found.codes_of_most].sum() >= 0.99 * x.size > most[: found.codes_of_most - 1].sum()
        largest = np.abs(x).max(axis=1)
        assert set(found.outlier_channels) == set(np.flatnonzero(largest > 3 * np.median(largest)))
        assert found.channel_spread == pytest.approx(largest.max() / np.median(largest))
        bound = np.var(x, dtype=np.float64) * 4.0**-spec.format.bits
        assert found.bound_db == pytest.approx(10 * np.log10(np.mean(x.astype(float) ** 2) / bound), rel=1e-4)
        assert found.lloyd_db > decibels(x, qe.fake_quantize(x, qe.QuantizerSpec(spec.format))) - 1e-6


def test_what_is_blamed_is_what_mends_the_tensor() -> None:
    seen = set()
    for x in TENSORS.values():
        for spec in SPECS:
            found, others = hardness(x, spec), remedies(x, spec)
            gains = {name: decibels(x, qe.fake_quantize(x, one.spec)) - found.sqnr_db for name, one in others.items()}
            for name, one in others.items():
                assert one.sqnr_db - found.sqnr_db == pytest.approx(gains[name], abs=1e-3)
                assert one.bits_per_value == qe.quantize(x, one.spec).bits_per_value
            reason = cause(found, others)
            seen.add(reason)
            shorter = np.median(qe.fit(x, others["clip"].spec).scale / qe.fit(x, spec).scale) < 0.95
            clip, channel = gains["clip"] if shorter else 0.0, gains.get("channel", 0.0)
            if reason == "steps":
                assert max(clip, channel) < 1
                assert gains["bit"] > 1
            else:
                assert max(clip, channel) >= 1
                assert (clip > channel) == (reason == "outliers")
    assert seen >= {"outliers", "channels", "steps"}


def test_a_tensor_of_one_value_costs_nothing_and_an_outlying_channel_is_named() -> None:
    spec = qe.QuantizerSpec(qe.IntFormat(4))
    still = np.full((3, 4), 0.5, np.float32)
    assert cause(hardness(still, spec), remedies(still, spec)) == "exact"
    x = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)
    x[5] *= 20
    found, others = hardness(x, spec), remedies(x, spec)
    assert (found.outlier_channels, cause(found, others)) == ((5,), "channels")
    assert outlier_channels(x[:5]) == ()
    assert set(remedies(x, qe.QuantizerSpec(qe.IntFormat(16), qe.PerGroup(8)))) == {"clip", "float16"}
