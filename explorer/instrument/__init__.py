"""The instrument: a figure with handles that answers while a hand moves them, on a canvas in the browser."""

from explorer.instrument.mount import Move, instrument

__all__ = ["Move", "instrument"]
