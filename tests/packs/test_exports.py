"""Real models are exported, and what reads them gives our values, outputs and scores."""

from __future__ import annotations

import pytest

import quant_engine as qe
from quant_engine.export import EXPORTERS


@pytest.mark.full
def test_transformers_gives_minilm_of_compressed_tensors_our_outputs_and_score(pack_network, tmp_path):
    network, exporter = pack_network("minilm"), EXPORTERS["compressed-tensors"]
    plan = qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(32)))
    linear = [name for name, layer in network.layers().items() if layer.op == "linear"]
    planned = qe.QuantizationPlan(dict.fromkeys(linear, plan))
    exporter.write(network, planned, tmp_path / "model")
    decompressed, ran = exporter.verify(network, planned, tmp_path / "model").comparisons
    assert decompressed.exact
    assert (ran.max_difference, ran.same, ran.score) == (0.0, 1.0, network.evaluate(planned))
