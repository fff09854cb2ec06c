"""Readers: files of tensors, whose names, shapes and types are listed first and whose values are read when asked for.

Whoever wrote a file may be hostile: what its header says is checked against what is there, nothing in it is executed,
and nothing outside its folder is read.
"""

from quant_engine.readers.base import Kind, ReaderError, TensorFile, TensorInfo
from quant_engine.readers.onnx_file import holds_tensor, read_graph_file
from quant_engine.readers.opening import open_file
from quant_engine.readers.remote import is_url, open_url
from quant_engine.readers.stored import StoredQuantization

__all__ = [
    "Kind",
    "ReaderError",
    "StoredQuantization",
    "TensorFile",
    "TensorInfo",
    "holds_tensor",
    "is_url",
    "open_file",
    "open_url",
    "read_graph_file",
]
