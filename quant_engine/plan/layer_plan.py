"""Which quantizers one layer of a network gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from quant_engine.checks import validate_boolean
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array, as_float32, raise_non_finite
from quant_engine.quantizer import QuantizedTensor, Quantizer, QuantizerSpec
from quant_engine.records import to_record

ROLES = ("weight", "activation")
VECTORS = {"bias": "output", "input_scale": "input"}  # one value for each of these channels
PARAMETERS = ("scale", "zero_point", "learned")
Planned = QuantizerSpec | Quantizer | QuantizedTensor
Arrays = dict[str, NDArray[Any]]


@final
@dataclass(frozen=True, eq=False)
class LayerPlan:
    """The quantizers of one layer's weight and of its input activation: a spec, a fitted quantizer, or none.

    A weight may also be given as a `QuantizedTensor`, with codes of its own in the view (out, everything else), and a
    bias (out,) that takes the place of the layer's: what methods find that choose codes otherwise than by rounding, or
    that change the weights before they do. `input_scale`, one for each input channel, divides what the layer receives
    before it is quantized: the weight makes up for it, as after SmoothQuant and AWQ. Where a norm gives the input, a
    tool that exports the plan divides the norm's weight instead.

    Static activations (the default) have ranges fixed beforehand, on calibration data. `dynamic` ones stay a spec, and
    their ranges are found on each image alone: `PerTensor()` is then one scale an image, `PerToken()` one a row of the
    last axis of each image's input. Axis 0 of an activation are the images, so a convolution's channels are axis 1.

    Raises:
        QuantError: for what is no quantizer, a format that activations do not take, a fitted activation that should be
            dynamic, and a bias or input scale that is no run of finite (for scales: positive) numbers.
    """

    weight: Planned | None = None
    activation: QuantizerSpec | Quantizer | None = None
    dynamic: bool = False
    bias: Float32Array | None = None
    input_scale: Float32Array | None = None

    def __post_init__(self) -> None:
        """Check the fields, and keep read-only copies of the arrays."""
        for role, kinds in (("weight", Planned), ("activation", QuantizerSpec | Quantizer)):
            value = getattr(self, role)
            if not isinstance(value, kinds | None):
                raise QuantError(f"{role}={value!r} is no QuantizerSpec, Quantizer or None")
        if self.activation is not None:
            spec = self.activation if isinstance(self.activation, QuantizerSpec) else self.activation.spec
            spec.format.validate_activations()
        validate_boolean(self.dynamic, "dynamic")
        if self.dynamic and isinstance(self.activation, Quantizer):
            raise QuantError(
                f"the activation is fitted to {self.activation.scale.shape} blocks, but dynamic=True finds ranges on "
                "each input; give its spec, or dynamic=False"
            )
        for name, channel in VECTORS.items():
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _as_vector(given, name, channel))
        if (
            self.bias is not None
            and isinstance(self.weight, QuantizedTensor)
            and len(self.bias) != len(self.weight.codes)
        ):
            raise QuantError(
                f"bias has shape {self.bias.shape}, the weight codes of {self.weight.shape}; give one value for each "
                "output"
            )
        if self.input_scale is None:
            return
        if (self.input_scale <= 0).any():
            raise QuantError(f"input_scale has {self.input_scale.min():.4g} in it; give positive numbers")
        if isinstance(self.activation, QuantizerSpec) and not self.dynamic:
            raise QuantError(
                "input_scale changes the values that a static activation is fitted to; give a fitted Quantizer, or "
                "dynamic=True"
            )

    @property
    def frozen(self) -> bool:
        """Whether every spec has been fitted (dynamic activations need no fitting)."""
        static = isinstance(self.activation, QuantizerSpec) and not self.dynamic
        return not (static or isinstance(self.weight, QuantizerSpec))

    @cached_property
    def key(self) -> str:
        """What tells plans apart: canonical JSON of both roles, with the digests of all arrays.

        >>> LayerPlan(dynamic=True).key
        '{"activation":null,"bias":null,"dynamic":true,"weight":null}'
        """
        parts: dict[str, Any] = {"dynamic": self.dynamic, "weight": None, "activation": None, "bias": None}
        for role, planned in roles(self):
            entry, arrays = stored(planned)
            parts[role] = {**entry, "arrays": {name: _digest_of(array) for name, array in arrays.items()}}
        parts |= {name: _digest_of(array) for name in VECTORS if (array := getattr(self, name)) is not None}
        return json.dumps(parts, sort_keys=True, separators=(",", ":"))


def _as_vector(given: Any, name: str, channel: str) -> Float32Array:
    """Return a read-only copy of one value for each channel."""
    vector = as_float32(given, name).copy()
    if vector.ndim != 1 or not vector.size:
        raise QuantError(f"{name} has shape {vector.shape}; give one value for each {channel} channel")
    if not np.isfinite(vector).all():
        raise_non_finite(vector, name)
    vector.flags.writeable = False
    return vector


def _digest_of(array: np.ndarray[Any, Any]) -> str:
    """Return the digest of an array's type, shape and values."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def roles(plan: LayerPlan) -> Iterator[tuple[str, Planned]]:
    """Yield the roles that are planned, with what is planned for them."""
    for role in ROLES:
        if (planned := getattr(plan, role)) is not None:
            yield role, planned


def stored(planned: Planned) -> tuple[dict[str, Any], Arrays]:
    """Return a planned part as JSON and as arrays."""
    if isinstance(planned, QuantizerSpec):
        return {"spec": to_record(planned), "fitted": False}, {}
    entry: dict[str, Any] = {"spec": to_record(planned.spec), "fitted": True}
    arrays = {part: np.array(a) for part in PARAMETERS if (a := getattr(planned, part)) is not None}
    if isinstance(planned, QuantizedTensor):
        arrays["codes"] = np.ascontiguousarray(planned.codes)
        if planned.length is not None:
            entry["length"] = planned.length
    return entry, arrays
