"""Bits for each layer under a budget, to step up and down; bytes are added up in the browser."""

from explorer.steppers.mount import StepperRow, steppers

__all__ = ["StepperRow", "steppers"]
