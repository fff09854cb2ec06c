"""`load` opens what people have: a built-in's name, an ONNX file, a folder of transformers; and says what it cannot."""

from __future__ import annotations

import copy
import sys

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

import quant_engine as qe
from quant_engine.network import from_module, load
from quant_engine.tasks import Classification
from tests.engine.suites import check_executor, check_model

W4 = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0))
IDS = torch.tensor([[1, 5, 2, 9, 9], [3, 4, 8, 7, 1], [6, 6, 0, 2, 3]])


def tiny_graph():
    rng = np.random.default_rng(0)
    stored = [numpy_helper.from_array(rng.standard_normal((6, 4), np.float32), "w")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 6), ("y", 4))]
    graph = helper.make_graph([node], "tiny", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def small_llama():
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    return transformers.LlamaForCausalLM(config).eval()


def small_bert():
    torch.manual_seed(2)
    config = transformers.BertConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
    )
    return transformers.BertModel(config).eval()


def test_a_file_is_a_network_with_the_task_it_is_given(tmp_path):
    onnx.save(tiny_graph(), tmp_path / "tiny.onnx")
    x = np.random.default_rng(1).standard_normal((10, 6), np.float32)
    labels = (x @ numpy_helper.to_array(tiny_graph().graph.initializer[0])).argmax(1)
    network = load(tmp_path / "tiny.onnx", Classification({"test": lambda: (x, labels)}))
    assert (network.name, list(network.layers())) == ("tiny", ["w"])
    assert network.evaluate().value == 1
    assert load(str(tmp_path / "tiny.onnx")).task is None


def test_a_task_tells_the_shapes_that_a_graph_leaves_open(tmp_path):
    rng = np.random.default_rng(0)
    stored = [numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3), np.float32), "w")]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["y"])]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "height", "width"]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(nodes, "open", ends[:1], ends[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "o.onnx")
    x, labels = rng.standard_normal((6, 3, 9, 12), np.float32), np.zeros(6, np.int64)
    a8 = qe.QuantizerSpec(qe.IntFormat(8, signed=False), symmetric=False)
    plan = qe.QuantizationPlan({"w": qe.LayerPlan(W4, a8)})
    with pytest.raises(qe.QuantError, match="not known; give from_module an example of its inputs, or load a task"):
        _ = load(tmp_path / "o.onnx").layers()["w"].input_shape
    network = load(tmp_path / "o.onnx", Classification({"calibration": lambda: (x, labels)}))
    assert network.layers()["w"].multiplications == 4 * 27 * 7 * 10
    low, high = x.min(), x.max()
    assert network.freeze(plan)["w"].activation.scale.item() == pytest.approx((high - low) / 255, rel=1e-6)


def test_tensors_stored_beside_the_file_are_found(tmp_path):
    onnx.save(tiny_graph(), tmp_path / "big.onnx", save_as_external_data=True, location="big.bin", size_threshold=0)
    assert (tmp_path / "big.bin").exists()
    expected = numpy_helper.to_array(tiny_graph().graph.initializer[0]).T
    np.testing.assert_array_equal(load(tmp_path / "big.onnx").weight("w"), expected)


def test_a_built_in_may_be_given_another_task():
    own = load("fashion-cnn")
    images, labels = (part[:50] for part in own.data("test"))
    other = load("fashion-cnn", Classification({"test": lambda: (images, labels)}))
    assert other.evaluate().total == 50
    assert other.digest == own.digest


@torch.no_grad()
def test_a_causal_language_model_is_loaded_from_its_folder_in_float32(tmp_path):
    module = small_llama()
    for parameter in module.parameters():
        parameter.copy_(parameter.bfloat16())
    copy.deepcopy(module).to(torch.bfloat16).save_pretrained(tmp_path / "llama")
    network = load(tmp_path / "llama")
    layers = network.layers()
    assert network.name == "llama"
    assert layers["lm_head"].tied_to == "model.embed_tokens"
    assert not any(layer.has_bias for layer in layers.values())
    assert layers["model.layers.1.mlp.down_proj"].tensor == "model.layers.1.mlp.down_proj.weight"
    assert [stage.name for stage in network.executor.trace.stages] == ["model.layers.0", "model.layers.1"]
    np.testing.assert_array_equal(network.run(IDS.numpy()), module(IDS, use_cache=False).logits)
    check_model(network.model, IDS)


@torch.no_grad()
def test_an_encoder_takes_its_inputs_by_name(tmp_path):
    module = small_bert()
    module.save_pretrained(tmp_path / "bert")
    network = load(tmp_path / "bert")
    assert network.layers()["embeddings.word_embeddings"].op == "embedding"
    mask = torch.ones_like(IDS)
    mask[0, 2:] = 0
    found = network.run({"input_ids": IDS.numpy(), "attention_mask": mask.numpy()})
    expected = module(input_ids=IDS, attention_mask=mask)
    assert set(found) == {"last_hidden_state", "pooler_output"}
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-6)
    plan = qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(W4)))
    assert np.abs(network.run(IDS.numpy(), plan)["last_hidden_state"] - module(IDS)[0].numpy()).max() > 1e-3


def test_layers_of_transformers_own_kinds_are_layers(tmp_path):
    """GPT-2 stores its linear layers as (in, out), in a class of transformers."""
    config = transformers.GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=4, n_positions=16)
    config.bos_token_id = config.eos_token_id = 0
    torch.manual_seed(3)
    module = transformers.GPT2LMHeadModel(config).eval()
    module.save_pretrained(tmp_path / "gpt2")
    network = load(tmp_path / "gpt2")
    layer = network.layers()["transformer.h.0.mlp.c_fc"]
    assert (layer.op, layer.shape) == ("linear", (64, 16))
    np.testing.assert_array_equal(network.weight(layer.name), module.transformer.h[0].mlp.c_fc.weight.T.detach())
    with torch.no_grad():
        np.testing.assert_allclose(network.run(IDS.numpy()), module(IDS).logits, atol=1e-5)
    check_executor(network.executor, network.model, IDS)


def test_what_cannot_be_loaded_is_refused_with_what_to_do(tmp_path):
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    np.savez(tmp_path / "arrays.npz", w=np.zeros(3))
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    (tmp_path / "state.pt").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07 no graph")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text('{"model_type": "no such model"}')
    (tmp_path / "weightless").mkdir()
    small_bert().config.save_pretrained(tmp_path / "weightless")
    for name in ("model.safetensors", "arrays.npz", "weights.gguf", "state.pt"):
        with pytest.raises(qe.QuantError, match=r"holds tensors, but not the graph .* give the module to from_module"):
            load(tmp_path / name)
    for name, reason in (
        ("notes.txt", "neither an .onnx file nor a folder"),
        ("broken.onnx", "is no ONNX file that can be read"),
        ("bad", "transformers cannot load"),
        ("weightless", "transformers cannot load"),
        (".", "has no config.json"),
        ("resnet", "neither a built-in network"),
    ):
        with pytest.raises(qe.QuantError, match=reason):
            load(tmp_path / name)
    for wrong in (None, 5, ["fashion-cnn"]):
        with pytest.raises(qe.QuantError, match="give a built-in's name or a path"):
            load(wrong)


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    onnx.save(tiny_graph(), tmp_path / "tiny.onnx")
    small_bert().save_pretrained(tmp_path / "bert")
    for package, path, extra in (
        ("onnx", "tiny.onnx", "onnx"),
        ("onnxruntime", "tiny.onnx", "onnx"),
        ("transformers", "bert", "transformers"),
    ):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)
            with pytest.raises(qe.QuantError, match=rf'{package} is not installed.*"quant-explorer\[{extra}\]"'):
                load(tmp_path / path).run(np.zeros((1, 6), np.float32))


def test_an_example_may_be_a_mapping_of_named_inputs():
    module = small_bert()
    network = from_module(module, example={"input_ids": IDS, "attention_mask": torch.ones_like(IDS)})
    assert network.layers()["encoder.layer.0.output.dense"].input_shape == (5, 24)
    assert network.layers()["encoder.layer.0.output.dense"].multiplications == 5 * 24 * 16
