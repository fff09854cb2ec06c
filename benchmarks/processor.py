"""What the processor calculates vectors with: times, and on x86 some int8 results of peers, depend on it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules

import numba
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
LOWERED_TO = ("avx2",)  # what a processor that has more can stand in for
BEYOND_AVX2 = ("avx10", "avx512", "avxifma", "avxneconvert", "avxvnni", "amx")  # how LLVM's names of it begin
NUMPY_BEYOND_AVX2 = ("AVX512", "X86_V4")
AS_IT_IS = ("bitsandbytes", "onnxruntime")  # peers that choose their kernels by the processor, and take no word for it


def vector_extension(features: Mapping[str, bool] | None = None) -> str:
    """Return the widest vector extension that numba compiles for, unless other features are given.

    >>> vector_extension({"avx2": True, "avx512f": False})
    'AVX2'
    """
    found = _compiled_for() if features is None else features
    return next(
        (name for name, needed in EXTENSIONS.items() if all(found.get(one) for one in needed)), platform.machine()
    )


def own_extension() -> str:
    """Return the widest vector extension of the processor, whatever numba compiles for."""
    return vector_extension(binding.get_host_cpu_features())


def has_avx2() -> bool:
    """Return whether the processor can stand in for one that has AVX2 alone."""
    return bool(binding.get_host_cpu_features().get("avx2"))


def is_lowered() -> bool:
    """Return whether this process was told to do without something that the processor has."""
    return numba.config.CPU_FEATURES is not None


def avx2_alone() -> dict[str, str]:
    """Return the variables with which a new process does without what goes beyond AVX2, wherever it takes a word."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    features = binding.get_host_cpu_features()
    for name in features:
        features[name] &= not name.startswith(BEYOND_AVX2)
    numpy_has = [name for name in __cpu_dispatch__ if __cpu_features__[name] and name.startswith(NUMPY_BEYOND_AVX2)]
    return {
        "NUMBA_CPU_NAME": binding.get_host_cpu_name(),
        "NUMBA_CPU_FEATURES": features.flatten(),
        "NPY_DISABLE_CPU_FEATURES": " ".join(numpy_has),
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",
        "FAISS_OPT_LEVEL": "avx2",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW",
    }


def note_of(peer: str) -> str:
    """Say which vector extension a peer uses, where that is another one than numba compiles for."""
    own = own_extension()
    if not is_lowered() or not peer.startswith(AS_IT_IS):
        return ""
    return f"cannot be lowered: it uses the processor's {own}"


def registers() -> dict[str, int]:
    """Count kernels of the engine that this process has compiled by their widest vector registers."""
    found = dict.fromkeys(("zmm", "ymm", "xmm"), 0)
    for text in _assembly():
        widest = next((name for name in found if f"%{name}" in text), None)
        if widest:
            found[widest] += 1
    return found


def _assembly() -> Iterator[str]:
    """Yield each kernel's code for all types it was called with."""
    package = import_module("quant_engine.kernels")
    for module in iter_modules(package.__path__, f"{package.__name__}."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, numba.core.dispatcher.Dispatcher) and value.__module__ == module.name:
                yield from value.inspect_asm().values()


def _compiled_for() -> Mapping[str, bool]:
    given = numba.config.CPU_FEATURES
    if given is None:
        features: Mapping[str, bool] = binding.get_host_cpu_features()
        return features
    return {one[1:]: one.startswith("+") for one in given.split(",")}
