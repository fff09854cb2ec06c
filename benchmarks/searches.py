"""Cases of the search for every block's range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import quant_engine as qe
from benchmarks import peers
from benchmarks.comparison import Comparison, Peer, Target, TimesAsFast
from benchmarks.data import Sizes, weights
from quant_engine.distribution import WeightedValues

FORMAT = qe.IntFormat(4)
SHARES = np.linspace(0.3, 1.0, 100)  # of the peak: a peer's clips
MEASURED = 5  # of those
CHECKED_ROWS = 64
GROUP = 128
BINS = 2048
WHOLE_SHARES = 720_720  # counts of so many that runs of up to 16 bins divide them: a peer truncates shares


def rows(sizes: Sizes) -> Comparison:
    """Search the range of every row."""
    x = weights(sizes.rows, sizes.columns)
    return _search(x, x, qe.PerChannel(0), TimesAsFast(250))


def groups(sizes: Sizes) -> Comparison:
    """Search the range of every group of 128 values."""
    x = weights(sizes.rows, sizes.columns)
    return _search(x, x.reshape(-1, GROUP), qe.PerGroup(GROUP), TimesAsFast())


def _search(
    x: NDArray[np.float32], blocks: NDArray[np.float32], granularity: qe.PerChannel | qe.PerGroup, target: Target
) -> Comparison:
    spec = qe.QuantizerSpec(FORMAT, granularity, clipping=qe.MinMSE())
    some = SHARES[:: SHARES.size // MEASURED]

    def check() -> str:
        part = x[:CHECKED_ROWS]
        count = part.size // blocks.shape[1]
        ours = qe.fit(part, spec).measure(part).squared_error
        theirs = float(peers.row_grid(blocks[:count], SHARES, FORMAT.qmin, FORMAT.qmax).sum(dtype=None))
        assert ours <= theirs, f"the squared error is {ours / theirs:.5f} times the peer's"
        return f"{ours / theirs:.5f} × the squared error of the peer's best of {SHARES.size} on {count} blocks"

    return Comparison(
        lambda: qe.fit(x, spec),
        (
            Peer(
                "torch, all blocks at a time",
                lambda: peers.row_grid(blocks, some, FORMAT.qmin, FORMAT.qmax),
                target,
                share=some.size / SHARES.size,
            ),
        ),
        check=check,
    )


def entropy(sizes: Sizes) -> Comparison:
    """Search the range with the least divergence of one histogram."""
    x = weights(sizes.rows, sizes.columns)
    peak = float(np.abs(x).max())
    counts, edges = np.histogram(x, BINS, range=(-peak, peak))
    values = WeightedValues.from_histogram(counts * WHOLE_SHARES, edges, float(x.min()), float(x.max()))
    method, form = qe.MinKL(BINS, peers.QUANTIZED_BINS), qe.IntFormat(8)
    run = peers.entropy(counts * WHOLE_SHARES, edges, x)

    def ours() -> tuple[float, float]:
        return method.range_of(values, form, True)

    def check() -> str:
        if run is None:
            return "no peer to compare with"
        expected = tuple(float(end) for end in run())
        off = np.abs(np.subtract(ours(), expected)).max()
        assert off <= 1e-6 * peak, f"the threshold is {ours()}, the peer's {expected}"
        return f"threshold {ours()[1]:.5g}, the peer's {expected[1]:.5g}"

    return Comparison(ours, (peers.entropy_peer(run),), check=check)
