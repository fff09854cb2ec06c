"""Bits a weight, held against a closed form of each way of counting."""

import pytest
import torch
from torch import nn

from quant_engine import FP16, IntFormat, LayerPlan, PerGroup, QuantizationPlan, QuantizerSpec
from quant_engine.export import EXPORTERS, bit_counts
from quant_engine.network import from_module
from tests.engine.test_exporters import opened


def counted(*given):
    return {one.key: one.bits_per_weight for one in bit_counts(*given)}


def test_llama_cpp_counts_norms_and_biases_among_weights_and_no_metadata(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 32), nn.LayerNorm(32), nn.Linear(32, 10, bias=False))
    network = from_module(module, example=torch.zeros(2, 64))
    plan = QuantizationPlan({"0": LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32), scale_format=FP16))})
    export = EXPORTERS["gguf"].write(network, plan, tmp_path / "a.gguf")
    coded, plain, others = 64 * 32, 32 * 10, 3 * 32
    found = counted(network, plan, export.paths)
    assert found["codes"] == pytest.approx((4 * coded + 32 * plain) / (coded + plain))
    assert found["plan"] == pytest.approx((4.5 * coded + 32 * plain) / (coded + plain))
    assert found["files"] == pytest.approx(8 * export.size_bytes / (coded + plain))
    assert found["llama_cpp"] == pytest.approx((4.5 * coded + 32 * (plain + others)) / (coded + plain + others))
    assert found["files"] > found["plan"] * 1.1


def test_a_weight_that_layers_share_is_counted_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(12, 8), nn.Linear(8, 12, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(self.embed(ids))

    network = from_module(Tied(), example=torch.zeros(2, 3, dtype=torch.int64))
    assert [one.bits for one in bit_counts(network, QuantizationPlan())] == [32 * 96, 32 * 96]


def test_files_count_everything_that_is_written(tmp_path):
    network, _ = opened("fashion-cnn")
    plan = QuantizationPlan({name: LayerPlan(QuantizerSpec(IntFormat(8))) for name in network.layers()})
    export = EXPORTERS["onnx"].write(network, plan, tmp_path / "a.onnx")
    found = counted(network, plan, export.paths)
    assert found["codes"] == 8
    assert 8 < found["plan"] < 8.1
    assert found["plan"] < found["files"] < 10
    assert "llama_cpp" not in found
