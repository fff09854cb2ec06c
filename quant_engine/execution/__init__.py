"""Running a model with some of its layers changed, and seeing what its layers receive."""

from quant_engine.execution.executor import Executor, Override, Tap
from quant_engine.execution.layer_inputs import LayerInputs, draw_rows
from quant_engine.execution.onnx_executor import OnnxExecutor
from quant_engine.execution.prefix import STAGE_INPUTS, PrefixRunner, StageInputs
from quant_engine.execution.tensors import as_outputs, as_tensors
from quant_engine.execution.torch_executor import TorchExecutor, patched
from quant_engine.models import Model, OnnxModel

__all__ = [
    "STAGE_INPUTS",
    "Executor",
    "LayerInputs",
    "OnnxExecutor",
    "Override",
    "PrefixRunner",
    "StageInputs",
    "Tap",
    "TorchExecutor",
    "as_outputs",
    "as_tensors",
    "draw_rows",
    "executor_of",
    "patched",
]


def executor_of(model: Model) -> Executor:
    """Return what runs a model."""
    return OnnxExecutor(model) if isinstance(model, OnnxModel) else TorchExecutor(model.module, model.trace)
