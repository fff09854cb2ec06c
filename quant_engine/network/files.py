"""Where the committed weights and data are."""

from __future__ import annotations

from importlib import resources

BUILTIN = resources.files("quant_engine.network") / "builtin"
