"""Layers that runtimes run as one: they need the same format, and differ at a price."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from quant_engine.models.layer import Layer

FUSED = (  # by the last part of their names
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("wq", "wk", "wv"),
    ("q", "k", "v"),
    ("gate_proj", "up_proj"),
    ("gate", "up"),
    ("w1", "w3"),
)


def fused_groups(layers: Mapping[str, Layer]) -> list[tuple[str, ...]]:
    """Return the layers that runtimes fuse: by their names, in one part of the model, with inputs of one width.

    >>> from quant_engine.network import load
    >>> fused_groups(load("fashion-cnn").layers())
    []
    """
    found: defaultdict[tuple[str, int, int], list[str]] = defaultdict(list)
    for name, info in layers.items():
        path, _, last = name.removesuffix(".weight").rpartition(".")
        for place, names in enumerate(FUSED):
            if last in names:
                found[path, place, info.matrix_shape[1]].append(name)
    return [tuple(names) for names in found.values() if len(names) > 1]
