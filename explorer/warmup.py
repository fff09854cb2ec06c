"""Load the kernels on a thread of its own, those of the first picture first; after an installation, compile them."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import event

from quant_engine import (
    ACIQ,
    E2M1,
    NF4,
    BlockFormat,
    Distribution,
    IntFormat,
    KMeans,
    MinKL,
    MinMSE,
    PerChannel,
    QuantizerSpec,
    VectorCodebook,
    fit,
    measure,
)

X = np.linspace(-1.0, 1.0, 2048, dtype=np.float32).reshape(32, 64)
INTEGERS = QuantizerSpec(IntFormat(4))


def _all_of(spec: QuantizerSpec) -> Callable[[], Any]:
    """Return what fits, encodes and measures."""

    def work() -> None:
        quantizer = fit(X, spec)
        quantizer.encode(X)
        quantizer.measure(X)

    return work


def _keep() -> None:
    """Import what networks run on, and spare the garbage collector what stays: a tenth of the time of every run."""
    import torch  # noqa: F401

    gc.collect()
    gc.freeze()


FIRST_PICTURE: tuple[Callable[[], Any], ...] = (
    lambda: fit(X, INTEGERS),
    _all_of(INTEGERS),
    lambda: Distribution(X, exact=True).histogram(8),
    lambda: Distribution(X, exact=True).error([-0.5, 0.5]),
    lambda: measure(X, X),
    lambda: Distribution(X, exact=True).best_range(IntFormat(4)),
    lambda: fit(X, QuantizerSpec(IntFormat(4), PerChannel(0), clipping=MinMSE())),
    lambda: fit(X, QuantizerSpec(IntFormat(4), clipping=MinKL())),
    lambda: fit(X, QuantizerSpec(IntFormat(4), clipping=ACIQ("fit"))),
)
OTHER_FORMATS: tuple[Callable[[], Any], ...] = (
    *(_all_of(QuantizerSpec(form)) for form in (E2M1, NF4, BlockFormat("Q4_0"), BlockFormat("Q4_1"))),
    *(_all_of(QuantizerSpec(form, PerChannel(0), clipping=MinMSE())) for form in (E2M1, NF4)),
    *(_all_of(QuantizerSpec(form)) for form in (KMeans(16), VectorCodebook(2, 16))),
)


class WarmUp(event.Listener):
    """What is loaded so far, and whether any of it had to be compiled."""

    def __init__(self) -> None:
        """Start nothing."""
        self.total = len(FIRST_PICTURE) + len(OTHER_FORMATS) + 1
        self.done = 0
        self.compiles = False
        self._first_picture = threading.Event()
        self._started = threading.Lock()

    def start(self) -> None:
        """Start the thread, once in a process."""
        if self._started.acquire(blocking=False):
            event.register("numba:compile", self)  # type: ignore[no-untyped-call]
            threading.Thread(target=self._run, name="quant-explorer-warm-up", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Wait a moment for the kernels of the first picture, and say whether they are there."""
        return self._first_picture.wait(seconds)

    @property
    def is_compiling(self) -> bool:
        """Some kernels had to be compiled, and others may still have to be."""
        return self.compiles and self.done < self.total

    def on_start(self, event: object) -> None:
        """Take note that a kernel is not at hand."""
        self.compiles = True

    def on_end(self, event: object) -> None:
        """Nothing: what counts is that it began."""

    def _run(self) -> None:
        try:
            for work in FIRST_PICTURE:
                work()
                self.done += 1
            self._first_picture.set()
            for work in (*OTHER_FORMATS, _keep):
                work()
                self.done += 1
        finally:  # or every page would wait for ever; what fails here says so there
            self.done = self.total
            self._first_picture.set()
            event.unregister("numba:compile", self)  # type: ignore[no-untyped-call]


WARM_UP = WarmUp()
