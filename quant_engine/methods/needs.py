"""What methods need of a network, and how it is seen whether it is there."""

from __future__ import annotations

from collections.abc import Callable

from quant_engine.methods.pairs import scaling_pairs
from quant_engine.methods.stages import Need
from quant_engine.network import Network
from quant_engine.studies.fisher import missing_gradients


def _without_split(split: str) -> Callable[[Network], str | None]:
    def missing(network: Network) -> str | None:
        if network.task is None:
            return f"{network.name} has no data; give from_module a task with a {split} split"
        if split in network.task.splits:
            return None
        return f"the task of {network.name} has only {', '.join(sorted(network.task.splits))}; give it a {split} split"

    return missing


def _without_batch_norm(network: Network) -> str | None:
    if network.model.statistics is not None:
        return None
    return (
        f"{network.name} has none that tells of its data, or was given no example, a tensor of real numbers; calibrate "
        "on data instead"
    )


def _without_normal_inputs(network: Network) -> str | None:
    known = network.model.statistics
    if known is not None and known.input_range is not None:
        return None
    return f"the inputs of {network.name} are not known to have mean 0 and deviation 1; calibrate on data instead"


def _without_pairs(network: Network) -> str | None:
    if scaling_pairs(network):
        return None
    return (
        f"in {network.name} no scale of a channel can move from a norm or a layer into the layers that read it: "
        "what is between them does not commute with scaling, or others read it too"
    )


def _without_layer_pairs(network: Network) -> str | None:
    if any(not pair.norm for pair in scaling_pairs(network)):
        return None
    return (
        f"in {network.name} no scale of a channel can move from one layer into the next: what is between them does not "
        "commute with scaling, or others read it too"
    )


GRADIENTS = Need("gradients", missing_gradients)
CALIBRATION = Need("calibration data", _without_split("calibration"))
TRAINING = Need("training data", _without_split("training"))
BATCH_NORM = Need("BatchNorm", _without_batch_norm)
NORMAL_INPUTS = Need("normalised inputs", _without_normal_inputs)
PAIRS = Need("norm–linear pairs or pairs of layers", _without_pairs, probing=True)
LAYER_PAIRS = Need("pairs of layers", _without_layer_pairs, probing=True)
