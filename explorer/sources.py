"""Which models can be opened, and which layer each opens on."""

from __future__ import annotations

import os

from quant_engine.network import ARCHITECTURES

MODEL_VARIABLE = "QUANT_EXPLORER_MODEL"  # set by the command line

OPENING_LAYERS = {"fashion-cnn": "conv3", "fashion-depthwise": "dw1"}


def models() -> tuple[str, ...]:
    """Return the names of the models at hand."""
    return tuple(ARCHITECTURES)


def opening_model() -> str:
    """Return the model the app starts with."""
    wanted = os.environ.get(MODEL_VARIABLE, "")
    return wanted if wanted in models() else models()[0]


def is_model_given() -> bool:
    """Say whether the command line has named the model to start with."""
    return os.environ.get(MODEL_VARIABLE, "") in models()
