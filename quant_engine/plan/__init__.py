"""Which quantizer each layer of a network gets, and the files that say so."""

from quant_engine.plan.layer_plan import LayerPlan, Planned
from quant_engine.plan.plan import QuantizationPlan

__all__ = ["LayerPlan", "Planned", "QuantizationPlan"]
