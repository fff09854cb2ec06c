"""The keys of the built-in models, as the app has them."""

from __future__ import annotations

from explorer.sources import MODELS

CNN_KEY, DEPTHWISE_KEY = MODELS.key("fashion-cnn"), MODELS.key("fashion-depthwise")
