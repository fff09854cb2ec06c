"""What quantizing does to sorted values is what a pass over them finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quant_engine import (
    E2M1,
    NF4,
    Distribution,
    FixedPointFormat,
    FixedRange,
    IntFormat,
    MinMax,
    MinMSE,
    Percentile,
    PerChannel,
    QuantError,
    fit,
)
from quant_engine import QuantizerSpec as Spec
from quant_engine.formats import E4M3
from quant_engine.quantizer import measure_in_order

RNG = np.random.default_rng(0)
TENSORS = {
    "Gaussian": RNG.standard_normal(5000),
    "heavy tails": RNG.standard_t(2, 5000),
    "one sign": np.abs(RNG.standard_normal(999)) + 3,
    "few values": RNG.choice([-1.0, -0.5, -0.0, 0.0, 0.25, 1.0], 500),
    "constant": np.full(70, -3.7),
    "zero": np.zeros(40),
    "tiny": RNG.standard_normal(300) * 1e-38,
    "huge": RNG.standard_normal(300) * 1e37,
    "single": np.array([2.5]),
}
CLIPPINGS = (MinMax(), Percentile(97.0), MinMSE(), FixedRange(-0.3, 0.4), FixedRange(-500.0, 700.0))


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 10])
def test_counts_and_error_are_those_of_a_pass(name: str, symmetric: bool, bits: int) -> None:
    x = TENSORS[name].astype(np.float32)[None]
    known = Distribution(x, exact=True)
    for clipping in CLIPPINGS:
        quantizer = fit(x, Spec(IntFormat(bits), clipping=clipping, symmetric=symmetric))
        counts, report = measure_in_order(known, quantizer)
        low, high = quantizer.spec.format.code_range
        codes = quantizer.encode(x).codes.astype(int).reshape(-1)
        assert counts.tolist() == np.bincount(codes - low, minlength=high - low + 1).tolist()
        passed = vars(quantizer.measure(x))
        exact = {"count", "clipped", "max_abs"}
        assert {key: vars(report)[key] for key in exact} == {key: passed[key] for key in exact}
        rest = [key for key in passed if key not in exact]
        near = {"rel": 1e-10, "abs": 1e-15 * report.power_sum}
        assert [vars(report)[key] for key in rest] == pytest.approx([passed[key] for key in rest], **near)


@pytest.mark.parametrize("form", [NF4, E2M1, E4M3, FixedPointFormat(1, 6)], ids=str)
def test_levels_of_other_formats_are_counted(form: Any) -> None:
    x = TENSORS["heavy tails"].astype(np.float32)[None]
    quantizer = fit(x, Spec(form))
    counts, report = measure_in_order(Distribution(x, exact=True), quantizer)
    back = quantizer.fake_quantize(x).reshape(-1)
    assert counts.tolist() == [int((back == level).sum()) for level in quantizer.levels()]
    assert report.mse == pytest.approx(quantizer.measure(x).mse, rel=1e-10)


def test_what_it_cannot_answer_is_refused() -> None:
    x = RNG.standard_normal((2, 5_000_000), np.float32)
    known = Distribution(x[:, :50], exact=True)
    with pytest.raises(QuantError, match="2 blocks of 16 levels"):
        measure_in_order(known, fit(x[:, :50], Spec(IntFormat(4), PerChannel())))
    with pytest.raises(QuantError, match="2048 levels"):
        measure_in_order(known, fit(x[:, :50], Spec(IntFormat(11))))
    with pytest.raises(QuantError, match="exact=True"):
        measure_in_order(Distribution(x), fit(x, Spec(IntFormat(4))))
