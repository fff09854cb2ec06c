"""What the processor calculates vectors with: times, and on x86 some int8 results of peers, depend on it."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from llvmlite import binding

EXTENSIONS = {  # name, and LLVM's names of what it takes; the widest first
    "AVX-512 VNNI": ("avx512f", "avx512vnni"),
    "AVX-512": ("avx512f",),
    "AVX2 VNNI": ("avx2", "avxvnni"),
    "AVX2": ("avx2",),
    "AVX": ("avx",),
    "SSE4.2": ("sse4.2",),
    "SVE": ("sve",),
    "NEON": ("neon",),
}
SATURATING = ("AVX-512", "AVX2", "AVX", "SSE4.2")  # x86 without VNNI: pairs of int8 products are added in 16 bits


def vector_extension(features: Mapping[str, bool] | None = None) -> str:
    """Return the widest vector extension, of this processor as numba's LLVM sees it unless others are given.

    >>> vector_extension({"avx2": True, "avx512f": False})
    'AVX2'
    """
    found = binding.get_host_cpu_features() if features is None else features
    return next(
        (name for name, needed in EXTENSIONS.items() if all(found.get(one) for one in needed)), platform.machine()
    )
