"""What work that stands between two of its steps has at hand."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import suppress
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

LEFT_OUT = (type, ModuleType, FrameType, CodeType, str, int, float, complex)  # reach no array, or everything
OF_ALL = tuple(f"quant_engine.{name}" for name in ("caches", "models", "network", "packs", "tasks"))
OTHERS = (*OF_ALL, "explorer.background", "streamlit")  # whose objects, such as opened models, other work has, too


def at_hand(steps: Generator[Any, None, None]) -> int:
    """Return the bytes of the arrays, tensors and byte strings that a generator's variables reach, each once.

    >>> def steps():
    ...     values = np.zeros(1000)
    ...     parts = [values[:10], values[10:]]
    ...     yield
    ...     print(len(parts))
    >>> work = steps()
    >>> next(work)
    >>> at_hand(work)
    8000
    """
    seen, found, waiting = {id(None)}, dict[int, int](), [steps]  # found: bytes by the address of the first
    while waiting:
        item: Any = waiting.pop()
        if id(item) in seen or isinstance(item, LEFT_OUT) or _of_others(item):
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            while isinstance(item.base, np.ndarray):
                item = item.base
            found[item.__array_interface__["data"][0]] = 0 if isinstance(item, np.memmap) else item.nbytes
        elif isinstance(item, bytes):
            found[id(item)] = len(item)
        elif hasattr(type(item), "untyped_storage"):
            with suppress(NotImplementedError):  # of a sparse tensor
                values = item.untyped_storage()
                found[values.data_ptr()] = values.nbytes()
        else:
            waiting += _parts(item)
    return sum(found.values())


def _of_others(item: object) -> bool:
    """Say whether an object belongs to more than this work: a module of torch has the weights of an opened model."""
    return type(item).__module__.startswith(OTHERS) or hasattr(type(item), "named_parameters")


def _parts(item: Any) -> list[Any]:
    """Return what an object refers to; of functions not the globals."""
    if isinstance(item, FunctionType):
        return [*(item.__closure__ or ()), *(item.__defaults__ or ())]
    if isinstance(item, MethodType):
        return [item.__self__]
    return gc.get_referents(item)
