"""Running statistics of a tensor seen in batches, from which static calibration takes its ranges."""

from quant_engine.observers.base import Observer
from quant_engine.observers.blocks import BlockObservers, validate_static
from quant_engine.observers.choice import observer_for
from quant_engine.observers.extremes import MinMaxObserver, MovingAverageObserver
from quant_engine.observers.histogram import HistogramObserver
from quant_engine.observers.storage import OBSERVERS, load_observers, save_observers

__all__ = [
    "OBSERVERS",
    "BlockObservers",
    "HistogramObserver",
    "MinMaxObserver",
    "MovingAverageObserver",
    "Observer",
    "load_observers",
    "observer_for",
    "save_observers",
    "validate_static",
]
