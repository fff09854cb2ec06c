"""Networks: a model, its layers and weights, what they receive, and scores under a quantization plan."""

from quant_engine.models import Layer
from quant_engine.network.loading import from_module, load
from quant_engine.network.network import Network
from quant_engine.tasks import Accuracy, Score

__all__ = ["Accuracy", "Layer", "Network", "Score", "from_module", "load"]
