"""What other tools wrote becomes a plan with their scales, and goes back byte for byte where nothing was edited."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from quant_engine import IntFormat, LayerPlan, PerChannel, PerGroup, QuantError, QuantizationPlan, QuantizerSpec
from quant_engine.export import EXPORTERS, Part, export_plan, import_plan, to_aimet
from tests.engine.test_exporters import ACTIVATION, opened

WEIGHT = QuantizerSpec(IntFormat(8), PerChannel())


def exported_plan(folder, key):
    """Return a network, a fitted plan of different specs, and the file an exporter made of it."""
    network, inputs = opened("fashion-cnn")
    plans = {name: LayerPlan(WEIGHT, ACTIVATION) for name in network.layers()}
    plans["conv2"] = LayerPlan(QuantizerSpec(IntFormat(4, signed=False), symmetric=False))
    if key != "ort":
        plans["fc1"] = LayerPlan(QuantizerSpec(IntFormat(4), PerGroup(32, remainder="short")), ACTIVATION)
    plan = network.freeze(QuantizationPlan(plans), data=inputs)
    path = folder / f"a{EXPORTERS[key].ending}"
    EXPORTERS[key].write(network, plan, path)
    return network, plan, path


@pytest.mark.parametrize("key", ["aimet", "aimet2", "ort", "plan"])
def test_a_file_gives_back_the_plan_it_was_made_of(key, tmp_path):
    network, plan, path = exported_plan(tmp_path, key)
    found = import_plan(network, path)
    assert found.unmatched == ()
    for name, layer in plan.layers.items():
        for role in ("weight", "activation"):
            before, after = getattr(layer, role), getattr(found.plan[name], role)
            if before is None:
                assert after is None
                continue
            assert (after.spec.format, after.spec.symmetric) == (before.spec.format, before.spec.symmetric)
            np.testing.assert_array_equal(after.scale, before.scale)
            np.testing.assert_array_equal(after.zero_point, before.zero_point)


@pytest.mark.parametrize("key", ["aimet", "aimet2", "ort"])
@pytest.mark.parametrize("indent", [None, 1, 4])
def test_what_is_not_edited_is_written_byte_for_byte(key, indent, tmp_path):
    network, _, path = exported_plan(tmp_path, key)
    said = {
        "of_another_tool": [1.0, 2] if key != "ort" else [{"rmin": -1.0, "rmax": 1}],
        **json.loads(path.read_text()),
    }
    path.write_text(json.dumps(said, indent=indent) + "\n")
    found = import_plan(network, path)
    assert found.changed(network, found.plan) == ()
    export = export_plan(network, found.plan, tmp_path / "again.json", key, found)
    assert [one.read_bytes() for one in export.paths] == [path.read_bytes()]


@pytest.mark.parametrize("key", ["plan", "onnx"])
def test_plans_and_graphs_are_written_byte_for_byte_and_anew_when_they_are_edited(key, tmp_path):
    network, plan, path = exported_plan(tmp_path, key)
    if key == "onnx":
        proto = onnx.load(path)
        proto.doc_string = "of another tool"
        onnx.save(proto, path)
    else:
        path.write_text(json.dumps(json.loads(path.read_text())))
    found = import_plan(network, path)
    export = export_plan(network, found.plan, tmp_path / f"again{path.suffix}", key, found)
    olds = [path, *path.parent.glob(f"{path.name}.*")]
    assert [new.read_bytes() for new in export.paths] == [old.read_bytes() for old in olds]
    assert all(one.exact is not False for one in EXPORTERS[key].verify(network, plan, export.paths[0]).comparisons)
    edited = QuantizationPlan({**found.plan.layers, "fc2": LayerPlan(QuantizerSpec(IntFormat(4), PerChannel()))})
    export_plan(network, edited, tmp_path / f"edited{path.suffix}", key, found)
    again = import_plan(network, tmp_path / f"edited{path.suffix}").plan
    assert again["fc2"].weight.spec.format == IntFormat(4)
    np.testing.assert_array_equal(again["conv1"].weight.scale, plan["conv1"].weight.scale)


def test_an_override_is_edited_in_its_place(tmp_path):
    network, _, path = exported_plan(tmp_path, "ort")
    found = import_plan(network, path)
    layers = {**found.plan.layers, "conv1": LayerPlan(WEIGHT, found.plan["conv1"].activation), "fc2": LayerPlan()}
    layers["conv1"] = replace(layers["conv1"], weight=replace(found.plan["conv1"].weight.spec, format=IntFormat(4)))
    export_plan(network, QuantizationPlan(layers), tmp_path / "b.json", "ort", found)
    before, after = json.loads(path.read_text()), json.loads((tmp_path / "b.json").read_text())
    assert {*before} - {*after} == {found.names[Part("fc2", role)] for role in ("weight", "activation")}
    assert [name for name in after if after[name] != before[name]] == ["conv1.weight"]
    assert [*after] == [name for name in before if name in after]
    assert {one["quant_type"] for one in after["conv1.weight"]} == {"QInt4"}


def test_ranges_of_0_6_1_are_read_and_written_again(tmp_path):
    network, _ = opened("fashion-cnn")
    entries = [
        {"bitwidth": 8, "dtype": "int", "is_symmetric": "True", "max": 1.0, "min": -1.0, "offset": -128, "scale": s}
        for s in np.linspace(0.01, 0.02, 10).tolist()
    ]
    text = json.dumps({"activation_encodings": {}, "param_encodings": {"fc2.weight": entries}, "version": "0.6.1"})
    (tmp_path / "old.encodings").write_text(text)
    found = import_plan(network, tmp_path / "old.encodings")
    weight = found.plan["fc2"].weight
    assert weight.spec.format == IntFormat(8)
    np.testing.assert_array_equal(weight.scale[:, 0], np.linspace(0.01, 0.02, 10).astype(np.float32))
    found.write(network, found.plan, tmp_path / "again.encodings")
    assert (tmp_path / "again.encodings").read_text() == text
    with pytest.raises(QuantError, match="export the plan with to_aimet"):
        found.write(network, QuantizationPlan({}), tmp_path / "edited.encodings")


@pytest.mark.parametrize("key", ["aimet", "aimet2"])
def test_only_the_entries_of_edited_parts_change(key, tmp_path):
    network, _, path = exported_plan(tmp_path, key)
    said = json.loads(path.read_text())
    said["kept"] = {"by": "another tool"}
    foreign = {**(said.get("param_encodings") or said["encodings"])[-1], "name": "elsewhere"}
    said["param_encodings" if key == "aimet" else "encodings"].append(foreign)
    path.write_text(json.dumps(said, indent=4))
    found = import_plan(network, path)
    assert found.unmatched == ("elsewhere",)
    wider = replace(found.plan["conv1"].weight, scale=found.plan["conv1"].weight.scale * 2)
    layers = {**found.plan.layers, "conv1": replace(found.plan["conv1"], weight=wider)}
    assert found.changed(network, QuantizationPlan(layers)) == (Part("conv1", "weight"),)
    found.write(network, QuantizationPlan(layers), tmp_path / "b.encodings")
    again = json.loads((tmp_path / "b.encodings").read_text())
    lists = [key for key in ("param_encodings", "activation_encodings", "encodings") if key in said]
    different = [
        one["name"] for part in lists for one, other in zip(said[part], again[part], strict=True) if one != other
    ]
    assert different == ["conv1.weight"]
    assert again["kept"] == said["kept"]
    reread = import_plan(network, tmp_path / "b.encodings").plan
    np.testing.assert_array_equal(reread["conv1"].weight.scale, wider.scale)
    dynamic = QuantizationPlan({"fc2": LayerPlan(activation=ACTIVATION, dynamic=True)})
    with pytest.raises(QuantError, match="cannot express what was edited"):
        found.write(network, dynamic, tmp_path / "d.encodings")
    del layers["fc2"]
    found.write(network, QuantizationPlan(layers), tmp_path / "c.encodings")
    assert Part("fc2", "weight") in found.changed(network, QuantizationPlan(layers))
    assert import_plan(network, tmp_path / "c.encodings").plan["fc2"].weight is None


def test_other_files_and_scales_that_do_not_fit_are_refused(tmp_path):
    network, plan, path = exported_plan(tmp_path, "aimet")
    for text in ("no json", "[1]", '{"a": 1}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(QuantError):
            import_plan(network, tmp_path / "bad.json")
    said = json.loads(path.read_text())
    said["param_encodings"][0] |= {"scale": [0.5] * 3, "offset": [-128] * 3}
    path.write_text(json.dumps(said))
    with pytest.raises(QuantError, match="the weight of layer 'conv1'"):
        import_plan(network, path)
    with pytest.raises(QuantError, match="overwrite=True"):
        to_aimet(network, plan, path, as_float=True)


def test_a_quantized_graph_gives_back_codes_and_scales(tmp_path):
    network, plan, path = exported_plan(tmp_path, "onnx")
    found = import_plan(network, path)
    assert found.unmatched == ()
    for name, layer in plan.layers.items():
        codes = layer.weight.encode(network.weight(name).reshape(network.layers()[name].matrix_shape))
        np.testing.assert_array_equal(found.plan[name].weight.dequantize(), codes.dequantize())
        if layer.activation is not None:
            np.testing.assert_array_equal(found.plan[name].activation.scale, layer.activation.scale)
    EXPORTERS["onnx"].write(network, found.plan, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
