"""The memory of this process: how much it has, and giving back what is free."""

from __future__ import annotations

import ctypes
import pathlib

MACHINE = pathlib.Path("/proc/meminfo")
GROUP_MAX, GROUP_NOW = (pathlib.Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
STATUS = pathlib.Path("/proc/self/status")
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


def give_back() -> None:
    """Return free memory to the system where there is much of it, after work.

    glibc keeps what several threads have freed, in pieces that the next large array may not fit into: a server would
    grow for hours.
    """
    if (memory_bytes() or 0) > ENOUGH and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
