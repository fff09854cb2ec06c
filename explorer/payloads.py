"""A tensor's statistics and a setting as the bytes that the instrument in the browser reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine import Distribution
from quant_engine.inputs import LARGEST_FLOAT32

MAX_VALUES = 24_000  # sent one by one, 4 bytes each
MAX_RUNS = 8_000  # of larger tensors, 12 bytes each


@dataclass(frozen=True)
class Statistics:
    """The payload: float32 values in order, or uint32 counts, float32 means and float32 variances of runs.

    The browser spreads a run evenly: no further than to the extremes.
    """

    payload: bytes
    values: bool
    digest: str


@dataclass(frozen=True)
class Mark:
    """A calibrator's range, to which a handle snaps; `method` is what the page calls it."""

    name: str
    lo: float
    hi: float
    method: str


@dataclass(frozen=True)
class InstrumentSetting:
    """What the handles and the stepper set, and the format.

    Integers are described by their fields; other formats have a `name` and list their `levels` in order, which are
    scaled so that `peak` lies on the range, or stand as they are without one. `fixed`: there is no range to choose.
    `scale` is the engine's, where it does not follow from the range by itself, and `exact` are the engine's numbers,
    where the browser's would be worse: levels that are too many to send are `thinned`.
    """

    bits: int
    signed: bool
    narrow: bool
    symmetric: bool
    lo: float
    hi: float
    name: str | None = None
    levels: list[float] | None = None
    peak: float | None = None
    fixed: bool = False
    scale: float | None = None
    thinned: bool = False
    exact: dict[str, float] | None = None


def statistics(values: NDArray[np.float32], distribution: Distribution) -> Statistics:
    """Pack a tensor: value by value if it is small, so that the browser is exact, else as runs."""
    if values.size <= MAX_VALUES:
        payload = np.sort(values, axis=None).astype("<f4").tobytes()
        return Statistics(payload, True, _digest(payload))
    runs = distribution.runs(MAX_RUNS)
    room = np.minimum(runs.means - distribution.lo, distribution.hi - runs.means)
    variances = np.minimum(runs.variances, np.square(np.maximum(room, 0.0)) / 3.0)
    payload = b"".join(
        (
            runs.counts.astype("<u4").tobytes(),
            runs.means.astype("<f4").tobytes(),
            np.minimum(variances, LARGEST_FLOAT32).astype("<f4").tobytes(),
        )
    )
    return Statistics(payload, False, _digest(payload))


def pack(source: Statistics, setting: InstrumentSetting, marks: Sequence[Mark], **words: Any) -> bytes:
    """Return header length, header and payload; `words` are further entries of the header."""
    content = {
        "digest": source.digest,
        "values": source.values,
        "setting": asdict(setting),
        "marks": [asdict(mark) for mark in marks],
        **words,
    }
    header = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    padded = header + b" " * (-(4 + len(header)) % 4)
    return len(padded).to_bytes(4, "little") + padded + source.payload


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:16]
