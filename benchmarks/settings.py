"""What must be set before numpy, torch or numba is imported."""

from __future__ import annotations

import os


def prepare() -> None:
    """Let idle OpenMP threads sleep (they would take a core from the next operation), and undo BLAS overrides."""
    os.environ["OMP_WAIT_POLICY"] = "passive"
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
