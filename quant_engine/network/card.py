"""The model card: accuracies measured once and committed beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quant_engine.errors import QuantError
from quant_engine.network.accuracy import Accuracy
from quant_engine.network.architectures import ARCHITECTURES
from quant_engine.network.files import BUILTIN
from quant_engine.quantizer import QuantizerSpec


@dataclass(frozen=True)
class ModelCard:
    """Accuracies of one built-in network; `weights_only` has every layer's weight quantized by one spec.

    `static_activations` has every layer's weight and input quantized by one pair of specs, (weight, activation), the
    input's range fixed on all calibration images. `full` is on all 10,000 test images of Fashion-MNIST, the others on
    the 2,000 that are committed.
    """

    full: Accuracy
    plain: Accuracy
    weights_only: dict[QuantizerSpec, Accuracy]
    static_activations: dict[tuple[QuantizerSpec, QuantizerSpec], Accuracy]


def model_card(name: str) -> ModelCard:
    """Return the card of a built-in network.

    Raises:
        QuantError: for another name.

    Example:
        >>> model_card("fashion-cnn").full.total
        10000
    """
    if name not in ARCHITECTURES:
        raise QuantError(f"{name!r} has no model card; choose one of {', '.join(ARCHITECTURES)}")
    stored = json.loads((BUILTIN / "model_card.json").read_text(encoding="utf-8"))[name]
    total = stored["plain"]["total"]
    return ModelCard(
        full=Accuracy(**stored["full"]),
        plain=Accuracy(**stored["plain"]),
        weights_only={_spec(row, "spec"): Accuracy(row["correct"], total) for row in stored["weights_only"]},
        static_activations={
            (_spec(row, "weight"), _spec(row, "activation")): Accuracy(row["correct"], total)
            for row in stored["static_activations"]
        },
    )


def _spec(row: Mapping[str, Any], name: str) -> QuantizerSpec:
    return QuantizerSpec.from_json(row[name])
