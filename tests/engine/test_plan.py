"""Plans: which quantizer each layer gets, saved and read back to the bit."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quant_engine as qe
from tests.engine.strategies import arrays, specs

SPEC = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0), symmetric=False)
WEIGHT = np.random.default_rng(4).standard_normal((6, 5)).astype(np.float32)


def same(one, other):
    if isinstance(one, qe.QuantizerSpec | None):
        return one == other
    if isinstance(one, np.ndarray):
        return one.tobytes() == other.tobytes() and one.shape == other.shape and one.dtype == other.dtype
    parts = ("scale", "zero_point", *(("codes",) if isinstance(one, qe.QuantizedTensor) else ()))
    return one.spec == other.spec and all(same(getattr(one, part), getattr(other, part)) for part in parts)


def assert_same_plan(one, other):
    assert list(one.layers) == list(other.layers)
    for name, plan in one.layers.items():
        assert same(plan.weight, other[name].weight)
        assert same(plan.activation, other[name].activation)
        assert same(plan.bias, other[name].bias)
        assert plan.dynamic == other[name].dynamic


def fitted_or_not(spec, x, fitted):
    return qe.fit(x, spec) if fitted else spec


quantizers = st.builds(fitted_or_not, specs(), arrays((3, 4)), st.booleans()) | st.none()
weights = quantizers | st.builds(lambda x, spec: qe.quantize(x, spec), arrays((3, 4)), specs())
biases = arrays((3,)) | st.none()
layer_plans = st.builds(qe.LayerPlan, weights, quantizers, st.just(False), biases) | st.builds(
    qe.LayerPlan, weights, specs() | st.none(), st.just(True), biases
)


@settings(max_examples=20)
@given(st.dictionaries(st.text(max_size=8), layer_plans, max_size=2))
def test_a_plan_comes_back_from_its_files_to_the_bit(tmp_path_factory, layers):
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    plan = qe.QuantizationPlan(layers)
    plan.save(path)
    assert_same_plan(plan, qe.QuantizationPlan.load(path))


def test_only_fitted_arrays_need_a_second_file(tmp_path):
    qe.QuantizationPlan({"a": qe.LayerPlan(SPEC)}).save(tmp_path / "specs.json")
    qe.QuantizationPlan({"a": qe.LayerPlan(qe.fit(WEIGHT, SPEC))}).save(tmp_path / "fitted.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fitted.json", "fitted.safetensors", "specs.json"]


def test_a_plan_is_frozen_once_everything_is_fitted():
    fitted = qe.fit(WEIGHT, SPEC)
    assert qe.QuantizationPlan().frozen
    assert qe.QuantizationPlan({"a": qe.LayerPlan(fitted), "b": qe.LayerPlan()}).frozen
    assert not qe.QuantizationPlan({"a": qe.LayerPlan(fitted), "b": qe.LayerPlan(SPEC)}).frozen
    assert not qe.QuantizationPlan({"a": qe.LayerPlan(fitted, activation=SPEC)}).frozen
    assert qe.QuantizationPlan({"a": qe.LayerPlan(fitted, activation=SPEC, dynamic=True)}).frozen


def test_a_layer_that_is_not_named_stays_in_floating_point():
    assert qe.QuantizationPlan({"a": qe.LayerPlan(SPEC)})["b"].weight is None


def test_a_plan_does_not_follow_the_mapping_it_was_made_from():
    layers = {"a": qe.LayerPlan(SPEC)}
    plan = qe.QuantizationPlan(layers)
    layers["b"] = qe.LayerPlan()
    assert list(plan.layers) == ["a"]
    with pytest.raises(TypeError):
        plan.layers["b"] = qe.LayerPlan()


def test_a_range_is_either_fixed_or_found_on_each_input():
    with pytest.raises(qe.QuantError, match=r"fitted to \(6, 1\) blocks, but dynamic=True.*give its spec"):
        qe.LayerPlan(activation=qe.fit(WEIGHT, SPEC), dynamic=True)


@pytest.mark.parametrize("role", ["weight", "activation"])
def test_what_is_no_quantizer_is_refused_by_role(role):
    with pytest.raises(qe.QuantError, match=f"{role}=4 is no QuantizerSpec"):
        qe.LayerPlan(**{role: 4})


def test_what_is_no_layer_plan_is_refused_by_layer():
    with pytest.raises(qe.QuantError, match=r"layer 'conv1'.*give a LayerPlan"):
        qe.QuantizationPlan({"conv1": SPEC})


ENTRY = {"spec": json.loads(SPEC.to_json()), "fitted": False}
del ENTRY["spec"]["schema"]


def plan_text(weight, schema=1):
    return json.dumps({"schema": schema, "layers": {"a": {"weight": weight}}})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a complete"),
        ("[]", "not a complete"),
        ("[" * 100_000, "not a complete"),
        ("{}", "not a complete.*schema"),
        ('{"schema": 1}', "not a complete.*layers"),
        ('{"schema": 1, "layers": []}', "not a complete"),
        ('{"schema": 1, "layers": {"a": 3}}', "not a complete"),
        ('{"schema": 1, "layers": {"a": {"dynamic": "yes"}}}', "dynamic='yes'"),
        (plan_text(ENTRY, schema=7), "schema 7; this version reads 1"),
        (plan_text({"spec": ENTRY["spec"]}), "not a complete.*fitted"),
        (plan_text({**ENTRY, "spec": {"type": "MinMax"}}), "a/weight holds a MinMax"),
        (plan_text({**ENTRY, "spec": {"type": []}}), "names no type"),
        (plan_text({**ENTRY, "fitted": True}), "not readable beside it"),
        (b"\xff\xfe\x00", "not a complete"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_with_its_path_and_the_reason(tmp_path, text, reason):
    path = tmp_path / "broken.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(qe.QuantError, match=reason):
        qe.QuantizationPlan.load(path)


def test_a_file_that_is_not_there_is_refused_with_its_path(tmp_path):
    with pytest.raises(qe.QuantError, match=r"nothing\.json is not readable"):
        qe.QuantizationPlan.load(tmp_path / "nothing.json")


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", b"\xff" * 64])
def test_fitted_arrays_that_are_damaged_or_missing_are_refused(tmp_path, content):
    path = tmp_path / "plan.json"
    qe.QuantizationPlan({"a": qe.LayerPlan(qe.fit(WEIGHT, SPEC))}).save(path)
    path.with_suffix(".safetensors").write_bytes(content)
    with pytest.raises(qe.QuantError, match=r"plan\.json"):
        qe.QuantizationPlan.load(path)


def test_a_plan_is_not_saved_over_its_own_arrays(tmp_path):
    with pytest.raises(qe.QuantError, match=r"plan\.safetensors .*\.json"):
        qe.QuantizationPlan({"a": qe.LayerPlan(SPEC)}).save(tmp_path / "plan.safetensors")
