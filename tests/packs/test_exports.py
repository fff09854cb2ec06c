"""Real models are exported, and what reads them gives our values, outputs and scores."""

from __future__ import annotations

import pytest

import quant_engine as qe
from quant_engine.export import EXPORTERS
from quant_engine.network import Network
from quant_engine.packs import PACKS, folder_of
from quant_engine.packs.smollm2 import texts
from quant_engine.tasks import NextToken
from tests.engine.test_qdq_proof import check_proof
from tools.write_exports import PLANS, SEVEN


@pytest.mark.full
@pytest.mark.parametrize("plan", [*PLANS, SEVEN])
@pytest.mark.parametrize("model", ["ocr", "efficientnet-lite0"])
def test_every_label_of_a_pack_in_onnxruntime_is_the_engines_or_the_difference_a_tie(
    model, plan, pack_network, tmp_path
):
    check_proof(pack_network(model), plan, tmp_path)


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


@pytest.mark.full
def test_smollm2_is_written_as_a_whole_gguf_that_transformers_scores_as_we_do(pack_network, tmp_path):
    network, exporter = pack_network("smollm2"), EXPORTERS["gguf"]
    tokens = texts(folder_of(PACKS["smollm2"]), "test")[:1, :128]
    network = Network(network.model, NextToken({"test": tokens}))
    tuned = qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(32), clipping=qe.MinMSE(), scale_format=qe.FP16)
    mx = qe.QuantizerSpec(qe.E2M1, qe.PerGroup(32), scale_format=qe.E8M0)
    rules = {"*_proj": qe.LayerPlan(tuned), "*.down_proj": qe.LayerPlan(mx)}
    plan = network.freeze(qe.QuantizationPlan.of(network.layers(), rules))
    assert not exporter.check(network, plan)
    exporter.write(network, plan, tmp_path / "model.gguf")
    dequantized, ran = exporter.verify(network, plan, tmp_path / "model.gguf").comparisons
    assert dequantized.exact
    assert ran.score.value == pytest.approx(ran.own_score.value, rel=1e-6)
