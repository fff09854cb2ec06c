"""Cases of one pass over the tensor: quantize, dequantize, measure, encode."""

from __future__ import annotations

import numpy as np
import torch

import quant_engine as qe
from benchmarks import peers
from benchmarks.comparison import Comparison, Peer, TimesAsFast, TimesItsTime
from benchmarks.data import Sizes, weights

FORMAT = qe.IntFormat(4)
GROUP = 128


def quantize_and_measure(sizes: Sizes) -> Comparison:
    """Quantize, dequantize and find all metrics with one scale, into memory that is used again."""
    x = weights(sizes.rows, sizes.columns)
    out, other = np.empty_like(x), np.empty_like(x)
    quantizer = qe.fit(x, qe.QuantizerSpec(FORMAT))
    source, scale, ends = torch.from_numpy(x), quantizer.scale.item(), (FORMAT.qmin, FORMAT.qmax)
    lowest, highest = scale * FORMAT.qmin, scale * FORMAT.qmax

    def error() -> object:
        return torch.mean((peers.fake_quantize(source, scale, *ends) - source) ** 2)

    def eager() -> object:
        x_hat = peers.fake_quantize(source, scale, *ends)
        return x_hat, peers.metrics(source, x_hat, lowest, highest)

    def everything(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x_hat = peers.rounded(x, scale, *ends)
        return x_hat, *peers.metrics(x, x_hat, lowest, highest)

    return Comparison(
        lambda: quantizer.reconstruct(x, out),
        (
            Peer("copy", peers.copy(x, other), TimesItsTime(1.2)),
            Peer("torch eager", eager, TimesAsFast(25)),
            Peer("torch eager, MSE alone", error),
            peers.compiled("torch.compile", everything, sizes, TimesAsFast(5), source),
        ),
    )


def measure(sizes: Sizes) -> Comparison:
    """Find all metrics with one scale, and write nothing."""
    x = weights(sizes.rows, sizes.columns)
    quantizer = qe.fit(x, qe.QuantizerSpec(FORMAT))
    source, scale = torch.from_numpy(x), quantizer.scale.item()
    lowest, highest = scale * FORMAT.qmin, scale * FORMAT.qmax

    def everything(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return peers.metrics(x, peers.rounded(x, scale, FORMAT.qmin, FORMAT.qmax), lowest, highest)

    return Comparison(
        lambda: quantizer.measure(x),
        (
            Peer("read", peers.read(x), TimesItsTime(1.5)),
            peers.compiled("torch.compile", everything, sizes, TimesAsFast(1), source),
        ),
    )


def encode(sizes: Sizes) -> Comparison:
    """Find the codes."""
    x = weights(sizes.rows, sizes.columns)
    quantizer = qe.fit(x, qe.QuantizerSpec(FORMAT))
    source, scale = torch.from_numpy(x), quantizer.scale.item()
    return Comparison(
        lambda: quantizer.encode(x),
        (
            Peer("read", peers.read(x), TimesItsTime(2)),
            Peer("torch quantize_per_tensor", lambda: torch.quantize_per_tensor(source, scale, 0, torch.qint8)),
        ),
    )


def channels(sizes: Sizes) -> Comparison:
    """Quantize, dequantize and find all metrics with a scale for every row."""
    x = weights(sizes.rows, sizes.columns)
    out, other = np.empty_like(x), np.empty_like(x)
    quantizer = qe.fit(x, qe.QuantizerSpec(FORMAT, qe.PerChannel(0)))
    source, scale = torch.from_numpy(x), torch.from_numpy(quantizer.scale.reshape(-1).copy())
    zero_point = torch.zeros(sizes.rows, dtype=torch.int32)
    ends = FORMAT.qmin, FORMAT.qmax

    def error() -> object:
        x_hat = torch.fake_quantize_per_channel_affine(source, scale, zero_point, 0, *ends)
        return torch.mean((x_hat - source) ** 2)

    return Comparison(
        lambda: quantizer.reconstruct(x, out),
        (Peer("copy", peers.copy(x, other), TimesItsTime(1.1)), Peer("torch per_channel + MSE", error)),
    )


def groups(sizes: Sizes) -> Comparison:
    """Quantize, dequantize and find all metrics with a scale for every 128 values."""
    x = weights(sizes.rows, sizes.columns)
    out, other = np.empty_like(x), np.empty_like(x)
    quantizer = qe.fit(x, qe.QuantizerSpec(FORMAT, qe.PerGroup(GROUP)))
    return Comparison(
        lambda: quantizer.reconstruct(x, out),
        (
            Peer("copy", peers.copy(x, other), TimesItsTime(2)),
            peers.torchao_groups(x, quantizer.scale.copy(), FORMAT.qmin, FORMAT.qmax),
        ),
    )
