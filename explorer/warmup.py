"""Load (or, the first time after installation, compile) what the first picture needs, once in a process."""

from __future__ import annotations

import threading

import numpy as np

from quant_engine import ACIQ, Distribution, IntFormat, MinKL, MinMax, MinMSE, PerChannel, QuantizerSpec, fit

_lock = threading.Lock()
_done = threading.Event()


def warm_up() -> None:
    """Run every kernel of the playground on a tiny tensor; later calls return at once."""
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
