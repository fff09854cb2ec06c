"""What must be set before numpy, torch or numba is imported."""

from __future__ import annotations

import os


def prepare() -> None:
    """Let idle OpenMP threads sleep (they would take a core from the next operation), and undo BLAS overrides.

    Those stay of a process that is to do without a vector extension.
    """
    os.environ["OMP_WAIT_POLICY"] = "passive"
    if "NUMBA_CPU_FEATURES" not in os.environ:
        for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            os.environ.pop(name, None)
