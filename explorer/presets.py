"""Well-known schemes as settings of the playground."""

from __future__ import annotations

from explorer.number_formats import KINDS
from explorer.state import PlaygroundState
from quant_engine import E2M1, E2M3, E4M3, E8M0, FloatFormat, MinMSE, PerChannel, PerGroup


def _float(form: FloatFormat, group: int, scales: FloatFormat) -> PlaygroundState:
    return PlaygroundState(KINDS["float"], float_format=form, granularity=PerGroup, group=group, scales=scales)


VECTORS = KINDS["vectors"]
PRESETS = {
    "int8 per channel": PlaygroundState(bits=8, granularity=PerChannel),
    "int4 per channel, least MSE": PlaygroundState(bits=4, granularity=PerChannel, clipping=MinMSE),
    "int4 in groups of 128": PlaygroundState(bits=4, granularity=PerGroup, group=128),
    "NF4 in groups of 64": PlaygroundState(KINDS["NF4"], granularity=PerGroup, group=64),
    "MXFP8 (E4M3)": _float(E4M3, 32, E8M0),
    "MXFP6 (E2M3)": _float(E2M3, 32, E8M0),
    "MXFP4": _float(E2M1, 32, E8M0),
    "MXINT8": PlaygroundState(bits=8, granularity=PerGroup, group=32, scales=E8M0),
    "NVFP4": _float(E2M1, 16, E4M3),
    "GGUF Q4_0": PlaygroundState(KINDS["GGUF"], block_name="Q4_0"),
    "GGUF Q8_0": PlaygroundState(KINDS["GGUF"], block_name="Q8_0"),
    "vectors of 2": PlaygroundState(VECTORS, dim=2, codewords=128),
    "product, 4 as 2 + 2": PlaygroundState(VECTORS, dim=4, parts=2, codewords=128),
    "residual, 16 + 16": PlaygroundState(VECTORS, dim=2, codewords=16, stages=2),
    "16 centroids per layer": PlaygroundState(KINDS["centroids"], bits=4),
}
