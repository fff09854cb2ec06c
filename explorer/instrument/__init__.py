"""The instrument: a figure with handles that answers while a hand moves them, on a canvas in the browser."""

from explorer.instrument.mount import Move, instrument
from explorer.instrument.packing import Mark, Setting, Statistics, pack, statistics

__all__ = ["Mark", "Move", "Setting", "Statistics", "instrument", "pack", "statistics"]
