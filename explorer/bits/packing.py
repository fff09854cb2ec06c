"""Number formats as the browser reads them: enough to encode, decode and label every bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant_engine import FixedPointFormat, FloatFormat, IntFormat


def described(name: str, title: str, form: Any, step: float | None = None) -> dict[str, Any]:
    """Return a format for the browser; `step` is what an integer's code 1 stands for, where it is scaled.

    >>> described("E4M3", "E4M3", FloatFormat(4, 3, specials="nan", saturate=True))["nan"]
    127
    >>> described("int8", "int8", IntFormat(8), 0.25)["step"]
    0.25
    """
    common = {"name": name, "title": title, "bits": form.bits, "highest": form.highest}
    if isinstance(form, FloatFormat):
        return {**common, "kind": "float", **_float(form)}
    assert isinstance(form, IntFormat | FixedPointFormat)
    unit = form.step if step is None else step
    return {
        **common,
        "kind": "integer",
        "signed": form.signed,
        "fraction": getattr(form, "fraction_bits", 0),
        "step": unit,
        "scaled": step is not None,
        "least": form.qmin,
        "greatest": form.qmax,
        "highest": form.qmax * unit,
    }


def _float(form: FloatFormat) -> dict[str, Any]:
    return {
        "exponent": form.exponent_bits,
        "mantissa": form.mantissa_bits,
        "bias": form.bias,
        "leastExponent": form.min_exponent,
        "greatest": int(form.encode(form.highest)),
        "overflow": int(form.encode(np.inf)),
        "infinity": form.infinity_code,
        "nan": form.nan_code,
        "negativeZero": form.negative_zero,
    }
