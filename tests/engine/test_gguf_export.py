"""What the package gguf, and transformers with it, make of exported GGUF files."""

import functools
import itertools

import gguf
import numpy as np
import pytest
import torch
import transformers

from quant_engine import (
    BF16,
    E2M1,
    E8M0,
    FP16,
    FP32,
    NF4,
    BlockFormat,
    IntFormat,
    LayerPlan,
    MinMSE,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    QuantError,
    QuantizationPlan,
    QuantizerSpec,
    fit,
)
from quant_engine.export import EXPORTERS, nearest, to_gguf
from quant_engine.export.gguf_blocks import block_type, packed, rounded
from quant_engine.network import Network, from_module
from tests.engine.test_exporters import opened

EXPORTER = EXPORTERS["gguf"]
WEIGHT = (np.random.default_rng(0).standard_normal((6, 128)) * 0.05).astype(np.float32)
SHARING = (PerTensor(), PerChannel(), PerGroup(32), PerGroup(64), PerChannelGroup(3))
INTEGERS = [
    QuantizerSpec(IntFormat(bits, signed), sharing, symmetric, scale_format=scales)
    for bits, signed, sharing, symmetric, scales in itertools.product(
        range(2, 8), (True, False), SHARING, (True, False), (None, FP16)
    )
]
OTHERS = [
    *(QuantizerSpec(BlockFormat(name)) for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")),
    *(QuantizerSpec(E2M1, sharing, scale_format=E8M0) for sharing in (PerGroup(32), PerChannel())),
    *(QuantizerSpec(form) for form in (FP16, BF16, FP32)),
    QuantizerSpec(IntFormat(8), PerGroup(32), clipping=MinMSE()),
    QuantizerSpec(IntFormat(4), PerGroup(32), clipping=MinMSE(), scale_format=FP16),
]


@pytest.mark.choice(7)
@pytest.mark.parametrize("spec", [*INTEGERS, *OTHERS], ids=str)
def test_the_package_dequantizes_to_our_values_up_to_what_float16_moves_them(spec):
    quantizer = fit(WEIGHT, spec)
    kind = gguf.GGMLQuantizationType[block_type(spec)]
    found = gguf.dequantize(packed(quantizer.encode(WEIGHT)), kind).reshape(WEIGHT.shape)
    ours, moved = quantizer.fake_quantize(WEIGHT), rounded(quantizer)
    assert (moved == 0.0) == np.array_equal(found, ours)
    assert np.abs(found - ours).max() <= quantizer.scale.max() * (moved + 1e-5)


def test_a_tuned_range_of_four_bits_is_deployed_in_q4_0_as_it_is():
    spec = OTHERS[-1]
    tuned, plain = fit(WEIGHT, spec), fit(WEIGHT, QuantizerSpec(BlockFormat("Q4_0")))
    assert (block_type(spec), rounded(tuned)) == ("Q4_0", 0.0)
    found = gguf.dequantize(packed(tuned.encode(WEIGHT)), gguf.GGMLQuantizationType.Q4_0)
    theirs = gguf.dequantize(gguf.quantize(WEIGHT, gguf.GGMLQuantizationType.Q4_0), gguf.GGMLQuantizationType.Q4_0)
    np.testing.assert_array_equal(theirs, plain.fake_quantize(WEIGHT))
    assert np.square(found.reshape(WEIGHT.shape) - WEIGHT).mean() < np.square(theirs - WEIGHT).mean()


def test_tensors_under_a_networks_own_names_are_read_back(tmp_path):
    network, _ = opened("fashion-cnn")
    plan = QuantizationPlan({"fc1": LayerPlan(OTHERS[-1]), "conv3": LayerPlan(QuantizerSpec(BlockFormat("Q4_1")))})
    export = to_gguf(network, plan, tmp_path / "x.gguf")
    assert [part.layer for part in export.coverage.written] == ["conv3", "fc1"]
    held = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    assert (held["fc1.weight"].tensor_type.name, held["conv3.weight"].tensor_type.name) == ("Q4_0", "Q4_1")
    np.testing.assert_array_equal(held["conv1.weight"].data, network.weight("conv1"))
    assert any("no architecture" in finding.text for finding in export.findings)
    assert EXPORTER.verify(network, plan, tmp_path / "x.gguf").comparisons[0].exact


@pytest.mark.parametrize(
    ("layer", "spec", "told"),
    [
        ("conv1", QuantizerSpec(IntFormat(4)), "rows of 9 values"),
        ("fc1", QuantizerSpec(NF4, PerGroup(32)), "no type of GGUF"),
        ("fc1", QuantizerSpec(IntFormat(8), symmetric=False), "no type of GGUF"),
        ("fc1", QuantizerSpec(IntFormat(4), PerGroup(16)), "one scale each"),
        ("fc1", QuantizerSpec(E2M1, PerGroup(32)), "no type of GGUF"),
    ],
)
def test_what_no_type_holds_is_refused_with_the_nearest_that_one_does(layer, spec, told, tmp_path):
    network, _ = opened("fashion-cnn")
    plan = QuantizationPlan({layer: LayerPlan(spec)})
    found = [finding for finding in EXPORTER.check(network, plan) if finding.severity == "refused"]
    assert [finding.layer for finding in found] == [layer]
    assert told in found[0].text
    with pytest.raises(QuantError, match=layer):
        EXPORTER.write(network, plan, tmp_path / "x.gguf")
    again = EXPORTER.check(network, nearest(plan, found))
    assert not [finding for finding in again if finding.severity != "warning"]


def test_the_check_of_a_fitted_plan_says_how_far_float16_moves_its_levels():
    network, _ = opened("fashion-cnn")
    plan = network.freeze(QuantizationPlan({"fc1": LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32)))}))
    (found,) = (finding for finding in EXPORTER.check(network, plan) if finding.severity == "changed")
    assert f"{rounded(plan['fc1'].weight):.2g} of a step" in found.text
    assert found.nearest.scale_format == FP16


@functools.cache
def tiny_llama(folder):
    """Return a model that transformers loads from a GGUF file, whose queries have the row order of llama.cpp."""
    draw, width, blocks = np.random.default_rng(0), 64, 2
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    for name, value in {"block_count": blocks, "context_length": 32, "embedding_length": width, "vocab_size": 96,
                        "feed_forward_length": 96, "attention.head_count": 4, "attention.head_count_kv": 2,
                        "rope.dimension_count": 16}.items():  # fmt: skip
        writer.add_uint32(f"llama.{name}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_string("general.name", "tiny")
    shapes = {"token_embd": (96, width), "output_norm": (width,)}
    for block in range(blocks):
        shapes |= {
            f"blk.{block}.{name}": shape
            for name, shape in {"attn_q": (64, width), "attn_k": (32, width), "attn_v": (32, width),
                                "attn_output": (width, 64), "ffn_gate": (96, width), "ffn_up": (96, width),
                                "ffn_down": (width, 96), "attn_norm": (width,), "ffn_norm": (width,)}.items()
        }  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", (draw.standard_normal(shape) / 8 + (len(shape) == 1)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    module = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file="tiny.gguf", dtype=torch.float32)
    module.config.save_pretrained(folder)
    module.config.use_cache = False
    ids = torch.randint(0, 96, (3, 9), generator=torch.Generator().manual_seed(0))
    return from_module(module, example=ids), ids.numpy()


def test_a_model_of_a_gguf_file_is_written_whole_and_transformers_gives_our_outputs(tmp_path):
    network, ids = tiny_llama(tmp_path)
    rules = {
        "*_proj": LayerPlan(OTHERS[-1]),
        "*.down_proj": LayerPlan(QuantizerSpec(E2M1, PerGroup(32), scale_format=E8M0)),
        "*.v_proj": LayerPlan(QuantizerSpec(BlockFormat("Q5_1"))),
    }
    plan = network.freeze(QuantizationPlan.of(network.layers(), rules))
    assert not EXPORTER.check(network, plan)
    target = tmp_path / "out"
    target.mkdir()
    to_gguf(network, plan, target / "quantized.gguf")
    reader = gguf.GGUFReader(target / "quantized.gguf")
    assert reader.get_field("general.name").contents() == "tiny"
    assert {t.tensor_type.name for t in reader.tensors} == {"F32", "Q4_0", "MXFP4", "Q5_1"}
    dequantized, ran = EXPORTER.verify(network, plan, target / "quantized.gguf", data=ids).comparisons
    assert dequantized.exact
    assert ran.max_difference < 1e-5 * np.abs(network.run(ids) - network.run(ids, plan)).max()


def test_a_file_that_is_not_the_models_is_refused(tmp_path):
    network, _ = tiny_llama(tmp_path)
    name = "model.layers.0.self_attn.q_proj"
    other = Network(network.model.with_parameters({name: (network.weight(name) + 1, None)}))
    assert EXPORTER.check(network, QuantizationPlan({name: LayerPlan(OTHERS[-1])})) == []
    other.model.given = network.model.given
    with pytest.raises(QuantError, match="is not the weight"):
        to_gguf(other, QuantizationPlan({name: LayerPlan(OTHERS[-1])}), tmp_path / "out.gguf")
