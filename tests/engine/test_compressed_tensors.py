"""What the package compressed-tensors, and transformers with it, make of exported folders."""

import functools
import itertools
import json

import numpy as np
import pytest
import torch
import transformers
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

from quant_engine import (
    E2M1,
    E4M3,
    E8M0,
    FP16,
    NF4,
    BlockFormat,
    IntFormat,
    LayerPlan,
    MinMSE,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    PerToken,
    QuantError,
    QuantizationPlan,
    QuantizerSpec,
    quantize,
)
from quant_engine.export import EXPORTERS, nearest, to_compressed_tensors
from quant_engine.export.compressed_weights import scheme_of, weight_tensors
from quant_engine.granularity import PerBlock
from quant_engine.network import from_module, load
from tests.engine.test_exporters import opened

EXPORTER = EXPORTERS["compressed-tensors"]
SHAPE = (13, 96)
WEIGHT = (np.random.default_rng(0).standard_normal(SHAPE) * 0.05).astype(np.float32)
SHARING = (PerTensor(), PerChannel(), PerChannelGroup(3, remainder="short"), PerGroup(32), PerGroup(4))
INTEGERS = [
    QuantizerSpec(IntFormat(bits, signed), sharing, symmetric)
    for bits, signed, symmetric, sharing in itertools.product(range(2, 9), (True, False), (True, False), SHARING)
]
FLOATS = [
    *(QuantizerSpec(E4M3, sharing) for sharing in (*SHARING, PerBlock(4, 32, remainder="short"))),
    QuantizerSpec(E4M3, PerGroup(32), scale_format=E8M0),
    QuantizerSpec(E2M1, PerGroup(32), scale_format=E8M0),
    QuantizerSpec(E2M1, PerChannel(), scale_format=E8M0),
    QuantizerSpec(E2M1, PerGroup(16), scale_format=E4M3),
]


def decompressed(spec, with_inputs):
    scheme, quantized = scheme_of(spec, SHAPE, with_inputs), quantize(WEIGHT, spec)
    state = {}
    for name, held in weight_tensors(quantized, scheme).items():
        tensor = torch.from_numpy(np.array(held.values, order="C"))
        state[name] = tensor.view(torch.float8_e4m3fn) if held.dtype else tensor
    told = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**scheme.weights))
    found = BaseCompressor.get_value_from_registry(scheme.form).decompress(state, told)["weight"]
    return scheme, found, torch.from_numpy(quantized.dequantize()).to(found.dtype)


@pytest.mark.choice(7)
@pytest.mark.parametrize("with_inputs", [False, True])
@pytest.mark.parametrize("spec", [*INTEGERS, *FLOATS], ids=str)
def test_the_package_decompresses_to_our_values_to_the_bit(spec, with_inputs):
    scheme, found, ours = decompressed(spec, with_inputs)
    assert torch.equal(found, ours)
    assert found.dtype == (torch.bfloat16 if "fp4" in scheme.form else torch.float32)


@pytest.mark.parametrize(
    ("spec", "form"),
    [
        (QuantizerSpec(IntFormat(4), PerGroup(32)), "pack-quantized"),
        (QuantizerSpec(IntFormat(8), PerChannel()), "int-quantized"),
        (QuantizerSpec(E4M3, PerChannel()), "float-quantized"),
        (QuantizerSpec(E2M1, PerGroup(32), scale_format=E8M0), "mxfp4-pack-quantized"),
        (QuantizerSpec(E2M1, PerGroup(16), scale_format=E4M3), "nvfp4-pack-quantized"),
        (QuantizerSpec(E4M3, PerGroup(32), scale_format=E8M0), "mxfp8-quantized"),
    ],
)
def test_each_format_is_that_of_its_layout(spec, form):
    assert decompressed(spec, with_inputs=True)[0].form == form


@functools.cache
def llama(tied=False):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=tied,
    )  # fmt: skip
    module = transformers.LlamaForCausalLM(config).eval()
    ids = torch.randint(0, 96, (3, 9))
    return from_module(module, example=ids), ids.numpy()


def test_transformers_runs_a_folder_of_several_schemes_as_the_plan_is_run_here(tmp_path):
    network, ids = llama()
    four = LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32), clipping=MinMSE()))
    both = LayerPlan(QuantizerSpec(IntFormat(8), PerChannel()), QuantizerSpec(IntFormat(8), symmetric=False))
    rules = {"*_proj": four, "*.mlp.*": both, "lm_head": LayerPlan(QuantizerSpec(E4M3, PerChannel()))}
    plan = network.freeze(QuantizationPlan.of(network.layers(), rules), data=ids)
    assert not [finding for finding in EXPORTER.check(network, plan) if finding.severity == "refused"]
    export = EXPORTER.write(network, plan, tmp_path / "model")
    assert not export.coverage.left_out
    decompressed, ran = EXPORTER.verify(network, plan, tmp_path / "model", data=ids).comparisons
    assert (decompressed.exact, decompressed.max_difference) == (True, 0.0)
    moved = np.abs(network.run(ids) - network.run(ids, plan)).max()
    assert ran.max_difference < 1e-5 * moved
    assert ran.same == 1.0


def test_packed_zero_points_are_read_by_the_package_and_not_by_transformers(tmp_path):
    network, ids = llama()
    plan = QuantizationPlan({"lm_head": LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32), symmetric=False))})
    (told,) = EXPORTER.check(network, plan)
    EXPORTER.write(network, plan, tmp_path / "model")
    found = EXPORTER.verify(network, plan, tmp_path / "model", data=ids)
    assert [(one.name, one.exact) for one in found.comparisons] == [("decompressed", True)]
    assert "transformers" in told.text
    assert [finding.severity for finding in found.findings] == ["warning"]


def test_packed_embeddings_are_read_by_the_package_and_not_by_transformers(tmp_path):
    network, ids = llama(tied=True)
    plan = QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32)))))
    told = {finding.layer: finding.text for finding in EXPORTER.check(network, plan)}
    assert "transformers" in told["model.embed_tokens"]
    assert "stored once more" in told["lm_head"]
    EXPORTER.write(network, plan, tmp_path / "model")
    found = EXPORTER.verify(network, plan, tmp_path / "model", data=ids)
    assert [(one.name, one.exact) for one in found.comparisons] == [("decompressed", True)]
    assert len(found.findings) == 1


def test_a_model_whose_tied_embedding_stays_in_floats_is_run_by_transformers(tmp_path):
    network, ids = llama(tied=True)
    plan = QuantizationPlan.of(network.layers(), {"*_proj": LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32)))})
    assert not EXPORTER.check(network, plan)
    EXPORTER.write(network, plan, tmp_path / "model")
    _, ran = EXPORTER.verify(network, plan, tmp_path / "model", data=ids).comparisons
    assert ran.max_difference < 1e-5 * np.abs(network.run(ids) - network.run(ids, plan)).max()


def test_config_json_says_what_the_layout_wants(tmp_path):
    network, _ = llama()
    names = [name for name in network.layers() if name.endswith("mlp.up_proj")]
    plan = QuantizationPlan(dict.fromkeys(names, LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32)))))
    to_compressed_tensors(network, plan, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    said = config["quantization_config"]
    assert (said["quant_method"], said["format"], said["quantization_status"]) == (
        "compressed-tensors", "pack-quantized", "compressed",
    )  # fmt: skip
    assert "lm_head" in said["ignore"]
    (group,) = said["config_groups"].values()
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32, "dynamic": False}
    assert (group["targets"], group["weights"], group["input_activations"]) == (names, weights, None)


def test_layers_that_vllm_fuses_are_named_when_their_schemes_differ():
    network, _ = llama()
    every = QuantizationPlan.of(network.layers(), {"*_proj": LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32)))})
    assert not EXPORTER.check(network, every)
    name = "model.layers.1.self_attn.k_proj"
    other = LayerPlan(QuantizerSpec(IntFormat(8), PerChannel()))
    (found,) = EXPORTER.check(network, QuantizationPlan({**every.layers, name: other}))
    assert (found.severity, found.layer) == ("warning", "model.layers.1.self_attn.q_proj")
    assert name in found.text


@pytest.mark.parametrize(
    "spec",
    [
        QuantizerSpec(NF4, PerGroup(32)),
        QuantizerSpec(IntFormat(12)),
        QuantizerSpec(BlockFormat("Q4_1")),
        QuantizerSpec(IntFormat(4), PerGroup(48, remainder="short")),
        QuantizerSpec(E2M1, PerGroup(32)),
    ],
)
def test_what_cannot_be_said_is_refused_with_the_nearest_that_can(spec, tmp_path):
    network, _ = llama()
    plan = QuantizationPlan({"lm_head": LayerPlan(spec)})
    (found,) = EXPORTER.check(network, plan)
    assert (found.severity, found.layer, found.role) == ("refused", "lm_head", "weight")
    with pytest.raises(QuantError, match="lm_head"):
        EXPORTER.write(network, plan, tmp_path / "model")
    assert not EXPORTER.check(network, nearest(plan, [found]))


def test_convolutions_are_refused_and_sixteen_bit_floats_are_written_as_they_are(tmp_path):
    network, _ = opened("fashion-cnn")
    plan = QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(QuantizerSpec(FP16))))
    assert {finding.layer for finding in EXPORTER.check(network, plan)} == {"conv1", "conv2", "conv3"}
    export = EXPORTER.write(network, plan, tmp_path / "model", as_float=True)
    assert [part.layer for part in export.coverage.written] == ["fc1", "fc2"]
    held = load("fashion-cnn").weight("fc1").astype(np.float16).astype(np.float32)
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(tmp_path / "model" / "model.safetensors")["fc1.weight"], held)


def test_dynamic_inputs_are_found_by_the_reader_and_said_to_be():
    network, _ = llama()
    spec = QuantizerSpec(IntFormat(8), PerToken())
    plan = LayerPlan(QuantizerSpec(IntFormat(8), PerChannel()), spec, dynamic=True)
    (found,) = EXPORTER.check(network, QuantizationPlan({"lm_head": plan}))
    assert (found.severity, found.role) == ("warning", "activation")
