"""The table of methods: a method that stands here appears on the pages, in the command line and in the tests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from quant_engine.checks import as_choice, as_instance
from quant_engine.errors import QuantError
from quant_engine.methods.analytic import bias_correction_analytic, dfq, dfq_zeroq
from quant_engine.methods.data_free import gaussian_data, ranges_from_norms, zeroq
from quant_engine.methods.layerwise import adaround, bias_correction, gptaq, gptq
from quant_engine.methods.needs import (
    BATCH_NORM,
    CALIBRATION,
    GRADIENTS,
    LAYER_PAIRS,
    NORMAL_INPUTS,
    PAIRS,
    TRAINING,
)
from quant_engine.methods.qat import qat
from quant_engine.methods.rescaling import awq, cross_layer_equalization, smoothquant
from quant_engine.methods.rounding import clipped, nearest
from quant_engine.methods.stages import Method, MethodProgress, Setting
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan

_NORMS = (BATCH_NORM, NORMAL_INPUTS)
_TRAINS = (GRADIENTS, TRAINING, CALIBRATION)

_TABLE = (
    Method("nearest", "nearest", nearest, "rounding"),
    Method("clipped", "clipped", clipped, "rounding"),
    Method("bias_correction", "bias correction", bias_correction, "biases", (CALIBRATION,)),
    Method("cross_layer_equalization", "equalization", cross_layer_equalization, "scaling", (CALIBRATION, LAYER_PAIRS)),
    Method("smoothquant", "SmoothQuant", smoothquant, "scaling", (CALIBRATION, PAIRS)),
    Method("awq", "AWQ", awq, "scaling", (CALIBRATION, PAIRS)),
    Method("adaround", "AdaRound", adaround, "rounding", (CALIBRATION,), random=True, slow=True),
    Method("gptq", "GPTQ", gptq, "rounding", (CALIBRATION,)),
    Method("gptaq", "GPTQ, asymmetric", gptaq, "rounding", (CALIBRATION,)),
    Method("zeroq", "synthetic images", zeroq, "calibration", (GRADIENTS, BATCH_NORM), random=True, slow=True),
    Method("gaussian_data", "Gaussian noise", gaussian_data, "calibration", (NORMAL_INPUTS,), random=True),
    Method("batch_norm_ranges", "BatchNorm ranges", ranges_from_norms, "calibration", _NORMS),
    Method("bias_correction_analytic", "BatchNorm biases", bias_correction_analytic, "biases", _NORMS),
    Method("dfq", "DFQ", dfq, "scaling", _NORMS),
    Method("dfq_zeroq", "DFQ, synthetic", dfq_zeroq, "scaling", (GRADIENTS, *_NORMS), random=True, slow=True),
    Method("qat", "QAT (LSQ)", qat, "training", _TRAINS, random=True, slow=True),
    Method("pact", "QAT (PACT)", partial(qat, rule="PACT"), "training", _TRAINS, random=True, slow=True),
)
METHODS = {method.key: method for method in _TABLE}


def compensate(network: Network, method: str, setting: Setting) -> Iterator[MethodProgress]:
    """Run one of `METHODS`, by its key; the network is never changed, and a caller may stop between two stages.

    Raises:
        QuantError: for an unknown method, a network without what the method needs, and a setting that the method or the
            network does not take.

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
    chosen = METHODS[as_choice(method, METHODS, "method")]
    if reason := chosen.lacking(network):
        raise QuantError(reason)
    return chosen.run(network, setting)


def compensated(network: Network, method: str, setting: Setting) -> QuantizationPlan:
    """Return the plan that a method ends with.

    Raises:
        QuantError: as `compensate`.
    """
    plans = [stage.plan for stage in compensate(network, method, setting) if stage.plan is not None]
    return plans[-1]


def available(network: Network, probing: bool = True) -> dict[str, str | None]:
    """Return for every method what it needs that a network lacks, and why; None where it can run.

    Without `probing`, needs that take running the network once for each layer are taken as met; `compensate` looks for
    them in any case.

    Example:
        >>> import torch
        >>> from quant_engine.network import from_module, load
        >>> {key for key, reason in available(load("fashion-cnn")).items() if reason}
        set()
        >>> available(from_module(torch.nn.Sequential(torch.nn.Linear(2, 2))))["gptq"]
        'GPTQ needs calibration data: Sequential has no data; give from_module a task with a calibration split'
    """
    as_instance(network, Network, "network", "give one of quant_engine.network.load")
    return {key: method.lacking(network, probing) for key, method in METHODS.items()}
