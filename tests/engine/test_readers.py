"""Files of tensors are read as their own libraries wrote them, lazily; whatever else they are is refused."""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile

import gguf
import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from quant_engine import IntFormat, QuantError, QuantizerSpec, fake_quantize
from quant_engine.models import TensorModel
from quant_engine.network import Network
from quant_engine.readers import ReaderError, open_file
from tests.engine.tensor_files import ARRAYS, WRITERS, write_external, write_gguf, write_npz, write_safetensors


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read_as_its_own_library_wrote_it(name: str, tmp_path: pathlib.Path) -> None:
    written = WRITERS[name](tmp_path / name)
    file = open_file(tmp_path / name)
    assert set(file.names()) == set(written)
    for tensor, array in written.items():
        info, loaded = file.info(tensor), file.load(tensor)
        assert info.shape == loaded.shape == array.shape
        np.testing.assert_array_equal(loaded, array)
        assert info.is_real == (array.dtype.kind == "f")
        assert info.dtype == loaded.dtype.name or info.dtype in ("bfloat16", "float8_e4m3fn", info.codes)
        assert not loaded.flags.writeable
    with pytest.raises(QuantError, match="no tensor 'nowhere'"):
        file.load("nowhere")


@pytest.mark.parametrize("name", WRITERS)
def test_the_name_of_a_file_decides_nothing(name: str, tmp_path: pathlib.Path) -> None:
    WRITERS[name](tmp_path / name)
    (tmp_path / name).rename(tmp_path / "weights.bin")
    assert open_file(tmp_path / "weights.bin").names()


@pytest.mark.parametrize("name", WRITERS)
def test_reading_ahead_changes_nothing_of_what_is_read(name: str, tmp_path: pathlib.Path) -> None:
    written = WRITERS[name](tmp_path / name)
    file = open_file(tmp_path / name)
    for tensor in file.tensors:
        file.prefetch(tensor)
        np.testing.assert_array_equal(file.load(tensor), written[tensor])


def test_types_are_told_in_the_words_of_the_file(tmp_path: pathlib.Path) -> None:
    for name, tensor, stored in (
        ("one.safetensors", "brain", "BF16"),
        ("state.pt", "model.brain", "torch.bfloat16"),
        ("graph.onnx", "brain", "BFLOAT16"),
        ("blocks.gguf", "q", "Q4_1"),
        ("arrays.npz", "half", "float16"),
    ):
        WRITERS[name](tmp_path / name)
        assert open_file(tmp_path / name).info(tensor).stored == stored
    assert open_file(tmp_path / "blocks.gguf").info("q").kind == "quantized"


def test_values_stay_in_the_file_until_they_are_looked_at(tmp_path: pathlib.Path) -> None:
    """A sparse file of 40 GB opens within the memory of this test."""
    header = {
        f"layer.{number}": {
            "dtype": "F32",
            "shape": [1000, 1000],
            "data_offsets": [4000000 * number, 4000000 * (number + 1)],
        }
        for number in range(10_000)
    }
    text = json.dumps(header).encode()
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + 40_000_000_000)
    opened = open_file(path)
    assert len(opened.names()) == 10_000
    assert not opened.load("layer.9999").any()


def test_a_file_is_a_network_that_can_be_quantized_and_not_run(tmp_path: pathlib.Path) -> None:
    written = write_gguf(tmp_path / "blocks.gguf")
    network = Network(TensorModel(open_file(tmp_path / "blocks.gguf")))
    assert set(network.layers()) == set(written)
    assert network.layers()["bias"].matrix_shape == (1, 7)
    spec = QuantizerSpec(IntFormat(4))
    np.testing.assert_array_equal(fake_quantize(network.weight("q"), spec), fake_quantize(written["q"], spec))
    for refused in (lambda: network.run(np.ones((1, 4), np.float32)), lambda: network.evaluate()):
        with pytest.raises(QuantError, match="from_module"):
            refused()


def test_networks_of_one_content_in_two_places_are_two(tmp_path: pathlib.Path) -> None:
    digests = set()
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
        write_npz(tmp_path / place / "a.npz")
        digests.add(open_file(tmp_path / place / "a.npz").digest)
    assert len(digests) == 2


def safetensors(path: pathlib.Path, header: object, data: bytes = bytes(16), length: int | None = None) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def of(shape: list[int], first: int, last: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


HEADERS = {
    "overlapping": {"a": of([4], 0, 16), "b": of([2], 8, 16)},
    "a gap": {"a": of([2], 8, 16)},
    "a lie about the shape": {"a": of([5], 0, 16)},
    "an absurd shape": {"a": of([2**61, 2**61], 0, 16)},
    "a negative size": {"a": of([-4], 0, 16)},
    "cut off": {"a": of([400], 0, 1600)},
    "an unknown type": {"a": of([4], 0, 16, "F31")},
    "no tensor": {},
    "a list": {"a": [1, 2, 3]},
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_safetensors_header_that_lies_is_refused(case: str, tmp_path: pathlib.Path) -> None:
    safetensors(tmp_path / "x", HEADERS[case], b"" if case == "no tensor" else bytes(16))
    with pytest.raises(ReaderError, match=r"x (is no|holds no)"):
        open_file(tmp_path / "x")


def test_a_header_longer_than_the_file_is_refused(tmp_path: pathlib.Path) -> None:
    safetensors(tmp_path / "x", {"a": of([4], 0, 16)}, length=1 << 60)
    with pytest.raises(ReaderError, match="is no safetensors file"):
        open_file(tmp_path / "x")


@pytest.mark.parametrize("shard", ["../secret", "/etc/passwd", "..", "sub/file", "a\\b", "a\0b", ""])
def test_an_index_leads_to_nothing_outside_its_folder(shard: str, tmp_path: pathlib.Path) -> None:
    write_safetensors(tmp_path / "secret")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "index.json").write_text(json.dumps({"weight_map": {"bias": shard}}))
    with pytest.raises(ReaderError, match="must lie beside it"):
        open_file(tmp_path / "inner" / "index.json")


def test_an_index_whose_files_are_not_as_it_says_is_refused(tmp_path: pathlib.Path) -> None:
    write_safetensors(tmp_path / "one")
    for index, said in (
        ({"weight_map": {"a": "two"}}, "'two', which is not beside it"),
        ({"weight_map": {"a": "one"}}, "where it is not"),
        ({"weight_map": {}}, "holds no tensor"),
        ({"weight_map": [1]}, "has no weight_map"),
        ({}, "has no weight_map"),
    ):
        (tmp_path / "index").write_text(json.dumps(index))
        with pytest.raises(ReaderError, match=said):
            open_file(tmp_path / "index")


class Runs:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.path,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: pathlib.Path) -> None:
    made, path = tmp_path / "made", tmp_path / "x.pt"
    torch.save({"weight": torch.ones(3), "extra": Runs(str(made))}, path)
    with pytest.raises(ReaderError, match=r"calls posix\.mkdir.*never run; save the state dict"):
        open_file(path)
    path.write_bytes(pickle.dumps(Runs(str(made))))
    with pytest.raises(ReaderError, match="bare pickle"):
        open_file(path)
    np.save(tmp_path / "x.npy", np.array([Runs(str(made))], object))
    with pytest.raises(ReaderError, match="Python objects"):
        open_file(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", a=ARRAYS["bias"], b=np.array([Runs(str(made))], object))
    with pytest.raises(ReaderError, match="Python objects"):
        open_file(tmp_path / "x.npz")
    assert not made.exists()


def test_a_pickle_cannot_ask_for_memory(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"a": torch.ones(1).expand(1 << 40)}, path)
    with pytest.raises(ReaderError, match="more than 100 : 1"):
        open_file(path)
    torch.save(torch.ones(1).to_sparse(), path)
    with pytest.raises(ReaderError, match="sparse"):
        open_file(path)
    torch.save({"a": bytearray(8)}, path)
    with pytest.raises(ReaderError, match="bytearray"):
        open_file(path)
    deep: dict[str, object] = {"a": torch.ones(1)}
    for _ in range(30):
        deep = {"left": deep, "right": deep}
    torch.save(deep, path)
    with pytest.raises(ReaderError, match="too many dictionaries"):
        open_file(path)


def test_a_module_that_was_saved_whole_is_refused_with_the_remedy(tmp_path: pathlib.Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
    with pytest.raises(ReaderError, match=r"calls torch\.nn\.modules\.linear\.Linear.*module\.state_dict\(\)"):
        open_file(tmp_path / "x.pt")


def test_a_zip_bomb_is_refused_by_name_size_and_ratio(tmp_path: pathlib.Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", zeros=np.zeros(17 << 20, np.float32))
    with pytest.raises(
        ReaderError, match=r"'zeros\.npy' takes [\d,]+ bytes and expands to 71,303,296.*numpy\.savez, wi"
    ):
        open_file(tmp_path / "x.npz")
    np.savez_compressed(tmp_path / "y.npz", zeros=np.zeros(15 << 20, np.float32))
    assert not open_file(tmp_path / "y.npz").load("zeros").any()


def test_an_array_that_claims_more_than_it_has_is_refused(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 2), np.float32))
    content = (tmp_path / "x.npy").read_bytes()
    for claimed in (b"(2, 9)", b"(9, 9)", b"(-2,2)"):
        (tmp_path / "x.npy").write_bytes(content.replace(b"(2, 2)", claimed))
        with pytest.raises(ReaderError):
            open_file(tmp_path / "x.npy")
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.write(tmp_path / "x.npy", "x.npy")
        with pytest.raises(ReaderError):
            open_file(tmp_path / "x.npz")


def external(path: pathlib.Path, **said: str) -> None:
    """Write a graph that keeps a tensor elsewhere, as it says."""
    write_external(path)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = said.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("reader", ["open_file", "load"])
@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"location": "../secret"}, "outside its folder"),
        ({"location": "/etc/passwd"}, "outside its folder"),
        ({"location": "a/../../secret"}, "outside its folder"),
        ({"location": "link"}, "outside its folder"),
        ({"location": ""}, "outside its folder"),
        ({"location": "nowhere"}, "which is not there"),
        ({"offset": "1000000"}, "do not hold"),
        ({"offset": "-64"}, "do not hold"),
        ({"length": "1"}, "do not hold"),
        ({"length": "many"}, "invalid literal"),
    ],
)
def test_tensors_of_a_graph_are_read_from_its_own_folder_alone(
    said: dict[str, str], answer: str, reader: str, tmp_path: pathlib.Path
) -> None:
    from quant_engine.network import load

    (tmp_path / "secret").write_bytes(bytes(10_000))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    external(folder / "x.onnx", **said)
    with pytest.raises(ReaderError, match=answer):
        (open_file if reader == "open_file" else load)(folder / "x.onnx")


@pytest.mark.parametrize("dims", [[2**40, 2**40], [-1, 4], [3]])
def test_a_graph_whose_tensor_is_not_of_its_shape_is_refused(dims: list[int], tmp_path: pathlib.Path) -> None:
    for raw in (True, False):
        tensor = helper.make_tensor("w", 1, [4], np.ones(4, np.float32).tobytes() if raw else [1.0] * 4, raw)
        del tensor.dims[:]
        tensor.dims.extend(dims)
        graph = helper.make_graph([], "g", [], [], [tensor])
        (tmp_path / "x").write_bytes(helper.make_model(graph).SerializeToString())
        with pytest.raises(ReaderError, match="save"):
            open_file(tmp_path / "x")


def test_a_graph_without_a_tensor_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x").write_bytes(helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString())
    with pytest.raises(ReaderError, match="holds no tensor"):
        open_file(tmp_path / "x")


def number(place: bytes, form: str, value: int, after: int = 0):
    """Return what puts a number behind a text in a file."""

    def change(content: bytes) -> bytes:
        at = content.index(place) + len(place) + after
        return content[:at] + struct.pack(form, value) + content[at + struct.calcsize(form) :]

    return change


GGUF = {
    "tensors without end": number(b"GGUF", "<Q", 1 << 60, 4),
    "entries without end": number(b"GGUF", "<Q", 1 << 60, 12),
    "a list without end": number(b"tokenizer.ggml.tokens", "<Q", 1 << 60, 8),
    "numbers without end": number(b"some.floats", "<Q", 1 << 60, 8),
    "axes without end": number(b"conv.weight", "<I", 1 << 30),
    "an absurd shape": number(b"conv.weight", "<Q", 1 << 60, 4),
    "a tensor over another": number(b"conv.weight", "<Q", 1 << 20, 4 + 4 * 8 + 4),
    "an unknown type": number(b"conv.weight", "<I", 9999, 4 + 4 * 8),
    "big endian": number(b"GGUF", ">I", 3),
    "cut off in the header": lambda content: content[:200],
    "cut off in the data": lambda content: content[:-64],
}


@pytest.mark.parametrize("case", GGUF)
def test_a_gguf_that_leads_out_of_the_file_is_refused(case: str, tmp_path: pathlib.Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    (tmp_path / "x.gguf").write_bytes(GGUF[case]((tmp_path / "x.gguf").read_bytes()))
    with pytest.raises(ReaderError, match=r"x\.gguf"):
        open_file(tmp_path / "x.gguf")


def test_every_type_that_gguf_dequantizes_is_read(tmp_path: pathlib.Path) -> None:
    from gguf.quants import _type_traits

    draw, written = np.random.default_rng(1), {}
    writer = gguf.GGUFWriter(tmp_path / "x", "llama")
    for kind in _type_traits:
        if kind is not gguf.GGMLQuantizationType.BF16:
            block, size = gguf.GGML_QUANT_SIZES[kind]
            blocks = draw.integers(0, 60, (2, 2 * size), dtype=np.uint8)  # small bytes: no scale is NaN
            writer.add_tensor(kind.name, blocks, raw_dtype=kind)
            written[kind.name] = gguf.dequantize(blocks, kind)
            assert written[kind.name].shape == (2, 2 * block)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = open_file(tmp_path / "x")
    for name, values in written.items():
        np.testing.assert_array_equal(file.load(name), values)
        assert file.info(name).stored == name


@pytest.mark.parametrize("content", [b"", b"\0", b"a text\n", b"PK\3\4", b"{}", b"\x89PNG\r\n\x1a\n" + bytes(99)])
def test_what_is_no_file_of_tensors_is_refused(content: bytes, tmp_path: pathlib.Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ReaderError):
        open_file(tmp_path / "x")


def test_what_is_no_file_is_refused(tmp_path: pathlib.Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", "a\0b"):
        with pytest.raises(QuantError):
            open_file(path)


def test_a_name_that_no_screen_shows_is_refused(tmp_path: pathlib.Path) -> None:
    torch.save({"a\ud800": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(QuantError, match="no Unicode text") as refused:
        open_file(tmp_path / "state.pt")
    str(refused.value).encode()


def test_names_and_types_need_no_torch(tmp_path: pathlib.Path) -> None:
    write_safetensors(tmp_path / "x.safetensors")
    program = (
        "import sys; from quant_engine.readers import open_file; open_file(sys.argv[1]); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "x.safetensors")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
