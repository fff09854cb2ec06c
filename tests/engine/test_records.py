"""Specs as text: the round trip, keys that stay, and what is refused."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given

import quant_engine as qe
from quant_engine.observers import observer_for
from quant_engine.records import Record
from tests.engine.strategies import clippings, granularities, integer_formats, specs

ROOT = pathlib.Path(__file__).parents[2]

# Why these texts may never change: caches, links and sweeps outlive a release, and find their results by them. A field
# that has its default is left out, so that a field added later changes no key.
GOLDEN = {
    "IntFormat": (qe.IntFormat(4, narrow=True), '{"bits":4,"narrow":true,"schema":1,"type":"IntFormat"}'),
    "FixedPointFormat": (
        qe.FixedPointFormat(2, 5),
        '{"fraction_bits":5,"integer_bits":2,"schema":1,"type":"FixedPointFormat"}',
    ),
    "FloatFormat": (
        qe.E4M3,
        '{"bias":7,"exponent_bits":4,"mantissa_bits":3,"saturate":true,"schema":1,"specials":"nan",'
        '"type":"FloatFormat"}',
    ),
    "Codebook": (qe.Codebook((-1, 0, 0.5)), '{"entries":[-1.0,0.0,0.5],"schema":1,"type":"Codebook"}'),
    "BlockFormat": (qe.BlockFormat("Q4_0"), '{"name":"Q4_0","schema":1,"type":"BlockFormat"}'),
    "KMeans": (qe.KMeans(16), '{"levels":16,"schema":1,"type":"KMeans"}'),
    "Quantiles": (qe.Quantiles(9), '{"levels":9,"schema":1,"type":"Quantiles"}'),
    "VectorCodebook": (
        qe.VectorCodebook(4, 256, remainder="pad"),
        '{"codewords":256,"dim":4,"remainder":"pad","schema":1,"type":"VectorCodebook"}',
    ),
    "ProductCodebook": (
        qe.ProductCodebook(8, 16, 2, stages=3),
        '{"codewords":16,"dim":8,"parts":2,"schema":1,"stages":3,"type":"ProductCodebook"}',
    ),
    "PerTensor": (qe.PerTensor(), '{"schema":1,"type":"PerTensor"}'),
    "PerChannel": (qe.PerChannel(1), '{"axis":1,"schema":1,"type":"PerChannel"}'),
    "PerChannelGroup": (qe.PerChannelGroup(16), '{"channels":16,"schema":1,"type":"PerChannelGroup"}'),
    "PerGroup": (
        qe.PerGroup(128, remainder="short"),
        '{"remainder":"short","schema":1,"size":128,"type":"PerGroup"}',
    ),
    "PerBlock": (
        qe.PerBlock(128, 64, remainder="pad"),
        '{"columns":64,"remainder":"pad","rows":128,"schema":1,"type":"PerBlock"}',
    ),
    "PerToken": (qe.PerToken(), '{"schema":1,"type":"PerToken"}'),
    "PerSample": (
        qe.PerSample(qe.PerChannel(1)),
        '{"inner":{"axis":1,"type":"PerChannel"},"schema":1,"type":"PerSample"}',
    ),
    "MinMax": (qe.MinMax(), '{"schema":1,"type":"MinMax"}'),
    "Percentile": (qe.Percentile(99.9), '{"p":99.9,"schema":1,"type":"Percentile"}'),
    "MinMSE": (qe.MinMSE(), '{"schema":1,"type":"MinMSE"}'),
    "MinKL": (qe.MinKL(512), '{"bins":512,"schema":1,"type":"MinKL"}'),
    "ACIQ": (qe.ACIQ("laplace"), '{"distribution":"laplace","schema":1,"type":"ACIQ"}'),
    "MovingAverage": (qe.MovingAverage(0.1), '{"constant":0.1,"schema":1,"type":"MovingAverage"}'),
    "FixedRange": (qe.FixedRange(-1, (1, 2)), '{"hi":[1.0,2.0],"lo":-1.0,"schema":1,"type":"FixedRange"}'),
    "EditedRanges": (
        qe.EditedRanges(qe.MinMSE(), [(4, -1, 1), (1, -0.5, 0.25)]),
        '{"clipping":{"type":"MinMSE"},"edits":[[1,-0.5,0.25],[4,-1.0,1.0]],"schema":1,"type":"EditedRanges"}',
    ),
    "QuantizerSpec": (
        qe.QuantizerSpec(qe.IntFormat(8, signed=False), qe.PerChannel(), False, qe.MinMSE()),
        '{"clipping":{"type":"MinMSE"},"format":{"bits":8,"signed":false,"type":"IntFormat"},'
        '"granularity":{"type":"PerChannel"},"schema":1,"symmetric":false,"type":"QuantizerSpec"}',
    ),
}
CHOICES = {**qe.FORMATS, **qe.GRANULARITIES, **qe.CLIPPINGS, "QuantizerSpec": qe.QuantizerSpec}


@pytest.mark.parametrize("name", CHOICES)
def test_every_class_has_a_key_that_stays(name):
    choice, text = GOLDEN[name]
    assert type(choice) is CHOICES[name]
    assert choice.to_json() == text
    assert Record.from_json(text) == choice


@given(specs())
def test_a_spec_comes_back_from_its_text(spec):
    back = qe.QuantizerSpec.from_json(spec.to_json())
    assert (back, hash(back), back.key) == (spec, hash(spec), spec.key)


@given(integer_formats() | granularities | clippings)
def test_a_part_comes_back_from_its_text(part):
    assert type(part).from_json(part.to_json()) == part


@given(specs(), specs())
def test_keys_are_equal_exactly_where_specs_are(one, other):
    assert (one.key == other.key) == (one == other)


@given(specs())
def test_the_order_and_spacing_of_a_text_do_not_matter(spec):
    content = json.loads(spec.to_json())
    assert qe.QuantizerSpec.from_json(json.dumps(dict(reversed(content.items())), indent=3)) == spec


def test_a_field_with_its_default_may_be_written_or_left_out():
    written, left_out = ('{"schema":1,"type":"PerChannel","axis":0}', '{"schema":1,"type":"PerChannel"}')
    assert qe.PerChannel.from_json(written).to_json() == qe.PerChannel.from_json(left_out).to_json() == left_out


def test_a_key_is_the_same_in_every_process():
    made = "QuantizerSpec(IntFormat(4), PerGroup(32), clipping=Percentile(99)).key"
    code = f"from quant_engine import *; print({made})"
    for seed in "12":
        told = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == eval(made, {name: getattr(qe, name) for name in qe.__all__})


def test_negative_zero_has_no_key_of_its_own():
    assert qe.FixedRange(-0.0, 1.0).to_json() == qe.FixedRange(0.0, 1.0).to_json()


def test_lists_and_arrays_of_bounds_are_tuples():
    made = [qe.FixedRange([-1, -2], np.float64([1, 2])), qe.FixedRange((-1.0, -2.0), (1.0, 2.0))]
    assert made[0] == made[1]
    assert hash(made[0]) == hash(made[1])


@given(specs())
def test_specs_are_frozen_and_hold_no_arrays(spec):
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.symmetric = False
    assert {spec: 1}[qe.QuantizerSpec.from_json(spec.key)] == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("1" * 5_000, "is not JSON"),
        ('{"schema":1,"type":"IntFormat","bits":4,"bits":8}', "'bits' occurs twice"),
        ('{"schema":1,"type":"PerSample"' + ',"inner":{"type":"PerSample"' * 400 + "}" * 401, "nested too deeply"),
        (None, "is not JSON"),
        ("[]", "not of schema 1"),
        ('{"type":"IntFormat","bits":4}', "not of schema 1"),
        ('{"schema":2,"type":"IntFormat","bits":4}', "not of schema 1"),
        ('{"schema":1}', "names no type of .*IntFormat"),
        ('{"schema":1,"type":"Nothing"}', "names no type"),
        ('{"schema":1,"type":["IntFormat"]}', "names no type"),
        ('{"schema":1,"type":"IntFormat"}', "not a complete IntFormat.*bits"),
        ('{"schema":1,"type":"IntFormat","bits":4,"width":3}', "IntFormat has no field width"),
        ('{"schema":1,"type":"IntFormat","bits":99}', "bits=99"),
        ('{"schema":1,"type":"IntFormat","bits":"4"}', "bits='4'"),
        ('{"schema":1,"type":"IntFormat","bits":4,"signed":"no"}', "signed='no'"),
        ('{"schema":1,"type":"QuantizerSpec","format":4}', "format=4"),
        ('{"schema":1,"type":"QuantizerSpec","format":{"type":"MinMax"}}', "format=MinMax"),
        ('{"schema":1,"type":"QuantizerSpec","format":{"bits":4}}', "names no type"),
        ('{"schema":1,"type":"Percentile","p":null}', "p=None"),
        ('{"schema":1,"type":"Percentile","p":NaN}', "p=nan"),
        ('{"schema":1,"type":"FixedRange","lo":0,"hi":1' + "0" * 400 + "}", "hi=an integer of 1329 bits"),
        ('{"schema":1,"type":"FixedRange","lo":[[0]],"hi":1}', "lo="),
    ],
)
def test_a_text_that_describes_nothing_is_refused_with_the_reason(text, reason):
    with pytest.raises(qe.QuantError, match=reason):
        Record.from_json(text)


def test_a_text_of_another_class_is_refused_with_both_names():
    with pytest.raises(qe.QuantError, match="describes a MinMax, not a QuantizerSpec"):
        qe.QuantizerSpec.from_json(qe.MinMax().to_json())


def derived(kind, name="Derived"):
    return type(name, (kind,), {})


FINAL = [choice for choice, _ in GOLDEN.values()]


def test_an_instance_of_a_derived_class_is_refused_by_the_spec_and_not_before():
    parts = {"format": qe.IntFormat(4), "granularity": qe.PerTensor(), "clipping": qe.MinMax()}
    for choice in FINAL[:-1]:  # the last is the spec
        made = derived(type(choice))(**{f.name: getattr(choice, f.name) for f in dataclasses.fields(choice) if f.init})
        kind = type(choice).__name__
        for part in parts:
            with pytest.raises(qe.QuantError, match=f"{part}=.*(subclass of {kind}, which is final|is none of)"):
                qe.QuantizerSpec(**{**parts, part: made})
        with pytest.raises(qe.QuantError, match=r"inner=.*(is final|is none of)"):
            qe.PerSample(made)
        with pytest.raises(qe.QuantError, match=r"clipping=.*(is final|is none of)"):
            observer_for(made)
        if kind == "FloatFormat":
            with pytest.raises(qe.QuantError, match=r"scale_format=.*subclass of FloatFormat"):
                qe.QuantizerSpec(qe.IntFormat(4), scale_format=made)


def test_a_class_derived_from_the_spec_is_refused():
    with pytest.raises(qe.QuantError, match="subclass of QuantizerSpec, which is final"):
        derived(qe.QuantizerSpec)(qe.IntFormat(4))


def test_a_second_class_of_a_name_does_not_take_the_firsts_place():
    for choice, text in GOLDEN.values():
        for base in (type(choice), Record):
            second = dataclasses.dataclass(frozen=True)(derived(base, type(choice).__name__))
            assert type(Record.from_json(text)) is type(choice)
            with pytest.raises(qe.QuantError, match=f"{second.__name__} of .*rename the class"):
                Record.to_json(object.__new__(second))


def test_every_choice_is_final_for_type_checkers():
    assert all(type(choice).__final__ for choice in FINAL)
