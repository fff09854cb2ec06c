"""Running an ONNX graph, or a part of one, in onnxruntime."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.extras import imported

MAX_THREADS = 4  # of a session: a graph has one for each layer, and each keeps its own
ERRORS_ONLY = 3


class OnnxSession:
    """A graph ready to run; safe to call from several threads."""

    def __init__(self, proto: Any, name: str, optimize: bool = True) -> None:
        """Compile a `ModelProto`, or the file of a path; messages call it `name`.

        Without `optimize` each node runs by itself.

        Raises:
            QuantError: if onnxruntime refuses it.
        """
        runtime = imported("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.enable_cpu_mem_arena = False  # it would keep what each layer needs at most, for every layer
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # they would starve each other
        options.intra_op_num_threads = min(MAX_THREADS, os.cpu_count() or 1)
        if not optimize:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        given = str(proto) if isinstance(proto, pathlib.Path) else proto.SerializeToString()
        try:
            self._session = runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        except _failures() as error:
            raise QuantError(f"onnxruntime does not run {name}: {error}") from error
        self._name = name

    @property
    def inputs(self) -> list[str]:
        """What it needs."""
        return [given.name for given in self._session.get_inputs()]

    @property
    def types(self) -> dict[str, str]:
        """The outputs' types, such as "tensor(float)"."""
        return {output.name: output.type for output in self._session.get_outputs()}

    def run(self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs by name.

        Raises:
            QuantError: if onnxruntime cannot compute them from these inputs.
        """
        try:
            results = self._session.run(list(outputs), dict(feed))
        except _failures() as error:
            shapes = ", ".join(f"{name!r} {array.shape}" for name, array in feed.items())
            raise QuantError(f"{self._name} cannot run on {shapes}: {error}") from error
        return dict(zip(outputs, results, strict=True))


def part_of(
    proto: Any, nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[str], stored: Sequence[Any] = ()
) -> Any:
    """Return a `ModelProto` of some nodes with the operators' versions of another; onnxruntime finds outputs' types."""
    onnx = imported("onnx", "onnx")
    ends = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = onnx.helper.make_graph(nodes, "part", inputs, ends, stored)
    return onnx.helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)


def _failures() -> tuple[type[Exception], ...]:
    state = imported("onnxruntime.capi.onnxruntime_pybind11_state", "onnx")
    kinds = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NoSuchFile",
        "NotImplemented",
        "RuntimeException",
    )
    return tuple(getattr(state, kind) for kind in kinds)
