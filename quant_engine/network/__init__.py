"""Networks: trained weights, their layers, what these receive, and accuracy under a quantization plan."""

from quant_engine.models import Layer
from quant_engine.network.architectures import ARCHITECTURES
from quant_engine.network.card import (
    LARGE,
    CompensationResult,
    MethodResult,
    MixedResult,
    ModelCard,
    bits_of_layers,
    broken_order,
    mixed_candidates,
    model_card,
    plan_of_method,
)
from quant_engine.network.cost import ActivationCost
from quant_engine.network.effects import Effect
from quant_engine.network.folding import BatchNorm
from quant_engine.network.footprint import Footprint, LayerFootprint, footprint
from quant_engine.network.loading import load
from quant_engine.network.mixed import (
    COSTS,
    MEASURES,
    MixedPlan,
    SearchStep,
    best_steps,
    greedy_search,
    layer_costs,
    layer_sizes,
    mixed_plan,
    weight_plan,
)
from quant_engine.network.network import Network, from_module
from quant_engine.network.sensitivity import (
    Prediction,
    Progress,
    Trial,
    predict_sensitivity,
    sensitivities,
    trials,
)
from quant_engine.network.study import CalibrationPoint, calibration_study
from quant_engine.tasks import Accuracy, Score

__all__ = [
    "ARCHITECTURES",
    "COSTS",
    "LARGE",
    "MEASURES",
    "Accuracy",
    "ActivationCost",
    "BatchNorm",
    "CalibrationPoint",
    "CompensationResult",
    "Effect",
    "Footprint",
    "Layer",
    "LayerFootprint",
    "MethodResult",
    "MixedPlan",
    "MixedResult",
    "ModelCard",
    "Network",
    "Prediction",
    "Progress",
    "Score",
    "SearchStep",
    "Trial",
    "best_steps",
    "bits_of_layers",
    "broken_order",
    "calibration_study",
    "footprint",
    "from_module",
    "greedy_search",
    "layer_costs",
    "layer_sizes",
    "load",
    "mixed_candidates",
    "mixed_plan",
    "model_card",
    "plan_of_method",
    "predict_sensitivity",
    "sensitivities",
    "trials",
    "weight_plan",
]
