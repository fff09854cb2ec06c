"""Running a model with some of its layers changed, and seeing what its layers receive."""

from quant_engine.execution.prefix import PrefixRunner
from quant_engine.execution.torch_executor import Override, Tap, TorchExecutor

__all__ = ["Override", "PrefixRunner", "Tap", "TorchExecutor"]
