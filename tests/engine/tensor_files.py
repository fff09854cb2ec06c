"""Files of tensors written by the formats' own libraries, with what was written."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping

import gguf
import numpy as np
import onnx
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors.torch import save_file

Written = Mapping[str, np.ndarray]
RNG = np.random.default_rng(0)
ARRAYS = {
    "conv.weight": RNG.standard_normal((4, 3, 2, 2)).astype(np.float32),
    "half": RNG.standard_normal((5, 64)).astype(np.float16),
    "bias": RNG.standard_normal(7).astype(np.float32),
    "steps": np.arange(6, dtype=np.int64),
}
BRAIN = torch.from_numpy(RNG.standard_normal((3, 32)).astype(np.float32)).to(torch.bfloat16)


def write_safetensors(path: pathlib.Path) -> Written:
    eight = BRAIN.to(torch.float8_e4m3fn)
    save_file({**tensors(), "brain": BRAIN, "eight": eight}, path, {"format": "pt"})
    return {**ARRAYS, "brain": BRAIN.float().numpy(), "eight": eight.float().numpy()}


def write_sharded(path: pathlib.Path) -> Written:
    """Write an index and the files it names."""
    places = {name: f"model-{1 + number % 2}-of-2.safetensors" for number, name in enumerate(ARRAYS)}
    for shard in set(places.values()):
        save_file({name: tensors()[name] for name in places if places[name] == shard}, path.parent / shard)
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return ARRAYS


def write_torch(path: pathlib.Path) -> Written:
    torch.save({"model": {**tensors(), "brain": BRAIN}, "epoch": 3, "lr": [0.1]}, path)
    return {f"model.{name}": array for name, array in (ARRAYS | {"brain": BRAIN.float().numpy()}).items()}


def write_onnx(path: pathlib.Path, external: bool = False) -> Written:
    first, *others = ARRAYS
    held = helper.make_node("Constant", [], [first], value=numpy_helper.from_array(ARRAYS[first]))
    stored = [numpy_helper.from_array(ARRAYS[name], name) for name in others]
    stored.append(
        helper.make_tensor("brain", onnx.TensorProto.BFLOAT16, BRAIN.shape, BRAIN.float().numpy().reshape(-1))
    )
    graph = helper.make_graph([held], "g", [], [onnx.ValueInfoProto(name=first)], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.data", size_threshold=0)
    return {**ARRAYS, "brain": BRAIN.float().numpy()}


def write_external(path: pathlib.Path) -> Written:
    return write_onnx(path, external=True)


def write_gguf(path: pathlib.Path) -> Written:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list([f"word {number}" for number in range(40)])
    writer.add_array("some.floats", [0.5, 1.5])
    kinds = {"q": gguf.GGMLQuantizationType.Q4_1, "k": gguf.GGMLQuantizationType.Q8_0}
    found = {name: array for name, array in ARRAYS.items() if array.dtype != np.int64}
    for name, array in found.items():
        writer.add_tensor(name, array)
    for name, kind in kinds.items():
        blocks = gguf.quantize(ARRAYS["half"].astype(np.float32), kind)
        writer.add_tensor(name, blocks, raw_dtype=kind)
        found[name] = gguf.dequantize(blocks, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


def qdq_model(
    codes: int, shape: tuple[int, ...], scales: tuple[int, ...], floats: int = TensorProto.FLOAT, **attributes: int
) -> onnx.ModelProto:
    """Return a graph whose output is what DequantizeLinear makes of stored codes "w"."""
    name, size, blocks = TensorProto.DataType.Name(codes), int(np.prod(shape)), int(np.prod(scales))
    if name.startswith("FLOAT"):
        numbers, zeros = RNG.standard_normal(size), np.zeros(blocks)
    else:
        low, high = (0, 1 << 2) if name.startswith("U") else (-2, 2)
        numbers, zeros = RNG.integers(low, high, size), RNG.integers(low, high, blocks)
    stored = [
        helper.make_tensor("w", codes, shape, numbers),
        helper.make_tensor("w_scale", floats, scales, RNG.uniform(0.01, 0.1, blocks)),
        helper.make_tensor("w_zero_point", codes, scales, zeros),
    ]
    node = helper.make_node("DequantizeLinear", [tensor.name for tensor in stored], ["y"], **attributes)
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", floats, shape)], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13)


def write_qdq(path: pathlib.Path) -> Written:
    model = qdq_model(TensorProto.INT8, (4, 6, 2, 2), (4,), axis=0)
    onnx.save(model, path)
    return {"w": np.asarray(ReferenceEvaluator(model).run(None, {})[0])}


def compressed(
    form: str, shape: tuple[int, int], scales: tuple[int, ...], dtype: torch.dtype, **weights: object
) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """Return what compressed-tensors stores of random weights, and what it makes of that."""
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
    draw = torch.Generator().manual_seed(0)
    state = {"weight": torch.randn(shape, generator=draw).to(dtype)}
    state["weight_scale"] = (torch.rand(scales, generator=draw) * 0.05 + 0.01).to(dtype)
    if not weights["symmetric"]:
        reach = 1 << int(str(weights["num_bits"])) - 1
        state["weight_zero_point"] = torch.randint(-reach, reach, scales, generator=draw).to(torch.int8)
    compressor = BaseCompressor.get_value_from_registry(form)
    stored = compressor.compress(state, scheme)
    values = compressor.decompress(stored, scheme)["weight"].float().numpy()
    return {f"m.{name}": tensor.contiguous() for name, tensor in stored.items()}, values


def write_compressed(path: pathlib.Path) -> Written:
    told = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 64}
    stored, values = compressed("pack-quantized", (13, 128), (13, 2), torch.bfloat16, **told)
    save_file(stored, path)
    return {"m.weight": values}


def write_npz(path: pathlib.Path) -> Written:
    np.savez(path, **ARRAYS, turned=ARRAYS["half"].T)
    return {**ARRAYS, "turned": ARRAYS["half"].T}


def write_packed(path: pathlib.Path) -> Written:
    np.savez_compressed(path, **ARRAYS)
    return ARRAYS


def write_npy(path: pathlib.Path) -> Written:
    np.save(path, ARRAYS["half"])
    return {path.stem: ARRAYS["half"]}


def tensors() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in ARRAYS.items()}


WRITERS: dict[str, Callable[[pathlib.Path], Written]] = {  # by the name of a file
    "one.safetensors": write_safetensors,
    "model.safetensors.index.json": write_sharded,
    "state.pt": write_torch,
    "graph.onnx": write_onnx,
    "apart.onnx": write_external,
    "codes.onnx": write_qdq,
    "blocks.gguf": write_gguf,
    "compressed.safetensors": write_compressed,
    "arrays.npz": write_npz,
    "packed.npz": write_packed,
    "array.npy": write_npy,
}
