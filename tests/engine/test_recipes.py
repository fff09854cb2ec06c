"""Recipes, types for llama-quantize and PyTorch code: the layouts that the tools' own sources give."""

import ast
import json
import re
import runpy

import gguf
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from quant_engine import (
    E2M1,
    E4M3,
    E8M0,
    NF4,
    BlockFormat,
    IntFormat,
    LayerPlan,
    MinMSE,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerToken,
    QuantError,
    QuantizationPlan,
    QuantizerSpec,
    fit,
)
from quant_engine.export import EXPORTERS
from quant_engine.export.gguf_types import nearest_type
from quant_engine.export.recipes import modelopt_cfg
from quant_engine.network import from_module
from tests.engine.test_compressed_tensors import llama
from tests.engine.test_exporters import opened

FOUR, EIGHT = QuantizerSpec(IntFormat(4), PerGroup(32)), QuantizerSpec(IntFormat(8), PerChannel())
INPUT = QuantizerSpec(IntFormat(8), symmetric=False)


@pytest.mark.parametrize(
    ("spec", "columns", "kind"),
    [
        (QuantizerSpec(IntFormat(4), PerGroup(128)), 256, "IQ4_XS"),
        (QuantizerSpec(IntFormat(4), PerGroup(64)), 256, "Q4_K"),
        (QuantizerSpec(IntFormat(3), PerGroup(128)), 256, "Q3_K"),
        (QuantizerSpec(IntFormat(8), PerGroup(64)), 256, "Q8_0"),
        (QuantizerSpec(IntFormat(6), PerGroup(64)), 256, "Q6_K"),
        (QuantizerSpec(IntFormat(4), PerGroup(48)), 96, "IQ4_NL"),  # K-quants take whole runs of 256
        (QuantizerSpec(BlockFormat("Q5_1")), 96, "Q5_1"),
        (QuantizerSpec(IntFormat(4), PerChannel()), 9, "F16"),
    ],
)
def test_the_type_is_the_one_of_nearest_size_that_a_row_takes(spec, columns, kind):
    assert nearest_type(spec, (8, columns)) == kind
    sizes = {name: 8 * size / block for name, (block, size) in _sizes().items() if columns % block == 0}
    bits = spec.storage((8, columns)).bits_per_value
    if not isinstance(spec.format, BlockFormat):
        closest = min(abs(sizes[name] - bits) for name in ("Q2_K", "Q4_K", "Q6_K", "Q8_0", "Q4_0", "F16")
                      if name in sizes)  # fmt: skip
        assert abs(sizes[kind] - bits) <= closest


def _sizes():
    return {kind.name: size for kind, size in gguf.GGML_QUANT_SIZES.items()}


def test_lines_are_as_llama_quantize_reads_them_and_the_command_names_the_file(tmp_path):
    network, _ = llama()
    plan = QuantizationPlan.of(network.layers(), {"*_proj": LayerPlan(FOUR), "lm_head": LayerPlan(EIGHT)})
    export = EXPORTERS["gguf-types"].write(network, plan, tmp_path / "types.txt")
    lines = (tmp_path / "types.txt").read_text().split("\n")
    assert r"^blk\.1\.attn_q\.weight$=q4_1" in lines  # five bits a weight, scales counted
    assert r"^token_embd\.weight$=f16" in lines
    assert not [line for line in lines if re.search(r"\s", line)]
    command = export.paths[1].read_text()
    assert command.startswith("llama-quantize --tensor-type-file types.txt ")
    assert "--output-tensor-type q8_0" in command


@pytest.mark.parametrize(
    ("spec", "cfg"),
    [
        (EIGHT, {"num_bits": 8, "axis": 0}),
        (QuantizerSpec(E4M3), {"num_bits": (4, 3), "axis": None}),
        (
            QuantizerSpec(E2M1, PerGroup(16), scale_format=E4M3),
            {"num_bits": (2, 1), "block_sizes": {-1: 16, "type": "dynamic", "scale_bits": (4, 3)}},
        ),
        (
            QuantizerSpec(E2M1, PerGroup(32), scale_format=E8M0),
            {"num_bits": (2, 1), "block_sizes": {-1: 32, "type": "dynamic", "scale_bits": (8, 0)}},
        ),
        (QuantizerSpec(NF4), None),
        (INPUT, None),
    ],
)
def test_quantizers_of_modelopt_have_its_attributes(spec, cfg):
    assert modelopt_cfg(spec) == cfg


def test_a_modelopt_recipe_turns_all_off_and_then_on_layer_by_layer(tmp_path):
    network, _ = llama()
    tokens = QuantizerSpec(IntFormat(8), PerToken())
    plan = QuantizationPlan({"lm_head": LayerPlan(FOUR, tokens, dynamic=True)})
    EXPORTERS["modelopt"].write(network, plan, tmp_path / "cfg.py")
    read = runpy.run_path(str(tmp_path / "cfg.py"))["QUANT_CFG"]
    assert read[0] == {"quantizer_name": "*", "enable": False}
    assert [entry["quantizer_name"] for entry in read[1:]] == ["lm_head.weight_quantizer", "lm_head.input_quantizer"]
    assert read[2]["cfg"]["block_sizes"] == {-1: None, "type": "dynamic"}


def test_an_ai_edge_recipe_has_regex_operation_algorithm_and_config(tmp_path):
    network, _ = opened("fashion-cnn")
    plan = QuantizationPlan({"conv1": LayerPlan(EIGHT), "fc1": LayerPlan(EIGHT, INPUT)})
    EXPORTERS["ai-edge"].write(network, network.freeze(plan, 32), tmp_path / "recipe.json")
    rest, conv, linear = json.loads((tmp_path / "recipe.json").read_text())
    assert rest == {"regex": ".*", "operation": "*", "algorithm_key": "no_quantize"}
    assert (conv["operation"], conv["op_config"]["compute_precision"]) == ("CONV_2D", "FLOAT")
    assert (linear["regex"], linear["operation"]) == ("fc1", "FULLY_CONNECTED")
    weight = {"num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}
    assert linear["op_config"]["weight_tensor_config"] == weight
    assert linear["op_config"]["activation_tensor_config"]["symmetric"] is False


@pytest.mark.parametrize("weight", [FOUR, EIGHT, QuantizerSpec(IntFormat(3), PerChannelGroup(4), clipping=MinMSE()),
                                    QuantizerSpec(NF4, PerGroup(32)), QuantizerSpec(IntFormat(8, False))])  # fmt: skip
def test_the_pytorch_code_gives_a_module_our_weights_and_outputs(weight, tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    x = np.random.default_rng(0).standard_normal((50, 64)).astype(np.float32)
    network = from_module(module, example=torch.from_numpy(x))
    plan = network.freeze(QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(weight, INPUT))), data=x)
    EXPORTERS["torch"].write(network, plan, tmp_path / "model.py")
    (found,) = EXPORTERS["torch"].verify(network, plan, tmp_path / "model.py", data=x).comparisons
    assert found.exact
    changed = runpy.run_path(str(tmp_path / "model.py"))["apply"](module)
    with torch.no_grad():
        theirs = changed(torch.from_numpy(x)).numpy()
    ours = network.run(x, plan)
    assert np.mean(np.abs(theirs - ours) < 1e-5 * np.abs(ours).max()) > 0.98  # all but inputs at ties


@pytest.mark.parametrize(("key", "ending"), [("torch", ".py"), ("gguf", ".gguf"), ("compressed-tensors", "")])
def test_as_floats_a_weight_is_divided_by_the_scales_of_its_inputs(key, ending, tmp_path):
    torch.manual_seed(0)
    network = from_module(nn.Sequential(nn.Linear(64, 32)), example=torch.zeros(1, 64))
    scale = np.random.default_rng(0).uniform(0.5, 2, 64).astype(np.float32)
    quantizer = fit(network.weight("0") * scale, FOUR)
    plan = QuantizationPlan({"0": LayerPlan(quantizer.encode(network.weight("0") * scale), input_scale=scale)})
    export = EXPORTERS[key].write(network, plan, tmp_path / f"model{ending}", as_float=True)
    assert not export.coverage.written
    x_hat = plan["0"].weight.dequantize() / scale
    if key == "torch":
        held = load_file(tmp_path / "model.safetensors")["0.weight"]
    elif key == "gguf":
        held = next(t.data for t in gguf.GGUFReader(tmp_path / "model.gguf").tensors if t.name == "0.weight")
    else:
        held = load_file(tmp_path / "model" / "model.safetensors")["0.weight"]
    np.testing.assert_array_equal(held, x_hat)


def test_code_that_is_not_the_plans_is_not_run(tmp_path):
    network, inputs = opened("fashion-cnn")
    plan = QuantizationPlan({"fc1": LayerPlan(EIGHT)})
    EXPORTERS["torch"].write(network, plan, tmp_path / "model.py")
    (tmp_path / "model.py").write_text("raise SystemExit")
    with pytest.raises(QuantError, match="is not run"):
        EXPORTERS["torch"].verify(network, plan, tmp_path / "model.py", data=inputs)


def test_names_of_layers_cannot_end_the_text_they_stand_in(tmp_path):
    hostile = "'}; print(1) #\n*[ab]"
    network = _named(hostile)
    plan = QuantizationPlan({hostile: LayerPlan(EIGHT)})
    for key, ending in (("torch", ".py"), ("modelopt", ".py"), ("ai-edge", ".json")):
        EXPORTERS[key].write(network, plan, tmp_path / f"{key}{ending}")
        (found,) = EXPORTERS[key].verify(network, plan, tmp_path / f"{key}{ending}").comparisons
        assert found.exact is (True if key == "torch" else None)
        if ending == ".py":
            ast.parse((tmp_path / f"{key}{ending}").read_text())


def _named(name):
    module = nn.ModuleDict({name: nn.Linear(8, 4)})
    module.forward = lambda x: next(iter(module.values()))(x)
    return from_module(module, example=torch.zeros(1, 8))
