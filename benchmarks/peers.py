"""What others offer for the same work, in torch, torchao, onnxruntime and kmeans1d, written as their users would."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.comparison import Peer, Run, Target, TimesAsFast
from benchmarks.data import Sizes

warnings.filterwarnings("ignore", message="torch.quantize_per_tensor", category=UserWarning)  # deprecated, still fast

Array = NDArray[np.float32]
NO_ONNXRUNTIME = "not installed: pip install onnxruntime"
QUANTIZED_BINS = 128  # onnxruntime's default
NO_KMEANS1D = "not installed: pip install kmeans1d"
NO_TORCHAO = "not installed: pip install torchao"


def compiled(name: str, function: Callable[..., object], sizes: Sizes, target: Target, *inputs: torch.Tensor) -> Peer:
    """Return the peer that torch.compile makes of a function, or one that says why there is none."""
    if not sizes.compile_peers:
        return Peer(name, None, target, note="left out of the quick form: torch.compile takes long")
    try:
        fast = torch.compile(function, dynamic=False)
        fast(*inputs)
    except Exception as error:  # whatever its back ends raise where there is no compiler
        return Peer(name, None, target, note=f"torch.compile does not work here: {type(error).__name__}")
    return Peer(name, lambda: fast(*inputs), target)


def fake_quantize(x: torch.Tensor, scale: float, low: int, high: int) -> torch.Tensor:
    """Return x̂ of torch's own operator."""
    return torch.fake_quantize_per_tensor_affine(x, scale, 0, low, high)


def rounded(x: torch.Tensor, scale: float, low: int, high: int) -> torch.Tensor:
    """Return x̂ in elementary operations, which torch.compile fuses with what follows."""
    return torch.clamp(torch.round(x / scale), low, high) * scale


def metrics(x: torch.Tensor, x_hat: torch.Tensor, lowest: float, highest: float) -> tuple[torch.Tensor, ...]:
    """Return what an ErrorReport holds: Σe², its clipped part, how many are clipped, Σx², Σx·e, max |e|."""
    error = x_hat - x
    clipped = (x < lowest) | (x > highest)
    squares = error * error
    return (
        squares.sum(),
        torch.where(clipped, squares, 0.0).sum(),
        clipped.sum(),
        (x * x).sum(),
        (x * error).sum(),
        error.abs().max(),
    )


def copy(x: Array, out: Array) -> Run:
    """Return torch's copy on all threads into memory that is used again."""
    source, target = torch.from_numpy(x), torch.from_numpy(out)
    return lambda: target.copy_(source)


def read(x: Array) -> Run:
    """Return torch's sum on all threads."""
    source = torch.from_numpy(x)
    return lambda: source.sum()


def grid(x: Array, steps: NDArray[np.float64], highest: NDArray[np.int64]) -> Run:
    """Return the mean squared error of fake-quantizing at each step, one after the other."""
    source = torch.from_numpy(x)

    def run() -> list[float]:
        errors = []
        for step, top in zip(steps.tolist(), highest.tolist(), strict=True):
            errors.append(torch.mean((fake_quantize(source, step, -top, top) - source) ** 2).item())
        return errors

    return run


def row_grid(blocks: Array, shares: NDArray[np.float64], low: int, high: int) -> torch.Tensor:
    """Return each row's least squared error over clips at shares of its peak, all rows at a time."""
    source = torch.from_numpy(blocks)
    peak = source.abs().amax(1, keepdim=True)
    best = torch.full_like(peak, torch.inf)
    for share in shares.tolist():
        scale = peak * (share / high)
        x_hat = torch.clamp(torch.round(source / scale), low, high) * scale
        best = torch.minimum(best, ((x_hat - source) ** 2).sum(1, keepdim=True))
    return best.reshape(-1)


def observer(x: Array) -> Run:
    """Return torch's histogram observer with its parameters."""
    from torch.ao.quantization import HistogramObserver

    source = torch.from_numpy(x)

    def run() -> Any:
        found = HistogramObserver(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric, quant_min=-128, quant_max=127)
        found(source)
        return found.calculate_qparams()

    return run


def torchao_groups(x: Array, scale: Array, low: int, high: int) -> Peer:
    """Return torchao's quantize, dequantize and mean squared error of groups along rows."""
    name = "torchao + MSE"
    if find_spec("torchao") is None:
        return Peer(name, None, note=NO_TORCHAO)
    from torchao.quantization.quant_primitives import dequantize_affine, quantize_affine

    source, scales = torch.from_numpy(x), torch.from_numpy(scale)
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    block = (1, x.shape[1] // scale.shape[1])

    def run() -> torch.Tensor:
        codes = quantize_affine(source, block, scales, zeros, torch.int8, low, high)
        x_hat = dequantize_affine(codes, block, scales, zeros, torch.int8, low, high)
        return torch.mean((x_hat - source) ** 2)

    return Peer(name, run, TimesAsFast())


def entropy(counts: NDArray[np.int64], edges: NDArray[Any], x: Array) -> Run | None:
    """Return onnxruntime's search of the entropy threshold in a histogram, or None without onnxruntime."""
    if find_spec("onnxruntime") is None:
        return None
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector("entropy", False, counts.size, QUANTIZED_BINS, 99.99, "same")
    histogram = counts, edges, x.min(), x.max()
    return lambda: collector.get_entropy_threshold(histogram, QUANTIZED_BINS)


def entropy_peer(run: Run | None) -> Peer:
    """Return onnxruntime as a peer."""
    return Peer("onnxruntime", run, TimesAsFast(40), note="" if run else NO_ONNXRUNTIME)


def exact_codebook(x: Array, count: int) -> Callable[[], NDArray[np.float64]] | None:
    """Return kmeans1d's search of the best codewords, or None without it."""
    if find_spec("kmeans1d") is None:
        return None
    import kmeans1d

    return lambda: np.array(kmeans1d.cluster(x, count).centroids)
