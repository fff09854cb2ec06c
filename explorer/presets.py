"""Well-known schemes as settings of the playground."""

from __future__ import annotations

from collections.abc import Mapping

from explorer import state
from explorer.number_formats import BLOCKS, CODEWORDS, DIM, FLOAT, FORMAT, PARTS, SCALES, STAGES

LEAST_MSE = {state.CLIPPING.key: "least MSE"}
CHANNELS = {state.GRANULARITY.key: "channel"}


def _groups(size: int) -> dict[str, object]:
    return {state.GRANULARITY.key: "sub-channel", state.GROUP.key: size}


def _float(name: str, group: int, scales: str) -> dict[str, object]:
    return {FORMAT.key: "float", FLOAT.key: name, SCALES.key: scales, **_groups(group)}


PRESETS: dict[str, Mapping[str, object]] = {
    "int8 per channel": {state.BITS.key: 8, **CHANNELS},
    "int4 per channel, least MSE": {state.BITS.key: 4, **CHANNELS, **LEAST_MSE},
    "int4 in groups of 128": {state.BITS.key: 4, **_groups(128)},
    "NF4 in groups of 64": {FORMAT.key: "NF4", **_groups(64)},
    "MXFP8 (E4M3)": _float("E4M3", 32, "E8M0"),
    "MXFP6 (E2M3)": _float("E2M3", 32, "E8M0"),
    "MXFP4": _float("E2M1", 32, "E8M0"),
    "MXINT8": {state.BITS.key: 8, SCALES.key: "E8M0", **_groups(32)},
    "NVFP4": _float("E2M1", 16, "E4M3"),
    "GGUF Q4_0": {FORMAT.key: "GGUF", BLOCKS.key: "Q4_0"},
    "GGUF Q8_0": {FORMAT.key: "GGUF", BLOCKS.key: "Q8_0"},
    "vectors of 2": {FORMAT.key: "vectors", DIM.key: 2, CODEWORDS.key: 128},
    "product, 4 as 2 + 2": {FORMAT.key: "vectors", DIM.key: 4, PARTS.key: 2, CODEWORDS.key: 128},
    "residual, 16 + 16": {FORMAT.key: "vectors", DIM.key: 2, CODEWORDS.key: 16, STAGES.key: 2},
    "16 centroids per layer": {FORMAT.key: "centroids", state.BITS.key: 4},
}
