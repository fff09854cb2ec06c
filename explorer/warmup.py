"""Load (or, the first time after installation, compile) what the first picture needs, once in a process.

What other number formats need follows in the background.
"""

from __future__ import annotations

import threading

import numpy as np

from quant_engine import (
    ACIQ,
    E2M1,
    NF4,
    BlockFormat,
    Distribution,
    IntFormat,
    KMeans,
    MinKL,
    MinMax,
    MinMSE,
    PerChannel,
    QuantizerSpec,
    VectorCodebook,
    fit,
)

_lock = threading.Lock()
_done = threading.Event()


def warm_up() -> None:
    """Run every kernel of the first page on a tiny tensor; later calls return at once."""
    with _lock:
        if _done.is_set():
            return
        x = np.linspace(-1.0, 1.0, 64, dtype=np.float32).reshape(8, 8)
        fit(x, QuantizerSpec(IntFormat(4), PerChannel(0), clipping=MinMSE()))
        for clipping in (MinMax(), MinKL(), ACIQ("fit")):
            quantizer = fit(x, QuantizerSpec(IntFormat(4), clipping=clipping))
            quantizer.encode(x)
            quantizer.measure(x)
        statistics = Distribution(x, exact=True)
        statistics.histogram(8)
        statistics.error([-0.5, 0.5])
        statistics.best_range(IntFormat(4))
        _done.set()
    threading.Thread(target=_warm_up_formats, name="quant-explorer-warm-up", daemon=True).start()


def _warm_up_formats() -> None:
    """Do the same for the formats that a person may choose next."""
    x = np.linspace(-1.0, 1.0, 2048, dtype=np.float32).reshape(32, 64)
    for form in (E2M1, NF4, KMeans(16), BlockFormat("Q4_0"), BlockFormat("Q4_1"), VectorCodebook(2, 16)):
        quantizer = fit(x, QuantizerSpec(form))
        quantizer.encode(x)
        quantizer.measure(x)
    for form in (E2M1, NF4):
        fit(x, QuantizerSpec(form, PerChannel(0), clipping=MinMSE()))
