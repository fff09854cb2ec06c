"""AIMET's encodings beside a model: for each tensor by name the scales that its codes will have.

Versions 0.6.1 (a list of ranges for each name), 1.0.0 (a list of entries with `scale` and `offset`) and 2.x (entries
with `y_scale` and `y_zero_point`, as ONNX has them). In the first two codes are unsigned and the offset is added to
them, x̂ = (code + offset) · scale; in the last the zero point is of the type that is named.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.readers.base import ReaderError, TensorFile, refusals
from quant_engine.readers.stored import StoredQuantization, grid_of, integers

TITLE, ENDING = "AIMET encodings", ".encodings"
PLACES = ("{stem}.encodings", "{stem}_torch.encodings", "{stem}.json")  # beside a model
MAX_FILE = 128 << 20  # bytes
MAX_BITS, MAX_ENTRIES = 32, 100_000
PARAMS, ACTIVATIONS, BOTH = "param_encodings", "activation_encodings", "encodings"
TYPE = re.compile(r"(u?)int(\d+)")
AGAIN = "export the encodings again"


@dataclass(frozen=True)
class Encoding:
    """What is said of a tensor whose shape is not told.

    Attributes:
        codes: the type of the codes, such as uint8.
        scale: one for each block, in the order or shape that the file gives them.
        zero_point: of the same shape.
        axis: along which scales lie, where it is said.
        block_size: how many values along the axis share one; 0 where each index has one.
    """

    name: str
    codes: str
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    axis: int | None = None
    block_size: int = 0

    def of(self, shape: tuple[int, ...]) -> StoredQuantization:
        """Return it for a tensor of this shape.

        Raises:
            ReaderError: if its scales do not go with the shape.
        """
        block = self._block(shape)
        grid = grid_of(shape, block)
        return self._stored(shape, block, self.scale.reshape(grid), self.zero_point.reshape(grid))

    def alone(self) -> StoredQuantization:
        """Return it as if of one value a scale."""
        return self._stored(self.scale.shape, (1,) * self.scale.ndim, self.scale, self.zero_point)

    def _stored(
        self, shape: tuple[int, ...], block: tuple[int, ...], scale: NDArray[Any], zero_point: NDArray[Any]
    ) -> StoredQuantization:
        unsigned, bits = self.codes.startswith("u"), int(self.codes.removeprefix("u").removeprefix("int"))
        size = math.prod(shape) * bits + scale.size * (32 + bits)
        numbers = integers(bits, not unsigned)
        return StoredQuantization(
            self.codes, shape, block, bits, size, None, scale, zero_point if zero_point.any() else None, numbers=numbers
        )

    def _block(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the values that share a scale: those of an output channel, unless an axis is told."""
        if self.scale.size == 1:
            return shape
        axes = range(len(shape)) if self.axis is None else [self.axis % max(len(shape), 1)]
        for axis in axes:
            one = tuple(1 if at == axis else size for at, size in enumerate(shape))
            step = min(self.block_size, shape[axis])
            runs = [tuple(step if at == axis else 1 for at in range(len(shape)))]  # ONNX: one index of all other axes
            runs += [
                tuple(step if at == axis else size if at else 1 for at, size in enumerate(shape))
            ]  # of one channel
            for block in runs if self.block_size else [one]:
                if math.prod(grid_of(shape, block)) == self.scale.size:
                    return block
        raise ReaderError(f"{self.name!r} of shape {shape} has encodings with {self.scale.size} scales; {AGAIN}")


def with_encodings(file: TensorFile) -> TensorFile:
    """Return a file with what encodings beside it say of its tensors, and of those between its layers.

    Raises:
        ReaderError: for encodings that are none, and scales that do not go with their tensor.
    """
    path = _beside(file.path)
    found = None if path is None else read_encodings(path)
    if path is None or found is None:
        return file
    own = {name: one for name, one in found.items() if name in file.tensors and not file.tensors[name].codes}
    with refusals(path, TITLE):
        stored = {name: one.of(file.tensors[name].shape) for name, one in own.items()}
    infos = {
        name: replace(info, codes=stored[name].name, block=stored[name].block) if name in stored else info
        for name, info in file.tensors.items()
    }
    between = {name: one.alone() for name, one in found.items() if name not in file.tensors}
    return replace(
        file,
        tensors=infos,
        others=(*file.others, path),
        stored=lambda name: stored[name] if name in stored else file.stored(name),
        activations={**file.activations, **between},
    )


def read_encodings(path: Path) -> Mapping[str, Encoding] | None:
    """Return what a file of encodings says of tensors by name, None for JSON that is none.

    Floats, of which encodings say a width alone, are left out.

    Raises:
        ReaderError: for a file of another kind, beyond 128 MB, or with numbers that are no scales.
    """
    if path.stat().st_size > MAX_FILE:
        if path.suffix != ENDING:
            return None
        raise ReaderError(f"{path.name} has more than {MAX_FILE >> 20} MB; give encodings of one model")
    with refusals(path, TITLE):
        try:
            said = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            if path.suffix != ENDING:
                return None
            raise
        if not isinstance(said, dict) or not any(isinstance(said.get(key), dict | list) for key in (PARAMS, BOTH)):
            if path.suffix != ENDING:
                return None
            raise ReaderError(f"{path.name} has neither {PARAMS} nor {BOTH}; {AGAIN}")
        entries = [entry for key in (ACTIVATIONS, PARAMS, BOTH) for entry in _entries(said.get(key))]
        if len(entries) > MAX_ENTRIES:
            raise ReaderError(f"{path.name} has {len(entries):,} entries; give encodings of one model")
        return {name: one for name, entry in entries if (one := _encoding(path, name, entry)) is not None}


def _beside(path: Path) -> Path | None:
    """Return the encodings beside a file, if there are any."""
    for place in PLACES:
        found = path.with_name(place.format(stem=path.stem))
        if found != path and found.is_file():
            return found
    return None


def _entries(said: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and what is said of them: a mapping in 0.6.1, a list of entries with names later."""
    if isinstance(said, dict):
        yield from ((str(name), entry) for name, entry in said.items())
    elif isinstance(said, list):
        yield from ((str(entry["name"]), entry) for entry in said)


def _encoding(path: Path, name: str, entry: Any) -> Encoding | None:
    if isinstance(entry, list):
        found = _ranges(name, entry)
    elif "y_scale" in entry or "output_dtype" in entry:
        found = _as_onnx(name, entry)
    else:
        found = _scales(name, entry)
    if found is None:
        return None
    bits = int(found.codes.removeprefix("u").removeprefix("int"))
    fits = found.scale.size and found.zero_point.shape == found.scale.shape and 1 <= bits <= MAX_BITS
    if not fits or not np.isfinite(found.scale).all() or not (found.scale >= 0).all():
        raise ReaderError(f"{path.name} says of {name[:80]!r} what are no scales of codes; {AGAIN}")
    return found


def _ranges(name: str, entries: list[Any]) -> Encoding | None:
    """Return an entry of 0.6.1: a range for each channel."""
    if not entries or any(entry.get("dtype", "int") != "int" for entry in entries):
        return None
    (bits,) = {int(entry["bitwidth"]) for entry in entries}
    return _unsigned(name, bits, [e["scale"] for e in entries], [e["offset"] for e in entries], 0)


def _scales(name: str, entry: Mapping[str, Any]) -> Encoding | None:
    """Return an entry of 1.0.0."""
    if str(entry.get("dtype", "INT")).upper() != "INT":
        return None
    return _unsigned(name, int(entry["bw"]), entry["scale"], entry["offset"], int(entry.get("block_size") or 0))


def _unsigned(name: str, bits: int, scale: Any, offset: Any, block_size: int) -> Encoding:
    """Return codes from 0, to which an offset is added."""
    scales, offsets = np.atleast_1d(np.asarray(scale, np.float32)), np.atleast_1d(np.asarray(offset, np.int64))
    axis = None if not block_size else 1
    return Encoding(name, f"uint{bits}", scales, _int32(-offsets), axis, block_size)


def _as_onnx(name: str, entry: Mapping[str, Any]) -> Encoding | None:
    """Return an entry of 2.x; scales that are themselves codes are multiplied out."""
    kind = TYPE.fullmatch(str(entry.get("output_dtype")))
    if kind is None or "y_scale" not in entry:
        return None
    said = entry["y_scale"]
    if isinstance(said, dict):
        codes = np.asarray(said["x"], np.float32) - np.asarray(said.get("x_zero_point", 0), np.float32)
        outer = np.asarray(said["x_scale"], np.float32)
        for axis in range(codes.ndim if outer.ndim == codes.ndim else 0):
            outer = np.repeat(outer, -(-codes.shape[axis] // outer.shape[axis]), axis)[
                (slice(None),) * axis + (slice(codes.shape[axis]),)
            ]
        said = codes * outer
    scale = np.asarray(said, np.float32)
    zero_point = entry.get("y_zero_point")
    given = np.zeros(scale.shape, np.int64) if zero_point is None else np.asarray(zero_point, np.int64)
    return Encoding(name, kind[0], scale, _int32(given), entry.get("axis"), int(entry.get("block_size") or 0))


def _int32(values: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return integers as int32.

    Raises:
        ReaderError: for those beyond.
    """
    if values.size and (values.min() < -(1 << 31) or values.max() >= 1 << 31):
        raise ReaderError(f"an offset of {values.max():,} is none of codes; {AGAIN}")
    return values.astype(np.int32)
