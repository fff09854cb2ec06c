"""Stored ranges of activations over their values: against onnxruntime's own outputs and numpy."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from quant_engine.network import Network, from_module, load
from quant_engine.studies import range_use, stored_ranges
from quant_engine.tasks import Agreement
from tests.engine.foreign import exported, sequential_cnn

X = np.random.default_rng(0).standard_normal((16, 3, 8, 8), np.float32)
SCALE, OFFSET = 0.01, -20


def ranged(folder: pathlib.Path) -> tuple[Network, list[str]]:
    """Return a network from an ONNX file with encodings of what each layer receives, and the names of these tensors."""
    torch.manual_seed(0)
    proto = exported(sequential_cnn().eval(), torch.from_numpy(X[:2]))
    onnx.save(proto, folder / "tiny.onnx")
    received = [node.input[0] for node in proto.graph.node if node.op_type in ("Conv", "Gemm")]
    stored = [{"bitwidth": 8, "dtype": "int", "scale": SCALE, "offset": OFFSET}]
    said = dict.fromkeys([*received, "nowhere"], stored)
    (folder / "tiny.encodings").write_text(
        json.dumps({"version": "0.6.1", "activation_encodings": said, "param_encodings": {}})
    )
    return load(folder / "tiny.onnx", Agreement({"test": X})), received


def test_each_range_stands_over_what_its_layer_receives(tmp_path: pathlib.Path) -> None:
    network, received = ranged(tmp_path)
    found = {one.tensor: one for one in stored_ranges(network.model)}
    assert list(found) == [*received, "nowhere"]
    assert [found[name].layer for name in received] == list(network.layers())
    assert found["nowhere"].layer is None
    proto = onnx.load(tmp_path / "tiny.onnx")
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in received[1:])
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    given = session.get_inputs()[0].name
    values = {given: X, **dict(zip(received[1:], session.run(received[1:], {given: X}), strict=True))}
    low, high = SCALE * OFFSET, SCALE * (255 + OFFSET)
    for name in received:
        use, x = range_use(network, found[name], "test", 64), values[name]
        assert (found[name].low, found[name].high) == pytest.approx((low, high))
        assert use.outside_share == pytest.approx(float(((x < low - 1e-6) | (x > high + 1e-6)).mean()))
        inside = np.clip(x, low, high)
        assert use.used_share == pytest.approx((inside.max() - inside.min()) / (high - low), rel=1e-5)
        assert (use.values.lo, use.values.hi) == pytest.approx((x.min(), x.max()), rel=1e-5)


def test_a_model_from_no_file_has_none() -> None:
    assert stored_ranges(from_module(sequential_cnn()).model) == ()
