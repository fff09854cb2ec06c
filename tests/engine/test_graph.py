"""Graphs of torch modules: each operator with what it takes, or what torch calls it."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from quant_engine import QuantError
from quant_engine.models import read_graph
from quant_engine.network import from_module, load
from tests.engine.foreign import ResidualCNN, exported, foreign_models


class Module(nn.Module):
    """A convolution with whatever follows it."""

    def __init__(self, then, **parts):
        super().__init__()
        self.conv, self.then = nn.Conv2d(3, 4, 3, padding=1), then
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return self.then(self, self.conv(x))


def read(then, **parts):
    """Return the nodes behind the convolution of an 8 × 8 picture: (op, inputs, shape, attributes)."""
    graph = read_graph(Module(then, **parts).eval(), torch.zeros(1, 3, 8, 8))
    nodes = [node for node in graph.nodes.values() if node.name not in ("x", "conv")]
    return [(node.op, node.inputs, node.shape, dict(node.attributes)) for node in nodes], graph.output


def test_modules_functions_and_methods_of_one_meaning_are_one_operator():
    relu, relu6 = {"low": 0.0, "high": math.inf}, {"low": 0.0, "high": 6.0}
    for then, expected in (
        (lambda m, x: nn.functional.relu(x), relu),
        (lambda m, x: torch.relu(x), relu),
        (lambda m, x: x.relu(), relu),
        (lambda m, x: x.relu_(), relu),
        (lambda m, x: m.part(x), relu),
        (lambda m, x: functional.relu6(x), relu6),
        (lambda m, x: torch.clamp(x, 0, 6), relu6),
        (lambda m, x: x.clamp(min=0, max=6), relu6),
        (lambda m, x: functional.hardtanh(x, 0.0, 6.0), relu6),
        (lambda m, x: m.other(x), relu6),
        (lambda m, x: x.clamp(max=1), {"low": -math.inf, "high": 1.0}),
    ):
        nodes, output = read(then, part=nn.ReLU(), other=nn.ReLU6())
        assert [node[0] for node in nodes] == ["clamp"], nodes
        assert nodes[0][1:] == (("conv",), (4, 8, 8), expected)
        assert output not in ("x", "conv")


def test_pools_have_windows_by_rows_and_columns():
    for then, op, shape, size, stride, padding in (
        (lambda m, x: functional.max_pool2d(x, 2), "max_pool", (4, 4, 4), (2, 2), (2, 2), (0, 0)),
        (lambda m, x: m.part(x), "max_pool", (4, 4, 8), (3, 3), (2, 1), (1, 1)),
        (lambda m, x: functional.avg_pool2d(x, (2, 4)), "average_pool", (4, 4, 2), (2, 4), (2, 4), (0, 0)),
        (lambda m, x: functional.adaptive_avg_pool2d(x, 1), "average_pool", (4, 1, 1), (8, 8), (8, 8), (0, 0)),
        (lambda m, x: functional.adaptive_avg_pool2d(x, (2, 8)), "average_pool", (4, 2, 8), (4, 1), (4, 1), (0, 0)),
        (lambda m, x: x.mean((2, 3)), "average_pool", (4,), (8, 8), (8, 8), (0, 0)),
        (lambda m, x: x.mean([-1, -2], keepdim=True), "average_pool", (4, 1, 1), (8, 8), (8, 8), (0, 0)),
    ):
        nodes, _ = read(then, part=nn.MaxPool2d(3, (2, 1), 1))
        assert nodes == [(op, ("conv",), shape, {"size": size, "stride": stride, "padding": padding})]


def test_reshapes_flatten_or_are_nothing():
    for then in (
        lambda m, x: x.flatten(1),
        lambda m, x: torch.flatten(x, 1),
        lambda m, x: x.view(x.size(0), -1),
        lambda m, x: x.reshape(x.shape[0], -1),
        lambda m, x: m.part(m.drop(x.contiguous())),
    ):
        nodes, _ = read(then, part=nn.Flatten(), drop=nn.Dropout())
        assert [node[:3] for node in nodes] == [("flatten", ("conv",), (256,))]
    nodes, output = read(lambda m, x: m.part(x), part=nn.Identity())
    assert (nodes, output) == ([], "conv")


def test_a_tensor_that_is_overwritten_is_what_it_becomes():
    for then in (
        lambda m, x: m.part(x) + x,
        lambda m, x: x + x.relu_(),
        lambda m, x: torch.relu_(x).add(x),
    ):
        (relu, added), _ = read(then, part=nn.ReLU(inplace=True))
        assert relu[0] == "clamp"
        assert added[:3] == ("add", (added[1][0],) * 2, (4, 8, 8))
        assert added[1][0] != "conv"
    (_, added), _ = read(lambda m, x: torch.relu(x) + x)
    assert added[1] == ("relu", "conv")


def test_what_is_not_known_has_torchs_name():
    for then, name in (
        (lambda m, x: torch.sigmoid(x), "sigmoid()"),
        (lambda m, x: x.softmax(1), "softmax()"),
        (lambda m, x: m.part(x), "BatchNorm2d"),
        (lambda m, x: m.other(x), "LeakyReLU"),
        (lambda m, x: torch.cat([x, x], 1), "cat()"),
        (lambda m, x: x + 1, "add()"),
        (lambda m, x: torch.add(x, x, alpha=2), "add()"),
        (lambda m, x: x + x.mean((2, 3), keepdim=True), "add()"),
        (lambda m, x: x.mean(1), "mean()"),
        (lambda m, x: functional.max_pool2d(x, 3, ceil_mode=True), "max_pool2d()"),
        (lambda m, x: functional.max_pool2d(x, 2, dilation=2), "max_pool2d()"),
        (lambda m, x: functional.avg_pool2d(x, 3, padding=1, count_include_pad=False), "avg_pool2d()"),
        (lambda m, x: functional.adaptive_avg_pool2d(x, 3), "adaptive_avg_pool2d()"),
        (lambda m, x: x.transpose(2, 3), "transpose()"),
        (lambda m, x: m.reflecting(x), "Conv2d"),
        (lambda m, x: m.own(x), "OwnConvolution"),
        (lambda m, x: functional.conv2d(x, m.conv.weight[:, :1].repeat(1, 4, 1, 1)), "conv2d()"),
    ):
        reflecting, own = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), OwnConvolution(4, 4, 1)
        nodes, _ = read(then, part=nn.BatchNorm2d(4), other=nn.LeakyReLU(), reflecting=reflecting, own=own)
        assert nodes[-1][0] == name


class OwnConvolution(nn.Conv2d):
    """A convolution of another kind."""

    def forward(self, x):
        return super().forward(x) * 2


def test_the_networks_graphs_run_through_their_layers_in_order():
    for name in ("fashion-cnn", "fashion-depthwise"):
        network = load(name)
        nodes = network.model.operators.nodes.values()
        layers = [node for node in nodes if node.op in ("conv2d", "linear")]
        assert [node.module for node in layers] == list(network.layers())
        assert [node.shape for node in layers] == [layer.output_shape for layer in network.layers().values()]
    residual = read_graph(ResidualCNN().eval(), torch.zeros(1, 3, 8, 8)).nodes
    assert [node.inputs for node in residual.values() if node.op == "add"] == [
        ("relu6", "blocks_0_second"),
        ("blocks_1_way_round", "blocks_1_second"),
        ("add_1", "blocks_2_second"),
    ]


def test_what_torch_cannot_record_is_refused():
    class Branching(Module):
        def forward(self, x):
            return self.conv(x) if x.sum() > 0 else x

    class Two(Module):
        def forward(self, x, y):
            return self.conv(x) + y

    for module, message in (
        (Branching(None), "cannot record what Branching computes"),
        (Two(None), "takes x, y"),
        (Module(lambda m, x: (x, x)), "several outputs"),
    ):
        with pytest.raises(QuantError, match=message):
            read_graph(module.eval(), torch.zeros(1, 3, 8, 8))


def test_the_range_of_what_a_layer_receives_is_read_off_the_operators():
    def ranges(then, **parts):
        module = Module(then, part=nn.Linear(4, 2), **parts)
        return read_graph(module.eval(), torch.zeros(1, 3, 8, 8)).input_ranges["part"]

    anything = (-math.inf, math.inf)
    for then, expected in (
        (lambda m, x: m.part(x.mean((2, 3))), anything),
        (lambda m, x: m.part(functional.relu(x).mean((2, 3))), (0, math.inf)),
        (lambda m, x: m.part(functional.relu6(functional.max_pool2d(x, 8)).flatten(1)), (0, 6)),
        (lambda m, x: m.part(functional.relu6(functional.relu(x) - 1).mean((2, 3))), (0, 6)),
        (lambda m, x: m.part(functional.avg_pool2d(x.clamp(2, 3), 8).flatten(1)), (2, 3)),
        (lambda m, x: m.part(functional.avg_pool2d(x.clamp(2, 3), 8, 8, 1, count_include_pad=True).flatten(1)), (0, 3)),
        (lambda m, x: m.part(torch.sigmoid(x.mean((2, 3)))), (0, 1)),
        (lambda m, x: m.part(functional.softmax(x.mean((2, 3)), dim=-1)), (0, 1)),
        (lambda m, x: m.part(2 * functional.relu6(x).mean((2, 3))), anything),
        (lambda m, x: m.part(x.mean((2, 3)).relu()) + m.part(x.mean((2, 3)).clamp(-2, 1)), (-2, math.inf)),
    ):
        assert ranges(then) == expected


def test_layers_behind_relu6_receive_0_to_6_in_a_module_and_in_its_onnx_graph(tmp_path):
    module, images = foreign_models()["residual"]
    onnx.save(exported(module.eval(), images), tmp_path / "residual.onnx")
    given, read = from_module(module, example=images), load(tmp_path / "residual.onnx")
    behind = {"blocks.0.first", "blocks.0.second", "blocks.1.second", "blocks.2.second"}
    for network, suffix in ((given, ""), (read, ".weight")):
        for name, layer in network.layers().items():
            known = name.removesuffix(suffix) in behind
            assert layer.input_range == ((0, 6) if known else (-math.inf, math.inf)), name
    received = given.capture(images.numpy(), given.layers())
    assert all(received[name].min() >= 0 and received[name].max() <= 6 for name in behind)
    assert min(received["blocks.1.first"].min(), received["head"].min()) < 0


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        ("y = Min(r, six)", (0, 6)),
        ("y = Min(six, r)", (0, 6)),
        ("y = Min(x, six)", (-math.inf, 6)),
        ("z = Max(x, ends) y = Min(z, six)", (-1, 6)),
        ("y = Min(x, six, ends)", (-math.inf, 2)),
        ("z = Neg(six) y = Max(r, z)", (0, math.inf)),
        ("z = Min(x, six) y = Max(z, r)", (0, math.inf)),
        ("y = Min(r, unknown)", (-math.inf, math.inf)),
        ("y = Max(r)", (0, math.inf)),
    ],
)
def test_the_smaller_and_the_greater_of_tensors_in_an_onnx_graph_lie_between_their_ends(tmp_path, operators, expected):
    """As torch 2.10 exports ReLU6."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 18]>
        agraph (float[1, 3, 8, 8] x) => (float[1, 2, 8, 8] out)
        <float[2, 3, 1, 1] weight = {{1, 2, 3, 4, 5, 6}}, float six = {{6}}, float[3, 1, 1] ends = {{-1, 0, 2}},
         float unknown = {{nan}}>
        {{ r = Relu(x) {operators} out = Conv(y, weight) }}""")
    onnx.save(model, tmp_path / "model.onnx")
    assert load(tmp_path / "model.onnx").layers()["weight"].input_range == expected


def test_a_module_whose_graph_cannot_be_read_still_has_its_layers():
    class Alone(nn.Linear):
        def forward(self, x):
            assert len(x) == 1
            return super().forward(x)

    layer = from_module(nn.Sequential(Alone(4, 2)), example=torch.zeros(1, 4)).layers()["0"]
    assert (layer.input_shape, layer.input_range) == ((4,), (-math.inf, math.inf))


def test_models_that_run_meanwhile_do_not_disturb_a_reading():
    """torch.fx replaces methods of every module while it records."""
    module, x = nn.Sequential(*(nn.Linear(4, 4) for _ in range(100))).eval(), torch.ones(1, 4)
    expected, stop = read_graph(module, x), threading.Event()
    other = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()

    def run() -> bool:
        while not stop.is_set():
            other(x)
        return True

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run) for _ in range(2)]
        found = list(pool.map(lambda _: read_graph(module, x), range(8)))
        stop.set()
    assert all(one.result() for one in running)
    assert found == [expected] * 8
