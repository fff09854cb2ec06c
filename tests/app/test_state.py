"""The field table, and the spec that follows from it."""

from __future__ import annotations

import pathlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from explorer import pins, state
from explorer.fields import Choice
from explorer.state import PlaygroundState
from quant_engine import (
    FixedRange,
    IntFormat,
    MinMax,
    MinMSE,
    PerChannel,
    PerGroup,
    PerTensor,
    QuantError,
    QuantizerSpec,
)

ROOT = pathlib.Path(__file__).parents[2]
CARD = ROOT / "quant_engine" / "network" / "builtin" / "model_card.json"


def test_keys_are_unique_and_carry_the_pages_prefix() -> None:
    keys = [field.key for field in state.PLAYGROUND_FIELDS]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("play_") for key in keys)


def test_without_any_control_the_state_is_the_default() -> None:
    assert PlaygroundState.from_fields({}) == PlaygroundState()
    assert PlaygroundState().spec(-1.0, 1.0) == QuantizerSpec(IntFormat(4), PerTensor(), True, MinMax())


def test_every_field_accepts_its_default_and_every_option() -> None:
    for field in state.PLAYGROUND_FIELDS:
        texts = field.options if isinstance(field, Choice) else (f"{field.default:g}",) if field.default else ()
        assert all(field.accepts(text) for text in texts), field.key


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1e400", "17", "1", "4.5", "-4"])
def test_numbers_refuse_what_they_cannot_hold(text: str) -> None:
    assert not state.BITS.accepts(text)


def test_unsigned_codes_have_no_restricted_range() -> None:
    values = {state.CODES.key: "unsigned", state.LEVELS.key: "restricted"}
    assert PlaygroundState.from_fields(values).spec(-1.0, 1.0).format == IntFormat(4, signed=False)


@pytest.mark.parametrize(
    ("symmetric", "signed", "expected"),
    [
        (True, True, FixedRange(-0.5, 0.5)),
        (True, False, FixedRange(0.0, 0.5)),
        (False, True, FixedRange(-2.0, 0.5)),
    ],
)
def test_a_range_by_hand_stands_in_the_tensors_end_where_one_is_empty(
    symmetric: bool, signed: bool, expected: FixedRange
) -> None:
    chosen = PlaygroundState(symmetric=symmetric, signed=signed, clipping="by hand", hi=0.5)
    assert chosen.spec(-2.0, 3.0).clipping == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hi": 0.0}, "β = 0 is not above 0, and a symmetric range goes from −β to β: set a β above 0"),
        ({"hi": -3.0}, "β = −3 is not above 0"),
        ({"hi": -3.0, "signed": False}, "from 0 to β"),
        ({}, "β = −0.5 (empty: the greatest value) is not above 0"),
        ({"lo": 1.0, "hi": -1.0, "symmetric": False}, "α = 1 is not below β = −1: set α below β"),
        ({"hi": -3.0, "symmetric": False}, "α = −2 (empty: the least value) is not below β = −3"),
    ],
)
def test_a_range_by_hand_without_width_is_refused_in_its_own_terms(given: dict[str, Any], said: str) -> None:
    with pytest.raises(QuantError, match=re.escape(said)) as refusal:
        PlaygroundState(clipping="by hand", **given).spec(-2.0, -0.5)
    assert not re.search(r"\b(lo|hi)=", str(refusal.value))


def test_no_refusal_on_the_page_is_written_in_python() -> None:
    rng = np.random.default_rng(0)
    said = set()
    tried: dict[str, list[Any]] = {
        field.key: list(field.options)
        if isinstance(field, Choice)
        else [field.least, field.greatest, field.default or field.least, (field.least + field.greatest) // 2]
        for field in state.PLAYGROUND_FIELDS
    }
    for _ in range(3000):
        chosen = PlaygroundState.from_fields({key: rng.choice(values).item() for key, values in tried.items()})
        try:
            spec = chosen.spec(-1.0, 2.0)
            chosen.plans(spec)
        except QuantError as refusal:
            said.add(str(refusal))
    assert len(said) > 3
    assert not [text for text in said if re.search(r"\w=|\w\(", text)], said


def test_a_range_by_hand_stays_with_its_layer_and_the_others_keep_their_method() -> None:
    chosen = PlaygroundState.from_fields(
        {"play_activations": "5 bits", **state.set_by_hand(-0.25, 0.5, "least MSE"), "play_symmetry": "asymmetric"}
    )
    spec = chosen.spec(-1.0, 1.0)
    assert spec.clipping == FixedRange(-0.25, 0.5)
    alone, others = chosen.plans(spec)
    assert alone.weight == spec
    assert others is not None
    assert others.weight == replace(spec, clipping=MinMSE())
    assert others.activation == alone.activation
    assert "by hand (other layers: least MSE)" in chosen.description
    again = {**state.set_by_hand(-0.25, 0.4, "by hand")}
    assert state.OTHERS.key not in again  # a second drag leaves what the first has kept
    plain = PlaygroundState.from_fields({state.CLIPPING.key: "least MSE", state.OTHERS.key: "KL"})
    assert plain.plans(plain.spec(-1.0, 1.0))[1] is None
    nf4 = PlaygroundState(format="NF4", clipping="by hand", hi=0.5, others="KL")
    with pytest.raises(QuantError, match="KL reckons"):
        nf4.plans(nf4.spec(-1.0, 1.0))


def test_groups_that_do_not_divide_get_a_short_last_block() -> None:
    spec = PlaygroundState(granularity="sub-channel", group=48).spec(-1.0, 1.0)
    assert spec.granularity == PerGroup(48, remainder="short")


@pytest.mark.parametrize("values", [{"play_format": "fixed point"}, {"play_format": "float", "play_float": "BF16"}])
def test_formats_without_scales_have_no_groups(values: dict[str, object]) -> None:
    asked = PlaygroundState.from_fields({**values, state.GRANULARITY.key: "channel"})
    assert asked.spec(-1.0, 1.0).granularity == PerTensor()
    assert "channel" not in asked.description


@pytest.mark.parametrize("name", ["centroids", "float", "NF4"])
def test_formats_with_scales_or_codebooks_have_groups(name: str) -> None:
    asked = PlaygroundState.from_fields({"play_format": name, state.GRANULARITY.key: "channel"})
    assert asked.spec(-1.0, 1.0).granularity == PerChannel(0)


def test_the_older_word_for_min_max_is_read_in_links_and_pins() -> None:
    for field in (state.CLIPPING, state.CALIBRATION):
        assert field.accepts("min-max")
        assert field.default == field.word("min-max") == "min–max"
    assert pins.read("clipping:min-max,bits:3|activations:8 bits,calibration:min-max") == [
        {"play_bits": 3},
        {"play_activations": "8 bits"},
    ]


def test_one_method_has_one_name() -> None:
    for path in (
        *(ROOT / "explorer").rglob("*.py"),
        *(ROOT / "explorer").rglob("*.toml"),
        CARD,
        CARD.with_name("MODEL_CARD.md"),
    ):
        assert path.name == "fields.py" or "min-max" not in path.read_text(encoding="utf-8").lower(), path
