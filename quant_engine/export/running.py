"""Running what was exported in transformers, beside the plan in this engine."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from quant_engine.batches import Outputs, cut
from quant_engine.execution import as_tensors
from quant_engine.export.base import Comparison, Finding
from quant_engine.export.sources import given_of
from quant_engine.inputs import Inputs
from quant_engine.models import TorchModel
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan

SPLIT = "test"


def run_by_transformers(
    network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None, **loading: Any
) -> tuple[tuple[Comparison, ...], tuple[Finding, ...]]:
    """Return what transformers makes of a file or folder, where the network is a model of its own and there are inputs.

    `loading` are arguments of `from_pretrained`. What it does not load is a finding.
    """
    given = given_of(network)
    inputs = _some_inputs(network) if data is None else network.model.as_inputs(data)
    if inputs is None or not hasattr(given, "save_pretrained"):
        return (), ()
    try:
        other = _loaded(type(given), path, cut(inputs, 0, 1), network, loading)
    except (RuntimeError, OSError, ValueError, AttributeError) as error:
        return (), (Finding("warning", f"transformers does not load it: {error}"),)
    return (_compare(network, plan, other, inputs, scored=network.task is not None and data is None),), ()


def _loaded(kind: Any, path: pathlib.Path, first: Inputs, network: Network, loading: Mapping[str, Any]) -> Network:
    """Return what transformers loads, run once: the first run decompresses."""
    import torch

    loaded = kind.from_pretrained(path, dtype=torch.float32, local_files_only=True, **loading).eval()
    loaded.config.use_cache = False
    example = as_tensors(first)
    with torch.no_grad():
        loaded(**example) if isinstance(example, dict) else loaded(example)
    return Network(TorchModel(loaded, example, network.name), network.task)


def _compare(network: Network, plan: QuantizationPlan, other: Network, inputs: Inputs, scored: bool) -> Comparison:
    """Return what a loaded model gives, beside the plan; it is scored on the test split where it is to be."""
    theirs, ours = (outputs_by_name(one) for one in (other.run(inputs), network.run(inputs, plan)))
    worst = max(float(np.abs(theirs[name] - ours[name]).max()) for name in ours)
    same = float(np.mean([theirs[name].argmax(-1) == ours[name].argmax(-1) for name in list(ours)[:1]]))
    scores = (other.evaluate(split=SPLIT), network.evaluate(plan, SPLIT)) if scored else (None, None)
    return Comparison("transformers", worst, same, score=scores[0], own_score=scores[1])


def _some_inputs(network: Network) -> Inputs | None:
    if network.task is None or SPLIT not in network.task.splits:
        return None
    return cut(next(iter(network.task.batches(SPLIT))).inputs, 0, 4)


def outputs_by_name(outputs: Outputs) -> dict[str, Any]:
    """Return outputs as arrays by name; a single one has none."""
    return dict(outputs) if isinstance(outputs, dict) else {"": outputs}
