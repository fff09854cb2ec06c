"""Cases of learned codebooks."""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

import quant_engine as qe
from benchmarks import peers
from benchmarks.comparison import Comparison, Peer, TimesAsFast
from benchmarks.data import Sizes, weights

LEVELS = 256
MOST_EXCESS = 1e-5  # of the squared error, beyond the least there is
ROUNDING = 1e-9  # in the exact error


def optimal(sizes: Sizes) -> Comparison:
    """Find the codewords of one tensor to within a hundred-thousandth of the least error, from the values."""
    return _against_the_exact(sizes, exact=False, most=MOST_EXCESS, least=500)


def certified(sizes: Sizes) -> Comparison:
    """Find the codewords that none are better than, from the values."""
    return _against_the_exact(sizes, exact=True, most=ROUNDING, least=50)


@lru_cache(maxsize=1)
def _exact(count: int) -> tuple[float, NDArray[np.float64]] | None:
    """Return how long kmeans1d takes, once, and its codewords; None without it."""
    run = peers.exact_codebook(weights(1, count)[0], LEVELS)
    if run is None:
        return None
    start = perf_counter()
    found = run()
    return perf_counter() - start, found


def _against_the_exact(sizes: Sizes, exact: bool, most: float, least: float) -> Comparison:
    x = weights(1, sizes.codebook_values)[0]
    peer = _exact(x.size)

    def check() -> str:
        if peer is None:
            return "no peer to compare with"
        distribution = qe.Distribution(x, exact=True)
        excess = distribution.error(distribution.lloyd_max(LEVELS) if exact else qe.Distribution(x).lloyd_max(LEVELS))
        excess = excess / distribution.error(peer[1]) - 1.0
        assert excess <= most, f"the squared error is {excess:.2g} above the least"
        return f"{excess:.1e} above the peer's squared error"

    note = "run once" if peer else peers.NO_KMEANS1D
    against = Peer("kmeans1d", None, TimesAsFast(least), note=note, seconds=peer[0] if peer else None)
    return Comparison(lambda: qe.Distribution(x, exact).lloyd_max(LEVELS), (against,), check=check)
