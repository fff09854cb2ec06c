"""Inputs with a label each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_choice

Labelled = tuple[NDArray[Any], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Classification:
    """A split of data is inputs (n, …) and labels (n,), read when it is asked for.

    Attributes:
        readers: what reads each split, by its name: of "training", "calibration", "search" and "test".
        unit: what one sample is called.
    """

    readers: Mapping[str, Callable[[], Labelled]]
    unit: str = "sample"

    @property
    def splits(self) -> frozenset[str]:
        """The names of the splits there are."""
        return frozenset(self.readers)

    def data(self, split: str) -> Labelled:
        """Return a split.

        Raises:
            QuantError: for one there is not.
        """
        as_choice(split, self.readers, "split")
        return self.readers[split]()
