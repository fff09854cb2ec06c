"""What the engine's answers look like to figures and pages: plain frozen records of arrays and numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_engine import Distribution, ErrorReport, Quantizer, QuantizerSpec, Storage


@dataclass(frozen=True)
class Outcome:
    """What one spec does to one tensor."""

    spec: QuantizerSpec
    quantizer: Quantizer
    report: ErrorReport
    storage: Storage
    codes_used: int
    codes_total: int

    @property
    def largest_scale(self) -> float:
        """The largest scale of all blocks."""
        return float(self.quantizer.scale.max())


@dataclass(frozen=True)
class BlockView:
    """One block of a tensor: its values' statistics, its levels, and how often each code is used."""

    distribution: Distribution
    lo: float
    hi: float
    scale: float
    zero_point: int
    first_code: int
    levels: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    counts: NDArray[np.int64]
    error: float

    @property
    def example(self) -> float:
        """A value of the block's own size to follow through the formulas: its standard deviation, two figures long."""
        sigma = self.distribution.sigma or abs(self.distribution.hi)
        return float(f"{sigma:.2g}")
