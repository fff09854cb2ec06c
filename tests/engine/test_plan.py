"""Plans: which quantizer each layer gets, saved and read back to the bit."""

import hashlib
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file

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
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fitted.json",
        "fitted.json.arrays.safetensors",
        "specs.json",
    ]


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


def plan_text(weight, schema=2):
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
        (plan_text(ENTRY, schema=7), "schema 7; this version reads 1 and 2"),
        (plan_text({"spec": ENTRY["spec"]}), "not a complete.*fitted"),
        (plan_text({**ENTRY, "spec": {"type": "MinMax"}}), "a/weight holds a MinMax"),
        (plan_text({**ENTRY, "spec": {"type": []}}), "names no type"),
        (plan_text({**ENTRY, "fitted": True}), "arrays_sha256.*must be there"),
        (plan_text({**ENTRY, "fitted": True}, schema=1), "not readable beside it"),
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
    (tmp_path / "plan.json.arrays.safetensors").write_bytes(content)
    with pytest.raises(qe.QuantError, match=r"plan\.json"):
        qe.QuantizationPlan.load(path)


def test_a_plan_is_not_saved_over_its_own_arrays(tmp_path):
    with pytest.raises(qe.QuantError, match=r"plan\.safetensors .*\.json"):
        qe.QuantizationPlan({"a": qe.LayerPlan(SPEC)}).save(tmp_path / "plan.safetensors")


# --- files ------------------------------------------------------------------------------------------------------------

FITTED = qe.QuantizationPlan(
    {
        "a": qe.LayerPlan(qe.quantize(WEIGHT, SPEC), qe.fit(WEIGHT, SPEC), bias=np.arange(6, dtype=np.float32)),
        "b": qe.LayerPlan(qe.quantize(WEIGHT, qe.QuantizerSpec(qe.VectorCodebook(4, 3, 1, "pad")))),
        "c": qe.LayerPlan(SPEC, SPEC, dynamic=True),
    }
)
LARGER = qe.QuantizationPlan({"a": qe.LayerPlan(qe.fit(100 * WEIGHT, SPEC))})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_beside_a_plan_is_left_alone(tmp_path):
    save_file({"weight": WEIGHT}, tmp_path / "model.safetensors")
    before = (tmp_path / "model.safetensors").read_bytes()
    FITTED.save(tmp_path / "model.json")
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert names(tmp_path) == ["model.json", "model.json.arrays.safetensors", "model.safetensors"]


def test_plans_whose_names_differ_in_their_last_part_have_arrays_of_their_own(tmp_path):
    FITTED.save(tmp_path / "plan.v1")
    LARGER.save(tmp_path / "plan.v2")
    assert_same_plan(FITTED, qe.QuantizationPlan.load(tmp_path / "plan.v1"))
    assert_same_plan(LARGER, qe.QuantizationPlan.load(tmp_path / "plan.v2"))


def test_a_file_that_is_no_plan_is_never_replaced(tmp_path):
    path, beside = tmp_path / "model.json", tmp_path / "model.json.arrays.safetensors"
    for content in (b'{"architectures": ["Bert"]}', b"hello", b'{"schema": 1}', b"[" * 100_000, b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(qe.QuantError, match=r"model\.json exists and was not written by .*; give another name"):
            FITTED.save(path)
        assert path.read_bytes() == content
    path.unlink()
    for content in (b"hello", save({"weight": WEIGHT}), save({"weight": WEIGHT}, {"format": "pt"})):
        beside.write_bytes(content)
        for plan in (FITTED, qe.QuantizationPlan()):
            with pytest.raises(qe.QuantError, match=r"arrays\.safetensors exists and was not written by"):
                plan.save(path)
        assert beside.read_bytes() == content
        assert names(tmp_path) == [beside.name]
    beside.unlink()
    path.mkdir()
    with pytest.raises(qe.QuantError, match="exists and was not written by"):
        FITTED.save(path)


def test_a_plan_replaces_one_of_ours_and_takes_its_arrays_away(tmp_path):
    path = tmp_path / "plan.json"
    path.touch()  # as tempfile does
    for plan in (FITTED, LARGER, FITTED, qe.QuantizationPlan({"a": qe.LayerPlan(SPEC)})):
        plan.save(path)
        assert_same_plan(plan, qe.QuantizationPlan.load(path))
    assert names(tmp_path) == ["plan.json"]


def test_a_path_that_takes_no_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "plan.json", tmp_path / "file" / "plan.json", "a\0b", tmp_path / ("n" * 300)):
        with pytest.raises(qe.QuantError, match="give"):
            FITTED.save(path)
    assert names(tmp_path) == ["file"]


def test_arrays_that_are_not_those_of_the_plan_are_refused(tmp_path):
    FITTED.save(tmp_path / "plan.json")
    LARGER.save(tmp_path / "other.json")
    beside = tmp_path / "plan.json.arrays.safetensors"
    whole = beside.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    for content in ((tmp_path / "other.json.arrays.safetensors").read_bytes(), flipped, whole[:-1], b""):
        beside.write_bytes(content)
        with pytest.raises(qe.QuantError, match=r"not the file that was saved.*; copy both together, or save"):
            qe.QuantizationPlan.load(tmp_path / "plan.json")


KILLED = """
import os, pathlib, sys
import numpy as np
import quant_engine as qe

spec = qe.QuantizerSpec(qe.IntFormat(4))
old, new = (qe.QuantizationPlan({"a": qe.LayerPlan(qe.fit(np.float32([[x]]), spec))}) for x in (1, 2))
folder, replace, fsync = pathlib.Path(sys.argv[1]), os.replace, os.fsync
for step in range(5):
    path = folder / f"{step}.json"
    old.save(path)
    left = [step]

    def count(act, *given):
        if not left[0]:
            os._exit(9)
        left[0] -= 1
        act(*given)

    if not os.fork():
        os.replace, os.fsync = (lambda *given, act=act: count(act, *given) for act in (replace, fsync))
        new.save(path)
        os._exit(0)
    _, status = os.wait()
    found = qe.QuantizationPlan.load(path)["a"].weight.scale.item() * 7
    new.save(path)
    last = qe.QuantizationPlan.load(path)
    print(os.waitstatus_to_exitcode(status), round(found), round(last["a"].weight.scale.item() * 7))
"""


def test_a_process_that_is_killed_leaves_the_old_plan_or_the_new_one(tmp_path):
    told = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, check=True)
    assert told.stdout.split("\n") == ["9 1 2", "9 1 2", "9 1 2", "9 2 2", "0 2 2", ""]


def test_plans_of_the_schema_before_are_read(tmp_path):
    FITTED.save(tmp_path / "plan.json")
    content = json.loads((tmp_path / "plan.json").read_text())
    del content["arrays_sha256"]
    (tmp_path / "plan.json").write_text(json.dumps({**content, "schema": 1}))
    (tmp_path / "plan.json.arrays.safetensors").rename(tmp_path / "plan.safetensors")
    assert_same_plan(FITTED, qe.QuantizationPlan.load(tmp_path / "plan.json"))


def changed(value, path, new):
    """Return JSON with the value at a path replaced, or left out."""
    copy = json.loads(json.dumps(value))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if new is None:
        del place[path[-1]]
    else:
        place[path[-1]] = new
    return copy


def places(value, path=()):
    """Return the value at every path inside JSON."""
    found = {}
    for key, inner in value.items() if isinstance(value, dict) else ():
        found |= {(*path, key): inner, **places(inner, (*path, key))}
    return found


def test_nothing_in_the_json_is_passed_over(tmp_path):
    path, again = tmp_path / "plan.json", tmp_path / "again.json"
    FITTED.save(path)
    content = json.loads(path.read_text())
    odd = [None, "yes", 3.7, [], {}, {"a": 1}, -1, 3, 10**400, float("nan"), True, False, "x" * 1000]
    for place, new in itertools.product(places(content), odd):
        given = changed(content, place, new)
        path.write_text(json.dumps(given))
        try:
            found = qe.QuantizationPlan.load(path)
        except qe.QuantError:
            continue
        found.save(again)
        kept = places(json.loads(again.read_text()))
        for at, value in places(given).items():
            assert isinstance(value, dict) or kept.get(at, value) == value
            assert at in kept or isinstance(value, bool), "only a flag with its default is left out"


def test_a_key_that_nobody_knows_is_refused_wherever_it_stands(tmp_path):
    path = tmp_path / "plan.json"
    FITTED.save(path)
    content = json.loads(path.read_text())
    objects = [place for place, inner in places(content).items() if isinstance(inner, dict)]
    for place in [(), *objects]:
        if place != ("layers",):
            path.write_text(json.dumps(changed(content, (*place, "wieght"), 1)))
            with pytest.raises(qe.QuantError, match=r"plan\.json is not .*wieght"):
                qe.QuantizationPlan.load(path)
    path.write_text(json.dumps(content).replace('"b":', '"a":'))
    with pytest.raises(qe.QuantError, match="'a' occurs twice"):
        qe.QuantizationPlan.load(path)


def test_arrays_that_are_none_of_the_formats_are_refused(tmp_path):
    path, beside = tmp_path / "plan.json", tmp_path / "plan.json.arrays.safetensors"
    FITTED.save(path)
    content, arrays = json.loads(path.read_text()), load_file(beside)
    spoilt = [{**arrays, "a/more": WEIGHT}]
    for name, array in arrays.items():
        if name != "a/weight/codes":  # without them, it is a quantizer
            spoilt.append({key: other for key, other in arrays.items() if key != name})
        wrong = [array[None], array.reshape(-1)[:0], np.full(array.shape, np.nan), array.astype(bool)]
        if name.endswith("scale"):
            wrong += [-array, 0 * array]
        if name.endswith(("zero_point", "codes")):
            wrong += [
                array + 0.5,
                array.astype(float),
                *(array.astype(np.int64) + more for more in (-1000, 1000, 2**33)),
            ]
        spoilt += [{**arrays, name: other} for other in wrong]
    for parts in spoilt:
        packed = save(parts)
        beside.write_bytes(packed)
        path.write_text(json.dumps({**content, "arrays_sha256": hashlib.sha256(packed).hexdigest()}))
        with pytest.raises(qe.QuantError, match=r"plan\.json"):
            qe.QuantizationPlan.load(path)


def test_a_bias_is_a_run_of_finite_numbers_as_many_as_the_codes_have_outputs():
    for bias in ([np.nan], [np.inf], [1], "b", [[0.5]], 1.0, []):
        with pytest.raises(qe.QuantError, match="bias"):
            qe.LayerPlan(bias=bias)
    with pytest.raises(qe.QuantError, match=r"bias has shape \(5,\), .* codes of \(6, 5\)"):
        qe.LayerPlan(qe.quantize(WEIGHT, SPEC), bias=np.zeros(5, np.float32))


def test_a_name_that_is_no_text_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(qe.QuantError, match=r"a name is no Unicode text.*give another name"):
        qe.QuantizationPlan({"\ud800": LARGER["a"]}).save(tmp_path / "plan.json")
    assert not names(tmp_path)


def test_layers_are_a_mapping_of_names():
    for layers in ([], "conv1", None, {1: qe.LayerPlan()}, {("a",): qe.LayerPlan()}):
        with pytest.raises(qe.QuantError, match="give"):
            qe.QuantizationPlan(layers)


def test_plans_share_a_key_only_where_they_are_the_same():
    def layer(bits=4, scale=1.0, bias=None):
        spec = qe.QuantizerSpec(qe.IntFormat(bits))
        return qe.LayerPlan(qe.Quantizer(spec, np.full((1, 1), scale, "f4"), np.zeros((1, 1), "i4")), bias=bias)

    tensor = qe.fit(WEIGHT, SPEC).encode(WEIGHT)
    plans = [
        qe.LayerPlan(),
        qe.LayerPlan(dynamic=True),
        qe.LayerPlan(weight=SPEC),
        qe.LayerPlan(activation=SPEC),
        qe.LayerPlan(weight=qe.fit(WEIGHT, SPEC)),
        qe.LayerPlan(weight=tensor),
        layer(2),
        layer(8),
        layer(8, 2.0),
        layer(8, bias=np.zeros(3, "f4")),
        layer(8, bias=np.ones(3, "f4")),
        layer(8, bias=np.zeros(4, "f4")),
    ]
    assert len({plan.key for plan in plans}) == len(plans)
    assert layer(8, 2.0, np.ones(3, "f4")).key == layer(8, 2.0, np.ones(3, "f4")).key
    one, other = (qe.QuantizationPlan(dict(pairs)) for pairs in ([("a", plans[2]), ("b", plans[3])],) * 2)
    assert one.key == other.key == qe.QuantizationPlan({"b": plans[3], "a": plans[2]}).key
    assert one.key != qe.QuantizationPlan({"a": plans[3], "b": plans[2]}).key


def test_the_last_pattern_that_matches_a_name_plans_the_layer():
    four, eight, none = (qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(b)) if b else None) for b in (4, 8, 0))
    names = ["embed", "encoder.layer.0.output.dense", "encoder.layer.1.output.dense", "/head/MatMul", "w[0]", "W"]
    cases = {
        "everything": ({"*": four}, dict.fromkeys(names, four)),
        "some otherwise": ({"*": four, "*.output.dense": eight}, {n: eight if "dense" in n else four for n in names}),
        "the order counts": ({"*.output.dense": eight, "*": four}, dict.fromkeys(names, four)),
        "a slash": ({"/head/*": eight}, {"/head/MatMul": eight}),
        "brackets of a whole name": ({"w[0]": eight}, {"w[0]": eight}),
        "brackets of a choice": ({"*.[1-9].*": eight}, {"encoder.layer.1.output.dense": eight}),
        "case": ({"w*": four}, {"w[0]": four}),
        "left alone": ({"*": four, "embed": none}, {n: none if n == "embed" else four for n in names}),
    }
    for what, (patterns, expected) in cases.items():
        found = qe.QuantizationPlan.of(dict.fromkeys(names), patterns)
        assert dict(found.layers) == expected, what
        assert list(found.layers) == [name for name in names if name in expected], what  # in the network's order


def test_patterns_that_mean_nothing_are_refused():
    eight = qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(8)))
    names = [f"layer.{i}" for i in range(20)]
    refused = [
        (names, {"*": eight, "layer.2?0": eight}, "'layer.2\\?0' matches none of the 20 layers; they are layer.0, "),
        ([], {"*": eight}, "matches none of the 0 layers"),
        ("layer.0", {"*": eight}, "give names of layers"),
        ([3], {"*": eight}, "give names of layers"),
        (names, {"*": 8}, r"'\*' has 8; give a LayerPlan"),
        (names, ["*"], "is no mapping"),
    ]
    for listed, patterns, message in refused:
        with pytest.raises(qe.QuantError, match=message):
            qe.QuantizationPlan.of(listed, patterns)
