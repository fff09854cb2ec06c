"""Tasks: the data a network is measured on, and the scores."""

from quant_engine.tasks.classification import Classification

__all__ = ["Classification"]
