"""Winning accuracy back on a network: each method goes in stages, to be shown, stopped, and ended with a plan."""

from collections.abc import Iterator
from functools import partial

from quant_engine.checks import as_instance
from quant_engine.errors import QuantError
from quant_engine.network.compensation.analytic import (
    corrected_analytically,
    equalized_on_synthetic_images,
    equalized_without_data,
)
from quant_engine.network.compensation.data_free import (
    batch_norm_ranges,
    gaussian_data,
    gaussian_images,
    norm_moments,
    ranges_from_batch_norm,
    synthetic_data,
    synthetic_images,
)
from quant_engine.network.compensation.layerwise import corrected, learned_rounding, second_order, second_order_reaching
from quant_engine.network.compensation.qat import qat
from quant_engine.network.compensation.rescaling import activation_aware, equalized, smoothed
from quant_engine.network.compensation.rounding import clipped, nearest, uniform_plan
from quant_engine.network.compensation.stages import Method, Setting, Stage
from quant_engine.network.compensation.walk import layer_hessian
from quant_engine.network.network import Network
from quant_engine.plan import QuantizationPlan

METHODS: dict[str, Method] = {
    "nearest": nearest,
    "clipped": clipped,
    "bias correction": corrected,
    "equalization": equalized,
    "SmoothQuant": smoothed,
    "AWQ": activation_aware,
    "AdaRound": learned_rounding,
    "GPTQ": second_order,
    "GPTQ, asymmetric": second_order_reaching,
    "synthetic data": synthetic_data,
    "Gaussian data": gaussian_data,
    "ranges from BatchNorm": ranges_from_batch_norm,
    "bias correction, analytic": corrected_analytically,
    "DFQ": equalized_without_data,
    "DFQ, synthetic data": equalized_on_synthetic_images,
    "QAT": qat,
    "QAT with PACT": partial(qat, rule="PACT"),
}


def compensate(network: Network, method: str, setting: Setting) -> Iterator[Stage]:
    """Run one of `METHODS`; the network is never changed, and a caller may stop between two stages.

    Raises:
        QuantError: for an unknown method, and a setting that the method or the network does not take.

    Example:
        >>> from quant_engine import IntFormat, MinMSE, PerChannel, QuantizerSpec
        >>> from quant_engine.network import load
        >>> setting = Setting(QuantizerSpec(IntFormat(4), PerChannel(), clipping=MinMSE()))
        >>> *_, last = compensate(load("fashion-cnn"), "clipped", setting)
        >>> last.plan.frozen
        True
    """
    as_instance(network, Network, "network", "give one of quant_engine.network.load")
    as_instance(setting, Setting, "setting", "give a Setting(weight, activation)")
    if not isinstance(method, str) or method not in METHODS:
        raise QuantError(f"method={method!r} is unknown; choose one of {', '.join(METHODS)}")
    return METHODS[method](network, setting)


def compensated(network: Network, method: str, setting: Setting) -> QuantizationPlan:
    """Return the plan that a method ends with.

    Raises:
        QuantError: as `compensate`.
    """
    plans = [stage.plan for stage in compensate(network, method, setting) if stage.plan is not None]
    return plans[-1]


__all__ = [
    "METHODS",
    "Method",
    "Setting",
    "Stage",
    "batch_norm_ranges",
    "compensate",
    "compensated",
    "gaussian_images",
    "layer_hessian",
    "norm_moments",
    "synthetic_images",
    "uniform_plan",
]
