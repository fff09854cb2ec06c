"""Counting values as they arrive."""

from __future__ import annotations

import numpy as np

from quant_engine.kernels.compile import kernel


@kernel
def count_aligned(x, per_unit, first, counts):
    """Count values in bins [k, k + 1) / per_unit, where `counts[0]` is bin k = first; every value lies in one.

    `per_unit` is a power of two, so that the product is exact and a value's bin is beyond doubt.
    """
    for i in range(x.size):
        counts[np.int64(np.floor(np.float64(x[i]) * per_unit)) - first] += 1
