"""Sweeps: every tensor of a model under every spec, on as many processes or machines as there are, and resumed at will.

A sweep is planned as a table of cells, tensor × spec. Each cell is a pure function of a source, a tensor's name and a
spec's text; the tensor is read where the work is done. What is finished is on disk before the next is reported.
"""

from quant_engine.sweep.cells import CELL_COLUMNS, work
from quant_engine.sweep.estimate import Estimate, estimate, values_in
from quant_engine.sweep.plan import MAX_VALUES, Chunk, SweepPlan, plan_sweep
from quant_engine.sweep.processes import process_map
from quant_engine.sweep.running import SweepProgress, sweep
from quant_engine.sweep.table import SweepTable, read_sweep

__all__ = [
    "CELL_COLUMNS",
    "MAX_VALUES",
    "Chunk",
    "Estimate",
    "SweepPlan",
    "SweepProgress",
    "SweepTable",
    "estimate",
    "plan_sweep",
    "process_map",
    "read_sweep",
    "sweep",
    "values_in",
    "work",
]
