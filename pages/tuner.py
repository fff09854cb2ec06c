"""Tuner: a plan layer by layer, on real weights, with the held-out score that answers."""

from explorer import panels

panels.tuner_panel()
