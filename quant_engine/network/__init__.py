"""Networks: trained weights, their layers, what these receive, and accuracy under a quantization plan."""

from quant_engine.network.accuracy import Accuracy
from quant_engine.network.architectures import ARCHITECTURES
from quant_engine.network.card import LARGE, MethodResult, ModelCard, model_card, plan_of_method
from quant_engine.network.cost import ActivationCost
from quant_engine.network.footprint import Footprint, LayerFootprint, footprint
from quant_engine.network.layers import LayerInfo
from quant_engine.network.network import Network, load
from quant_engine.network.study import CalibrationPoint, calibration_study

__all__ = [
    "ARCHITECTURES",
    "LARGE",
    "Accuracy",
    "ActivationCost",
    "CalibrationPoint",
    "Footprint",
    "LayerFootprint",
    "LayerInfo",
    "MethodResult",
    "ModelCard",
    "Network",
    "calibration_study",
    "footprint",
    "load",
    "model_card",
    "plan_of_method",
]
