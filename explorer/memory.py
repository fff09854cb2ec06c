"""The memory of this process: how much it has, and keeping what is free together and little."""

from __future__ import annotations

import ctypes
import pathlib
import sys

MACHINE = pathlib.Path("/proc/meminfo")
GROUP_MAX, GROUP_NOW = (pathlib.Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
STATUS = pathlib.Path("/proc/self/status")
M_ARENA_MAX, ARENAS = -8, 2  # what glibc calls it, and how many
ENOUGH = 800 << 20  # bytes: torch, numba, full caches, and room for a pass


def memory_bytes() -> int | None:
    """Return the memory that this process has now, where the system tells (Linux)."""
    if not STATUS.exists():
        return None
    resident = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(resident.split()[1]) * 1024


def available_bytes() -> int | None:
    """Return the memory that can still be had, where the system tells (Linux); a container's limit counts."""
    if not MACHINE.exists():
        return None
    free = next(line for line in MACHINE.read_text().splitlines() if line.startswith("MemAvailable:"))
    found = int(free.split()[1]) * 1024
    if GROUP_MAX.exists() and (most := GROUP_MAX.read_text().strip()).isdecimal():
        found = min(found, int(most) - int(GROUP_NOW.read_text()))
    return max(found, 0)


def share_arenas() -> None:
    """Have all threads take memory from the same few places (glibc), before there are many threads.

    Else each of up to eight threads a core keeps what it has freed to itself: with thirty sessions 400 MiB more.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Return free memory to the system where there is much of it, after work.

    glibc keeps what several threads have freed, in pieces that the next large array may not fit into: a server would
    grow for hours.
    """
    if (memory_bytes() or 0) > ENOUGH and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
