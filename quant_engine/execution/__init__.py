"""Running a model with some of its layers changed, and seeing what its layers receive."""

from quant_engine.execution.prefix import STAGE_INPUTS, PrefixRunner, StageInputs
from quant_engine.execution.tensors import as_outputs, as_tensors
from quant_engine.execution.torch_executor import Override, Tap, TorchExecutor

__all__ = [
    "STAGE_INPUTS",
    "Override",
    "PrefixRunner",
    "StageInputs",
    "Tap",
    "TorchExecutor",
    "as_outputs",
    "as_tensors",
]
