"""What quantizing a layer's weight does to the layer's own outputs on real inputs: found in the background."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from explorer import compute
from explorer.background import Kind, Task
from explorer.caches import ResultKey
from explorer.sources import ModelKey
from explorer.tensor_table import TensorRow
from quant_engine import QuantError, QuantizerSpec
from quant_engine.studies import input_moments, layer_output_sqnr_db

PLACE = "inspector outputs"


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


def with_outputs(rows: Mapping[str, TensorRow], task: Task | None) -> dict[str, TensorRow]:
    """Return rows with what is known so far of the layers' outputs."""
    known = {one.layer: one for one in (task.items if task is not None else ()) if one is not None}
    return {
        name: replace(row, output_sqnr_db=known[name].sqnr_db) if name in known else row for name, row in rows.items()
    }


def outputs_refused(task: Task | None) -> str:
    """Return why there are no output SQNRs, of all layers or of some, or nothing."""
    if task is None:
        return ""
    if task.error is not None:
        if not isinstance(task.error, QuantError):
            raise task.error
        return str(task.error)
    return next((one.refusal for one in task.items if one is not None and one.refusal), "")
