"""Cases of the search for every block's range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import quant_engine as qe
from benchmarks import peers
from benchmarks.comparison import Comparison, Peer, Target, TimesAsFast
from benchmarks.data import Sizes, weights

FORMAT = qe.IntFormat(4)
SHARES = np.linspace(0.3, 1.0, 100)  # of the peak: a peer's clips
MEASURED = 5  # of those
CHECKED_ROWS = 64
GROUP = 128


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
