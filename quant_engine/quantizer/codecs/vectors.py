"""Codebooks of vectors, learned on the whole tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_integer
from quant_engine.errors import QuantError
from quant_engine.formats import VectorFormat
from quant_engine.granularity import Granularity, PerTensor
from quant_engine.granularity.shapes import matrix_rows
from quant_engine.inputs import Float32Array, Float64Array, raise_non_finite
from quant_engine.kernels import affine, vectors
from quant_engine.kernels.compile import INFINITY_BITS
from quant_engine.kernels.parallel import over_ranges
from quant_engine.quantizer.choices import SpecLike
from quant_engine.quantizer.codecs.base import Fitted, Parameters, validate_choices, validate_unscaled
from quant_engine.quantizer.codewords import Cut, book_of, learn
from quant_engine.quantizer.report import ErrorReport, report_from_totals
from quant_engine.quantizer.storage import Storage

ENTRY_BITS = 32
NO_OUTPUT = np.empty(0, np.float32)


@dataclass(frozen=True)
class VectorCodec:
    """x̂ = the sum of the nearest codeword of every stage. Scale 1, zero point 0.

    `learned`, (stages, parts, codewords, dim / parts), are the codewords, then NaN where a part has fewer distinct
    vectors. Codes, (…, vectors, parts · stages), number them: part after part, each stage after stage.
    """

    format: VectorFormat
    rounding: str

    def granularity(self, chosen: Granularity) -> Granularity:
        """Return the tensor as the one block."""
        if chosen != PerTensor():
            raise QuantError(
                f"granularity={chosen} with {self.format}: its codebooks are learned on the whole tensor; use "
                "granularity=PerTensor()"
            )
        return chosen

    def validate(self, spec: SpecLike) -> None:
        """Check that nothing is asked for that codewords replace: range, scale, zero point, rounding."""
        validate_choices(spec, "codewords are learned where the vectors are, and vectors go to the nearest")

    def validate_parameters(self, fitted: Fitted) -> None:
        """Check that there are codewords, and no scale or zero point."""
        form, learned = self.format, fitted.learned
        shape = (form.stages, form.parts, form.codewords, form.part_dim)
        if learned is None or learned.shape != shape:
            given = "nothing" if learned is None else f"of shape {learned.shape}"
            raise QuantError(f"learned is {given}; give shape {shape}: the codewords of every stage and part")
        there = np.asarray(np.isfinite(learned).all(axis=-1))
        whole = there | np.isnan(learned).all(axis=-1)
        if not (there[:, :, 0].all() and whole.all() and (there[:, :, :-1] >= there[:, :, 1:]).all()):
            raise QuantError("the codewords of some part are not finite, with NaN only after the last")
        validate_unscaled(fitted, "codewords stand for themselves")

    def storage(self, spec: SpecLike, shape: tuple[int, ...]) -> Storage:
        """Return indices, those of filled-up vectors too, and codebooks of 32-bit entries."""
        form, values = self.format, math.prod(shape)
        entries = form.stages * form.codewords * form.dim if values else 0
        indices = self._cut(shape).count * form.indices if values else 0
        return Storage(values, indices * form.bits, 0, 0, codebook_bits=entries * ENTRY_BITS)

    def fit(
        self, x: Float32Array, spec: SpecLike, rng: np.random.Generator, importance: Float32Array | None
    ) -> Parameters:
        """Learn the codewords."""
        if importance is not None:
            raise QuantError(
                f"importance with {self.format}: vectors are learned from all values alike; use a learned codebook of "
                "single values such as KMeans, or importance=None"
            )
        cut = self._cut(x.shape)
        if not x.size:
            raise QuantError(f"a tensor of shape {x.shape} has no values that {self.format} could learn from")
        if not np.isfinite(x).all():
            raise_non_finite(x)
        grid = spec.granularity.blocks(x.shape).grid
        learned = learn(_flat(x), cut, self.format.stages, self.format.codewords, rng)
        return Parameters(np.ones(grid, np.float32), np.zeros(grid, np.int32), learned)

    def encode(self, x: Float32Array, fitted: Fitted, rng: np.random.Generator | None) -> NDArray[Any]:
        """Return the numbers of the nearest codewords, each stage's of what those before leave."""
        cut, flat, book = self._cut(x.shape), _flat(x), book_of(_learned(fitted))
        codes = np.empty((cut.count, self.format.indices), self.format.dtype)

        def work(start: int, stop: int) -> int:
            return int(vectors.encode_vectors(flat, cut.layout, book, start, stop, codes))

        if max(over_ranges(cut.count, work, cut.work(book)), default=0) >= INFINITY_BITS:
            raise_non_finite(x)
        return codes.reshape(*x.shape[:-1], -1, self.format.indices)

    def decode(self, codes: NDArray[Any], fitted: Fitted) -> Float32Array:
        """Return the sums of codewords, of whole vectors."""
        learned = _learned(fitted)
        if codes.ndim < 2 or codes.shape[-1] != self.format.indices:
            raise QuantError(
                f"codes of shape {codes.shape}; give (…, vectors, {self.format.indices}): one a part and stage"
            )
        given = np.ascontiguousarray(codes).reshape(-1, self.format.indices)
        shape = self.shape_of(codes.shape)
        cut, out = self._cut(shape), np.empty(math.prod(shape), np.float32)
        over_ranges(
            cut.count,
            lambda start, stop: vectors.decode_vectors(given, cut.layout, learned, start, stop, out),
            cost=out.size,
        )
        if np.isnan(out).any():
            raise QuantError("some codes are of codewords that their parts, with fewer distinct vectors, have not")
        return out.reshape(shape)

    def reconstruct(
        self, x: Float32Array, fitted: Fitted, out: Float32Array | None, rng: np.random.Generator | None
    ) -> ErrorReport:
        """Run the fused kernel over the vectors. Nothing is clipped: all error is rounding."""
        cut, flat, book = self._cut(x.shape), _flat(x), book_of(_learned(fitted))
        written = NO_OUTPUT if out is None else out.reshape(-1)

        def work(start: int, stop: int) -> Float64Array:
            totals = np.zeros(affine.TOTALS)
            vectors.fake_quantize_vectors(flat, cut.layout, book, start, stop, written, totals)
            return totals

        report = report_from_totals(over_ranges(cut.count, work, cut.work(book)), x.size)
        if report is None:
            raise_non_finite(x)
        assert report is not None
        return report

    def levels(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Refuse an order that vectors do not have."""
        raise QuantError(f"the codewords of {self.format} are vectors, which have no order; read quantizer.learned")

    def thresholds(self, fitted: Fitted, place: tuple[int, ...]) -> Float32Array:
        """Refuse edges: the buckets of vectors are cells, each with a codeword."""
        raise QuantError(
            f"the buckets of {self.format} are cells around vectors and have no thresholds; read quantizer.learned"
        )

    def shape_of(self, codes: tuple[int, ...], length: int | None = None) -> tuple[int, ...]:
        """Return the shape of whole vectors, or of what the last one is filled up from."""
        whole = codes[-2] * self.format.dim
        if length is None:
            return (*codes[:-2], whole)
        shortest = max(whole - self.format.dim + 1, 0) if self.format.remainder == "pad" else whole
        return (*codes[:-2], as_integer(length, "length", shortest, whole))

    def _cut(self, shape: tuple[int, ...]) -> Cut:
        """Return how a tensor of this shape is cut.

        Raises:
            QuantError: for one without a last axis, or whose last axis `dim` does not divide.
        """
        if not shape:
            raise QuantError(
                f"a tensor of shape () has no axis to take {self.format.dim} values of; give w.reshape(1), and "
                'remainder="pad"'
            )
        length, dim = shape[-1], self.format.dim
        if length % dim and self.format.remainder == "refuse":
            row = matrix_rows(shape)
            matrix = f"give w.reshape(len(w), -1), for rows of {row}; or " if row and row % dim == 0 else ""
            raise QuantError(
                f"dim={dim} does not divide the last axis of shape {shape}; {matrix}choose a divisor of {length}, or "
                'remainder="pad" to fill the last vector of a row up with zeros'
            )
        count = math.prod(shape[:-1]) * -(-length // dim)
        return Cut(vectors.Layout(length, dim), count, self.format.parts)


def _learned(fitted: Fitted) -> Float32Array:
    assert fitted.learned is not None  # as a quantizer has checked
    return fitted.learned


def _flat(x: Float32Array) -> Float32Array:
    return np.ascontiguousarray(x).reshape(-1)
