"""Studies: what is found out about a network, layer by layer and plan by plan."""

from quant_engine.studies.activation_cost import ActivationCost, activation_costs
from quant_engine.studies.calibration import CalibrationPoint, calibration_study
from quant_engine.studies.effect import Effect, divergences, effect
from quant_engine.studies.fisher import fisher
from quant_engine.studies.footprint import Footprint, LayerFootprint, footprint
from quant_engine.studies.mixed import (
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
from quant_engine.studies.model_card import (
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
from quant_engine.studies.sensitivity import (
    Key,
    Part,
    Prediction,
    Progress,
    Scope,
    Trial,
    predict_sensitivity,
    sensitivities,
    trials,
)
from quant_engine.studies.tensor_statistics import TensorStatistics, tensor_statistics

__all__ = [
    "COSTS",
    "LARGE",
    "MEASURES",
    "ActivationCost",
    "CalibrationPoint",
    "CompensationResult",
    "Effect",
    "Footprint",
    "Key",
    "LayerFootprint",
    "MethodResult",
    "MixedPlan",
    "MixedResult",
    "ModelCard",
    "Part",
    "Prediction",
    "Progress",
    "Scope",
    "SearchStep",
    "TensorStatistics",
    "Trial",
    "activation_costs",
    "best_steps",
    "bits_of_layers",
    "broken_order",
    "calibration_study",
    "divergences",
    "effect",
    "fisher",
    "footprint",
    "greedy_search",
    "layer_costs",
    "layer_sizes",
    "mixed_candidates",
    "mixed_plan",
    "model_card",
    "plan_of_method",
    "predict_sensitivity",
    "sensitivities",
    "tensor_statistics",
    "trials",
    "weight_plan",
]
