"""Every exporter refuses, writes and is read back as its table line promises, on built-in and foreign networks."""

import functools
import math

import numpy as np
import pytest

from quant_engine import IntFormat, LayerPlan, PerChannel, QuantError, QuantizationPlan, QuantizerSpec
from quant_engine.export import EXPORTERS, Part, nearest
from quant_engine.network import Network, from_module, load
from tests.engine.foreign import foreign_models

WEIGHT = QuantizerSpec(IntFormat(8), PerChannel())
ACTIVATION = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
NETWORKS = ("fashion-cnn", "residual", "encoder")
every_exporter = pytest.mark.parametrize("key", EXPORTERS)


@functools.cache
def opened(name):
    """Return a network and inputs for it."""
    if name in ("fashion-cnn", "fashion-depthwise"):
        network = load(name)
        return network, network.data()[0][:64]
    module, inputs = foreign_models()[name]
    return from_module(module, example=inputs), inputs.numpy()


def frozen_plan(network, inputs, weight=WEIGHT, activation=ACTIVATION):
    """Return a fitted plan for every layer: of embeddings, which receive integers, the weight alone."""
    plans = {
        name: LayerPlan(weight, None if layer.op == "embedding" else activation)
        for name, layer in network.layers().items()
    }
    return network.freeze(QuantizationPlan(plans), data=inputs)


def check_exporter(exporter, network: Network, inputs, folder):
    """What can be expressed is written whole, read back as it is, and never over another file."""
    plan = frozen_plan(network, inputs)
    if refused := [finding for finding in exporter.check(network, plan) if finding.severity == "refused"]:
        with pytest.raises(QuantError, match="as_float=True"):
            exporter.write(network, plan, folder / f"refused{exporter.ending}")
        assert not list(folder.iterdir())
        assert all(finding.layer in network.layers() for finding in refused)
        plan = network.freeze(nearest(plan, refused), data=inputs)
    path = folder / f"written{exporter.ending}"
    export = exporter.write(network, plan, path, as_float=True)
    assert export.size_bytes == sum(file.stat().st_size for file in export.paths) > 0
    parts = [Part(name, role) for name in network.layers() for role in ("weight", "activation")]
    cover = export.coverage
    assert sorted([*cover.written, *cover.left_out, *cover.unplanned]) == sorted(parts)
    before = {file: file.read_bytes() for file in export.paths}
    with pytest.raises(QuantError, match="overwrite=True"):
        exporter.write(network, plan, path, as_float=True)
    assert exporter.write(network, plan, path, overwrite=True, as_float=True).coverage == cover
    assert {file: file.read_bytes() for file in export.paths} == before
    assert not [file for file in folder.rglob("*") if file.name.endswith(".tmp")]
    found = exporter.verify(network, plan, path, data=inputs)
    assert found.comparisons
    for comparison in found.comparisons:
        assert comparison.exact is not False
        assert comparison.max_difference is None or math.isfinite(comparison.max_difference)
    with pytest.raises(QuantError, match="does not exist"):
        exporter.verify(network, plan, folder / "missing")


@every_exporter
@pytest.mark.parametrize("name", NETWORKS)
def test_every_exporter_keeps_its_promises(key, name, tmp_path):
    check_exporter(EXPORTERS[key], *opened(name), tmp_path)


@every_exporter
def test_an_exporter_refuses_layers_that_are_not_there(key, tmp_path):
    network, _ = opened("fashion-cnn")
    with pytest.raises(QuantError, match="no layer 'nowhere'"):
        EXPORTERS[key].check(network, QuantizationPlan({"nowhere": LayerPlan(WEIGHT)}))


@every_exporter
def test_a_folder_that_does_not_exist_is_refused_and_nothing_is_left(key, tmp_path):
    network, inputs = opened("fashion-cnn")
    with pytest.raises(QuantError, match=r"give (another path|a path in a folder)"):
        EXPORTERS[key].write(network, frozen_plan(network, inputs), tmp_path / "no" / "where" / "it", as_float=True)
    assert not list(tmp_path.iterdir())


def test_a_saved_plan_is_loaded_to_the_bit(tmp_path):
    network, inputs = opened("fashion-cnn")
    plan = frozen_plan(network, inputs)
    export = EXPORTERS["plan"].write(network, plan, tmp_path / "plan.json")
    again = QuantizationPlan.load(tmp_path / "plan.json")
    assert [path.name for path in export.paths] == ["plan.json", "plan.json.arrays.safetensors"]
    for name in network.layers():
        np.testing.assert_array_equal(again[name].weight.scale, plan[name].weight.scale)
