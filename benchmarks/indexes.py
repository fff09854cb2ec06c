"""Cases of the statistics that are taken once, and of the questions they answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import quant_engine as qe
from benchmarks import peers
from benchmarks.comparison import Comparison, Peer, TimesAsFast, TimesItsTime
from benchmarks.data import Sizes, weights
from benchmarks.processor import vector_extension

BITS = range(2, 9)
MEASURED = 7  # configurations of a grid that a peer runs, one for each bit width
BEST_OF = 100  # clips of a peer's search
MEASURED_CLIPS = 5  # of those


def _clips(x: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Return clips from 2 σ to the peak, evenly in logarithm."""
    return np.geomspace(2.0 * float(x.std()), float(np.abs(x).max()), count)


def _steps(clips: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the steps and highest codes of all bit widths at all clips."""
    highest = np.array([2 ** (bits - 1) - 1 for bits in BITS])[:, None] + np.zeros(clips.size, np.int64)
    return (clips / highest).reshape(-1), highest.reshape(-1)


def _limit(wide: float, narrow: float) -> float:
    """Return the limit with AVX-512, or that without."""
    return wide if vector_extension().startswith("AVX-512") else narrow


def histogram_build(sizes: Sizes) -> Comparison:
    """Take the moment histogram."""
    x = weights(sizes.rows, sizes.columns)
    return Comparison(
        lambda: qe.Distribution(x),
        (
            Peer("read", peers.read(x), TimesItsTime(8)),
            Peer("torch HistogramObserver", peers.observer(x)),
            Peer("numpy.histogram, 2,048 bins", lambda: np.histogram(x, 2048)),
        ),
    )


def sorted_build(sizes: Sizes) -> Comparison:
    """Take the sorted index."""
    x = weights(sizes.rows, sizes.columns)
    return Comparison(
        lambda: qe.Distribution(x, exact=True),
        (
            Peer("read", peers.read(x), TimesItsTime()),
            Peer("numpy.sort", lambda: np.sort(x.reshape(-1)), TimesAsFast(2)),
        ),
    )


def histogram_surface(sizes: Sizes) -> Comparison:
    """Ask the histogram for every bit width at every clip; checked against the sorted index."""
    x = weights(sizes.rows, sizes.columns)
    clips = _clips(x, sizes.clips)
    quick, exact = qe.Distribution(x), qe.Distribution(x, exact=True)

    def check() -> str:
        off = np.abs(quick.error_surface(BITS, clips) / exact.error_surface(BITS, clips) - 1.0).max()
        assert off <= 1e-6, f"the histogram's surface is off by {off:.1e}"
        return f"within {off:.1e} of the sorted index"

    return Comparison(lambda: quick.error_surface(BITS, clips), limit_ms=_limit(1.0, 1.5), check=check)


def sorted_surface(sizes: Sizes) -> Comparison:
    """Ask the sorted index for every bit width at every clip; checked against float64 over all values."""
    x = weights(sizes.rows, sizes.columns)
    clips = _clips(x, sizes.clips)
    exact = qe.Distribution(x, exact=True)

    def check() -> str:
        surface = exact.error_surface(BITS, clips).reshape(-1)
        steps, highest = _steps(clips)
        values = x.reshape(-1).astype(np.float64)
        worst = 0.0
        for i in range(clips.size // 3, steps.size, clips.size):
            levels = np.clip(np.rint(values / steps[i]), -highest[i], highest[i]) * steps[i]
            worst = max(worst, abs(surface[i] / np.mean((values - levels) ** 2) - 1.0))
        assert worst <= 1e-10, f"the sorted index's surface is off by {worst:.1e}"
        return f"within {worst:.1e} of float64 over all values"

    return Comparison(lambda: exact.error_surface(BITS, clips), limit_ms=_limit(5.0, 6.0), check=check)


def surface_from_raw(sizes: Sizes) -> Comparison:
    """Take the histogram and ask it for every bit width at every clip."""
    x = weights(sizes.rows, sizes.columns)
    clips = _clips(x, sizes.clips)
    steps, highest = _steps(clips)
    some = np.linspace(clips.size // 2, steps.size - clips.size // 2, MEASURED).astype(int)
    return Comparison(
        lambda: qe.Distribution(x).error_surface(BITS, clips),
        (
            Peer(
                "torch eager, one configuration after the other",
                peers.grid(x, steps[some], highest[some]),
                TimesAsFast(800),
                share=MEASURED / steps.size,
            ),
        ),
    )


def best_range(sizes: Sizes) -> Comparison:
    """Take the histogram and find the best 4-bit range; checked against the best of 100 clips."""
    x = weights(sizes.rows, sizes.columns)
    clips = _clips(x, BEST_OF)
    narrow = qe.IntFormat(4, narrow=True)

    def check() -> str:
        exact = qe.Distribution(x, exact=True)
        lo, hi = qe.Distribution(x).best_range(narrow)
        ours, theirs = exact.error(np.linspace(lo, hi, 15)), float(exact.error_surface([4], clips).min())
        assert ours <= theirs * 1.001, f"the best range has {ours / theirs:.4f} times the error of the best of 100"
        return f"{ours / theirs:.6f} × the error of the best of {BEST_OF} clips"

    steps = clips[np.linspace(0, BEST_OF - 1, MEASURED_CLIPS).astype(int)] / narrow.qmax
    return Comparison(
        lambda: qe.Distribution(x).best_range(narrow),
        (
            Peer(
                "torch eager, 100 clips",
                peers.grid(x, steps, np.full(MEASURED_CLIPS, narrow.qmax)),
                share=MEASURED_CLIPS / BEST_OF,
            ),
        ),
        check=check,
    )
