"""Sweep: what every spec does to every tensor of a model, from a file that the command sweep has written."""

from explorer import panels

panels.sweep_panel()
