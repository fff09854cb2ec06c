"""The one timer: operations in turn, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from time import perf_counter

Seconds = list[float]

FEWEST_ROUNDS = 7


def interleave(runs: Mapping[str, Callable[[], object]], repeats: int, budget: float) -> dict[str, Seconds]:
    """Run all operations once unmeasured, then in rounds; return what each took, in order.

    There are `repeats` rounds, or as many as fit `budget` seconds but at least seven.
    """
    for run in runs.values():
        run()
    times: dict[str, Seconds] = {name: [] for name in runs}
    collecting = gc.isenabled()
    gc.disable()
    try:
        began = perf_counter()
        for done in range(repeats):
            if done >= FEWEST_ROUNDS and perf_counter() - began > budget:
                break
            for name, run in runs.items():
                start = perf_counter()
                run()
                times[name].append(perf_counter() - start)
    finally:
        if collecting:
            gc.enable()
    return times
