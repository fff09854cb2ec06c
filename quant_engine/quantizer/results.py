"""Fitted quantizers and quantized tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import as_instance, as_integer
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, as_float32, as_integers, first_index
from quant_engine.quantizer.codecs import grid_of
from quant_engine.quantizer.report import ErrorReport
from quant_engine.quantizer.rounding import validate_generator
from quant_engine.quantizer.spec import QuantizerSpec
from quant_engine.quantizer.storage import Storage

INT32 = -(1 << 31), (1 << 31) - 1
OUT_REMEDY = "give a writeable, contiguous float32 array"


@final
@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """Codes with the scales and zero points (of the block grid's shape) that give them meaning.

    `length` is that of the tensor's last axis, where the codes stand for more (filled-up vectors).

    Raises:
        QuantError: for codes that are none of the format's, or stand for values that are not finite, for scales and
            zero points of another grid or that a `Quantizer` refuses, and for a length that the codes do not have.
    """

    codes: NDArray[Any]
    scale: Float32Array
    zero_point: NDArray[np.int32]
    spec: QuantizerSpec
    learned: Float32Array | None = None
    length: int | None = None

    def __post_init__(self) -> None:
        """Check the fields, and keep copies of the arrays."""
        fitted = Quantizer(self.spec, self.scale, self.zero_point, self.learned)
        codes = np.array(self.spec.format.as_codes(self.codes))
        whole = self.spec.codec.decode(codes, fitted)
        grid_of(fitted, self.spec.granularity.blocks(whole.shape))
        if not np.isfinite(whole).all():
            where = first_index(~np.isfinite(whole))
            raise QuantError(f"the codes of {self.spec.format} stand for {whole[where]} at {where}; give finite values")
        length = None if self.length is None else self.spec.codec.shape_of(codes.shape, self.length)[-1]
        self._set(codes, fitted, length)

    @classmethod
    def _encoded(cls, codes: NDArray[Any], fitted: Quantizer, length: int | None) -> QuantizedTensor:
        """Return the codes that a quantizer has found: they need no check, which would be one more pass over them."""
        made = object.__new__(cls)
        made._set(codes, fitted, length)
        return made

    def _set(self, codes: NDArray[Any], fitted: Quantizer, length: int | None) -> None:
        vars(self).update(codes=codes, length=length, **vars(fitted))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.spec.codec.shape_of(self.codes.shape, self.length)

    @property
    def storage(self) -> Storage:
        """All that is stored."""
        return self.spec.storage(self.shape)

    @property
    def bits_per_value(self) -> float:
        """All that is stored, divided by the number of values."""
        return self.storage.bits_per_value

    def dequantize(self) -> Float32Array:
        """Return x̂ = scale · (code − zero_point), float32."""
        return _cut(self.spec.codec.decode(self.codes, self), self.length)


@final
@dataclass(frozen=True, eq=False)
class Quantizer:
    """A spec with its fitted numbers: `scale` (float32) and `zero_point` (int32), shaped as the block grid.

    code = saturate(rint(x / scale) + zero_point), half to even, in float32 with a true division: ONNX QuantizeLinear
    bit for bit; other roundings of the spec take the place of rint. x̂ = scale · (code − zero_point).

    Formats that are not integers have zero point 0 and code = encode(x / scale), saturated: of fixed point, integers;
    of floats, bit patterns; of codebooks, numbers of the values. x̂ = scale · decode(code). Of vector codebooks, numbers
    of the codewords in `learned`, and x̂ is these.

    `learned` is what else a format finds in a tensor (codebooks, or the numbers of GGUF's blocks before float16 rounds
    them); None for formats that learn nothing.

    `rng` is for stochastic rounding alone; None means seed 0, so that the same values get the same codes.

    Raises:
        QuantError: for a scale that the format does not take (most take positive ones), or levels beyond float32.
    """

    spec: QuantizerSpec
    scale: Float32Array
    zero_point: NDArray[np.int32]
    learned: Float32Array | None = None

    def __post_init__(self) -> None:
        """Check and freeze the arrays."""
        as_instance(self.spec, QuantizerSpec, "spec", "give a QuantizerSpec")
        scale = as_float32(self.scale, "scale").copy()
        zero_point = as_integers(self.zero_point, "not all zero points can be", *INT32, "give integers")
        if scale.shape != zero_point.shape:
            raise QuantError(f"scale has shape {scale.shape} and zero_point {zero_point.shape}; they must be equal")
        learned = None if self.learned is None else as_float32(self.learned, "learned").copy()
        for name, array in (("scale", scale), ("zero_point", zero_point.astype(np.int32)), ("learned", learned)):
            if array is not None:
                array.flags.writeable = False
            object.__setattr__(self, name, array)
        self.spec.codec.validate_parameters(self)

    def encode(self, x: Any, rng: np.random.Generator | None = None) -> QuantizedTensor:
        """Return the codes of `x`.

        Raises:
            QuantError: for another block grid than the fitted one, values that are not finite, or an `rng` that is no
                generator.
        """
        validate_generator(rng)
        array = as_float32(x)
        codes = self.spec.codec.encode(array, self, rng)
        length = None if self.spec.codec.shape_of(codes.shape) == array.shape else array.shape[-1]
        return QuantizedTensor._encoded(codes, self, length)

    def decode(self, q: QuantizedTensor | NDArray[Any]) -> Float32Array:
        """Return x̂ of a quantized tensor, or of an array of codes (of vectors: whole ones).

        Raises:
            QuantError: for another block grid than the fitted one, and numbers that are no codes of the format.
        """
        if not isinstance(q, QuantizedTensor):
            return self.spec.codec.decode(self.spec.format.as_codes(q), self)
        if q.spec.format != self.spec.format:
            raise QuantError(f"the codes are of {q.spec.format}, the quantizer of {self.spec.format}; use dequantize()")
        return _cut(self.spec.codec.decode(q.codes, self), q.length)

    def fake_quantize(self, x: Any, rng: np.random.Generator | None = None) -> Float32Array:
        """Return decode(encode(x)) in one pass, without the codes."""
        return self.reconstruct(x, rng=rng)[0]

    def reconstruct(
        self, x: Any, out: Float32Array | None = None, rng: np.random.Generator | None = None
    ) -> tuple[Float32Array, ErrorReport]:
        """Return x̂ and what it loses, in one pass.

        x̂ is written to `out` if that is given, a contiguous float32 array of the shape of `x`: memory that is used
        again saves a third of the time.

        Raises:
            QuantError: as `encode`, and for an `out` of another shape, type or memory layout.
        """
        validate_generator(rng)
        array = as_float32(x)
        written = np.empty(array.shape, np.float32) if out is None else as_instance(out, np.ndarray, "out", OUT_REMEDY)
        if (
            written.shape != array.shape
            or written.dtype != np.float32
            or not written.flags.c_contiguous
            or not written.flags.writeable
        ):
            raise QuantError(
                f"out has shape {written.shape} and dtype {written.dtype}; give a writeable, contiguous float32 array "
                f"of shape {array.shape}"
            )
        return written, self.spec.codec.reconstruct(array, self, written, rng)

    def measure(self, x: Any, rng: np.random.Generator | None = None) -> ErrorReport:
        """Return what quantizing `x` loses, in one pass that writes nothing.

        Raises:
            QuantError: as `encode`.
        """
        validate_generator(rng)
        return self.spec.codec.reconstruct(as_float32(x), self, None, rng)

    def levels(self, block: int | tuple[int, ...] = 0) -> Float32Array:
        """Return the codewords of a block (row-major number or grid index), ascending.

        That is the order of integer codes and of a codebook's. ±0 of a float format are one.

        Raises:
            QuantError: if there is no such block, or for a format of more than 16 bits.
        """
        return self.spec.codec.levels(self, self._place(block))

    def thresholds(self, block: int | tuple[int, ...] = 0) -> Float32Array:
        """Return the edges between buckets: for each level but the first, the least float32 that is given it.

        Raises:
            QuantError: if there is no such block, rounding is stochastic, or the format has more than 16 bits.
        """
        return self.spec.codec.thresholds(self, self._place(block))

    def storage(self, shape: tuple[int, ...]) -> Storage:
        """Return all that is stored for a tensor of this shape."""
        return self.spec.storage(shape)

    def _place(self, block: int | tuple[int, ...]) -> tuple[int, ...]:
        try:
            if isinstance(block, tuple):
                self.scale[block].item()
                return block
            place = as_integer(block, "block")
            return tuple(int(i) for i in np.unravel_index(place, self.scale.shape)) if self.scale.shape else ()
        except (IndexError, TypeError, ValueError) as error:
            raise QuantError(f"block {block} does not exist in a grid of shape {self.scale.shape}") from error


def _cut(whole: Float32Array, length: int | None) -> Float32Array:
    """Return values without those that filled the last vector up."""
    return whole if length is None else np.ascontiguousarray(whole[..., :length])
