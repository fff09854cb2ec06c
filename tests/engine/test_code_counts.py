"""How often each code of a tensor occurs, however they are counted."""

from __future__ import annotations

import numpy as np

from quant_engine import IntFormat, PerChannel, QuantizerSpec, fit
from quant_engine.studies import encoded_counts


def test_codes_are_counted_two_at_a_time_or_one() -> None:
    x = np.random.default_rng(0).standard_normal((3, (1 << 20) + 1), np.float32)
    for bits, signed in ((4, True), (8, False), (12, True)):
        quantizer = fit(x, QuantizerSpec(IntFormat(bits, signed=signed), symmetric=signed))
        low, high = quantizer.spec.format.code_range
        expected = np.bincount(quantizer.encode(x).codes.astype(int).reshape(-1) - low, minlength=high - low + 1)
        assert encoded_counts(x, quantizer).tolist() == expected.tolist()
        channels = fit(x, QuantizerSpec(IntFormat(bits, signed=signed), PerChannel(), symmetric=signed))
        codes = channels.encode(x).codes.astype(int).reshape(-1)
        assert encoded_counts(x, channels).tolist() == np.bincount(codes - low, minlength=high - low + 1).tolist()
