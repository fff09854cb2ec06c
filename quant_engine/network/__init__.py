"""Networks: trained weights, their layers, and accuracy under a quantization plan."""

from quant_engine.network.accuracy import Accuracy
from quant_engine.network.architectures import ARCHITECTURES
from quant_engine.network.card import ModelCard, model_card
from quant_engine.network.layers import LayerInfo
from quant_engine.network.network import Network, load

__all__ = ["ARCHITECTURES", "Accuracy", "LayerInfo", "ModelCard", "Network", "load", "model_card"]
