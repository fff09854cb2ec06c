"""A tensor under one spec, with vectors along its rows: the fitted quantizer, what it loses and what it takes."""

from __future__ import annotations

from dataclasses import dataclass

from explorer import compute
from explorer.caches import ResultKey
from explorer.tensors import Subject
from quant_engine import ErrorReport, Quantizer, QuantizerSpec, Storage, fit


@dataclass(frozen=True, eq=False)
class QuantizedSubject:
    """What one spec makes of a tensor."""

    quantizer: Quantizer
    report: ErrorReport
    storage: Storage

    @property
    def index_bits(self) -> float:
        """Bits of indices or codes alone, per value."""
        return self.storage.code_bits / self.storage.values


def coded(subject: Subject, spec: QuantizerSpec) -> QuantizedSubject:
    """Return what a spec makes of a tensor, kept."""

    def work() -> QuantizedSubject:
        quantizer = fit(subject.matrix, spec)
        return QuantizedSubject(quantizer, quantizer.measure(subject.matrix), quantizer.storage(subject.matrix.shape))

    return compute.kept(ResultKey("coded", subject.key, spec), work)


def times_less(worse: QuantizedSubject, better: QuantizedSubject) -> float:
    """Return the error of one in units of the other's; 1 where both are without."""
    if better.report.mse:
        return worse.report.mse / better.report.mse
    return float("inf") if worse.report.mse else 1.0
