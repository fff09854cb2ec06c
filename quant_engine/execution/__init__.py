"""Running a model with some of its layers changed, and seeing what its layers receive."""

from quant_engine.execution.batches import (
    BATCH,
    Outputs,
    as_outputs,
    as_tensors,
    cut,
    join_outputs,
    sample_count,
    split_batch,
)
from quant_engine.execution.prefix import STAGE_INPUTS, PrefixRunner, StageInputs
from quant_engine.execution.torch_executor import Override, Tap, TorchExecutor

__all__ = [
    "BATCH",
    "STAGE_INPUTS",
    "Outputs",
    "Override",
    "PrefixRunner",
    "StageInputs",
    "Tap",
    "TorchExecutor",
    "as_outputs",
    "as_tensors",
    "cut",
    "join_outputs",
    "sample_count",
    "split_batch",
]
