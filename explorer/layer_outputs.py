"""What real inputs tell of each layer's quantization: the SQNR of its own outputs, and the loss that is expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from explorer import compute
from explorer.background import Kind, Task
from explorer.caches import ResultKey
from explorer.sources import ModelKey
from explorer.tensor_table import TensorRow
from quant_engine import QuantError, QuantizerSpec
from quant_engine.network import Network
from quant_engine.studies import input_moments, layer_output_sqnr_db, predict_sensitivity

PLACE, FISHER = "inspector outputs", "inspector fisher"  # places on the page
MAX_PARAMETERS = 20_000_000  # of a model whose Fisher information is found: it takes 16 bytes for each, and a while


@dataclass(frozen=True)
class LayerOutput:
    """The SQNR of a layer's outputs in dB, or why there is none."""

    layer: str
    sqnr_db: float | None
    refusal: str = ""


def outputs_task(model: ModelKey, spec: QuantizerSpec) -> Task | None:
    """Return what finds every layer's output SQNR; None for a model without inputs."""
    if compute.network(model).task is None:
        return None
    layers = len(compute.network(model).layers())
    return compute.session().ask(
        PLACE, ResultKey("outputs", model, spec), lambda: _outputs(model, spec), Kind.STUDY, layers
    )


def _outputs(model: ModelKey, spec: QuantizerSpec) -> Iterator[LayerOutput | None]:
    """Yield what is found, and None after each batch that was run."""
    network = compute.network(model)
    for found in input_moments(network, network.layers()):
        if found is None:
            yield None
            continue
        layer, moment = found
        try:
            yield LayerOutput(layer, layer_output_sqnr_db(network, layer, spec, moment))
        except QuantError as error:
            yield LayerOutput(layer, None, str(error))


def fisher_task(model: ModelKey, spec: QuantizerSpec) -> Task:
    """Return what finds the loss that each layer's error lets expect, by Fisher information."""
    layers = len(compute.network(model).layers())
    key = ResultKey("fisher", model, spec)
    return compute.session().ask(FISHER, key, lambda: _expected_losses(model, spec), Kind.STUDY, layers)


def _expected_losses(model: ModelKey, spec: QuantizerSpec) -> Iterator[tuple[str, float]]:
    network = compute.network(model)
    validate_fisher_size(network)
    for layer in network.layers():
        yield layer, predict_sensitivity(network, layer, spec).loss_increase


def validate_fisher_size(network: Network) -> None:
    """Check that a network is small enough for its Fisher information.

    Raises:
        QuantError: for one that is not.
    """
    if (count := sum(info.parameters for info in network.layers().values())) > MAX_PARAMETERS:
        raise QuantError(f"{network.name} has {count:,} weights; Fisher information is for {MAX_PARAMETERS:,} at most")


def with_outputs(rows: Mapping[str, TensorRow], outputs: Task | None, fisher: Task | None) -> dict[str, TensorRow]:
    """Return rows with what is known so far of the layers' outputs, and of the loss that is expected."""
    known = {one.layer: one.sqnr_db for one in (outputs.items if outputs is not None else ()) if one is not None}
    expected = dict(fisher.items if fisher is not None else ())
    return {
        name: replace(row, output_sqnr_db=known.get(name), expected_loss=expected.get(name))
        for name, row in rows.items()
    }


def outputs_refused(task: Task | None) -> str:
    """Return why there are no output SQNRs, of all layers or of some, or nothing."""
    some = (one.refusal for one in (task.items if task is not None else ()) if one is not None and one.refusal)
    return refused(task) or next(some, "")


def refused(task: Task | None) -> str:
    """Return why a task has found nothing, or nothing."""
    if task is None or task.error is None:
        return ""
    if not isinstance(task.error, QuantError):
        raise task.error
    return str(task.error)
