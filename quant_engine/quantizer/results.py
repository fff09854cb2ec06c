"""Fitted quantizers and quantized tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, as_float32
from quant_engine.quantizer.report import ErrorReport
from quant_engine.quantizer.rounding import refuse_no_generator
from quant_engine.quantizer.spec import QuantizerSpec
from quant_engine.quantizer.storage import Storage


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """Codes with the scales and zero points (of the block grid's shape) that give them meaning."""

    codes: NDArray[Any]
    scale: Float32Array
    zero_point: NDArray[np.int32]
    spec: QuantizerSpec
    learned: Float32Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.spec.coding.shape_of(self.codes.shape)

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
        return Quantizer(self.spec, self.scale, self.zero_point, self.learned).decode(self)


@dataclass(frozen=True, eq=False)
class Quantizer:
    """A spec with its fitted numbers: `scale` (float32) and `zero_point` (int32), shaped as the block grid.

    code = saturate(rint(x / scale) + zero_point), half to even, in float32 with a true division: ONNX QuantizeLinear
    bit for bit; other roundings of the spec take the place of rint. x̂ = scale · (code − zero_point).

    Formats that are not integers have zero point 0 and code = encode(x / scale), saturated: of fixed point, integers;
    of floats, bit patterns; of codebooks, numbers of the values. x̂ = scale · decode(code).

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
        scale = np.array(self.scale, np.float32)
        zero_point = np.array(self.zero_point, np.int32)
        if scale.shape != zero_point.shape:
            raise QuantError(f"scale has shape {scale.shape} and zero_point {zero_point.shape}; they must be equal")
        learned = None if self.learned is None else np.array(self.learned, np.float32)
        for name, array in (("scale", scale), ("zero_point", zero_point), ("learned", learned)):
            if array is not None:
                array.flags.writeable = False
            object.__setattr__(self, name, array)
        self.spec.coding.refuse_parameters(self)

    def encode(self, x: Any, rng: np.random.Generator | None = None) -> QuantizedTensor:
        """Return the codes of `x`.

        Raises:
            QuantError: for another block grid than the fitted one, values that are not finite, or an `rng` that is no
                generator.
        """
        refuse_no_generator(rng)
        codes = self.spec.coding.encode(as_float32(x), self, rng)
        return QuantizedTensor(codes, self.scale, self.zero_point, self.spec, self.learned)

    def decode(self, q: QuantizedTensor | NDArray[Any]) -> Float32Array:
        """Return x̂ of a quantized tensor, or of an array of codes.

        Raises:
            QuantError: for another block grid than the fitted one, and numbers that are no codes of a float format or a
                codebook.
        """
        return self.spec.coding.decode(q.codes if isinstance(q, QuantizedTensor) else np.asarray(q), self)

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
        refuse_no_generator(rng)
        array = as_float32(x)
        written = np.empty(array.shape, np.float32) if out is None else out
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
        return written, self.spec.coding.reconstruct(array, self, written, rng)

    def measure(self, x: Any, rng: np.random.Generator | None = None) -> ErrorReport:
        """Return what quantizing `x` loses, in one pass that writes nothing.

        Raises:
            QuantError: as `encode`.
        """
        refuse_no_generator(rng)
        return self.spec.coding.reconstruct(as_float32(x), self, None, rng)

    def levels(self, block: int | tuple[int, ...] = 0) -> Float32Array:
        """Return the codewords of a block (row-major number or grid index), ascending.

        That is the order of integer codes and of a codebook's. ±0 of a float format are one.

        Raises:
            QuantError: if there is no such block, or for a format of more than 16 bits.
        """
        return self.spec.coding.levels(self, self._place(block))

    def thresholds(self, block: int | tuple[int, ...] = 0) -> Float32Array:
        """Return the edges between buckets: for each level but the first, the least float32 that is given it.

        Raises:
            QuantError: if there is no such block, rounding is stochastic, or the format has more than 16 bits.
        """
        return self.spec.coding.thresholds(self, self._place(block))

    def storage(self, shape: tuple[int, ...]) -> Storage:
        """Return all that is stored for a tensor of this shape."""
        return self.spec.storage(shape)

    def _place(self, block: int | tuple[int, ...]) -> tuple[int, ...]:
        try:
            if isinstance(block, tuple):
                self.scale[block].item()
                return block
            return tuple(int(i) for i in np.unravel_index(block, self.scale.shape)) if self.scale.shape else ()
        except (IndexError, ValueError) as error:
            raise QuantError(f"block {block} does not exist in a grid of shape {self.scale.shape}") from error
