"""Running a model with some of its layers changed, and seeing what its layers receive."""

from quant_engine.execution.calibration import Calibration, Capture
from quant_engine.execution.executor import Executor, Override, Tap, captured_inputs, joined_inputs
from quant_engine.execution.finite import finite_outputs
from quant_engine.execution.layer_change import LayerChange, each_sample, layer_changes, planned_weight
from quant_engine.execution.layer_inputs import LayerInputs, draw_places, draw_rows
from quant_engine.execution.onnx_executor import OnnxExecutor
from quant_engine.execution.prefix import STAGE_INPUTS, PrefixRunner, StageInputs
from quant_engine.execution.splits import SplitRunner
from quant_engine.execution.stepwise import stepwise
from quant_engine.execution.tensors import as_outputs, as_tensors, named_tensors
from quant_engine.execution.torch_executor import TorchExecutor, patched
from quant_engine.models import Model, OnnxModel

__all__ = [
    "STAGE_INPUTS",
    "Calibration",
    "Capture",
    "Executor",
    "LayerChange",
    "LayerInputs",
    "OnnxExecutor",
    "Override",
    "PrefixRunner",
    "SplitRunner",
    "StageInputs",
    "Tap",
    "TorchExecutor",
    "as_outputs",
    "as_tensors",
    "captured_inputs",
    "draw_places",
    "draw_rows",
    "each_sample",
    "executor_of",
    "finite_outputs",
    "joined_inputs",
    "layer_changes",
    "named_tensors",
    "patched",
    "planned_weight",
    "stepwise",
]


def executor_of(model: Model) -> Executor:
    """Return what runs a model."""
    return OnnxExecutor(model) if isinstance(model, OnnxModel) else TorchExecutor(model.module, model.trace)
