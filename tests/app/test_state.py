"""The field table, and the spec that follows from it."""

from __future__ import annotations

import pathlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from explorer import pins
from explorer.fields import Choice
from explorer.number_formats import KINDS
from explorer.playground_table import BITS
from explorer.state import PlaygroundState, set_by_hand
from quant_engine import (
    FixedRange,
    IntFormat,
    MinKL,
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


def test_keys_carry_the_pages_prefix() -> None:
    assert all(field.key.startswith("play_") for field in PlaygroundState.fields().values())


def test_without_any_control_the_state_is_the_default() -> None:
    assert PlaygroundState.of({}) == PlaygroundState()
    assert PlaygroundState().spec(-1.0, 1.0) == QuantizerSpec(IntFormat(4), PerTensor(), True, MinMax())


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1e400", "17", "1", "4.5", "-4"])
def test_numbers_refuse_what_they_cannot_hold(text: str) -> None:
    assert not BITS.accepts(text)


def test_unsigned_codes_have_no_restricted_range() -> None:
    assert PlaygroundState(signed=False, narrow=True).spec(-1.0, 1.0).format == IntFormat(4, signed=False)


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
    chosen = PlaygroundState(symmetric=symmetric, signed=signed, clipping=FixedRange, hi=0.5)
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
        PlaygroundState(clipping=FixedRange, **given).spec(-2.0, -0.5)
    assert not re.search(r"\b(lo|hi)=", str(refusal.value))


def test_no_refusal_on_the_page_is_written_in_python() -> None:
    rng = np.random.default_rng(0)
    said = set()
    tried: dict[str, list[Any]] = {
        field.key: list(field.options)
        if isinstance(field, Choice)
        else [*field.ends, field.default or field.min, sum(field.ends) // 2]
        for field in PlaygroundState.fields().values()
    }
    for _ in range(3000):
        chosen = PlaygroundState.of({key: rng.choice(values).item() for key, values in tried.items()})
        try:
            spec = chosen.spec(-1.0, 2.0)
            chosen.plans(spec)
        except QuantError as refusal:
            said.add(str(refusal))
    assert len(said) > 3
    assert not [text for text in said if re.search(r"\w=|\w\(", text)], said


def test_a_range_by_hand_stays_with_its_layer_and_the_others_keep_their_method() -> None:
    chosen = PlaygroundState(activation_bits=5, **set_by_hand(-0.25, 0.5, MinMSE), symmetric=False)
    spec = chosen.spec(-1.0, 1.0)
    assert spec.clipping == FixedRange(-0.25, 0.5)
    alone, others = chosen.plans(spec)
    assert alone.weight == spec
    assert others is not None
    assert others.weight == replace(spec, clipping=MinMSE())
    assert others.activation == alone.activation
    assert "by hand (other layers: least MSE)" in chosen.description
    again = replace(chosen, **set_by_hand(-0.25, 0.4, FixedRange))
    assert again.others is MinMSE  # a second drag leaves what the first has kept
    plain = PlaygroundState(clipping=MinMSE, others=MinKL)
    assert plain.plans(plain.spec(-1.0, 1.0))[1] is None
    nf4 = PlaygroundState(KINDS["NF4"], clipping=FixedRange, hi=0.5, others=MinKL)
    with pytest.raises(QuantError, match="KL needs codes of equal steps"):
        nf4.plans(nf4.spec(-1.0, 1.0))


def test_groups_that_do_not_divide_get_a_short_last_block() -> None:
    spec = PlaygroundState(granularity=PerGroup, group=48).spec(-1.0, 1.0)
    assert spec.granularity == PerGroup(48, remainder="short")


@pytest.mark.parametrize("link", [{"play_format": "fixed point"}, {"play_format": "float", "play_float": "BF16"}])
def test_formats_without_scales_have_no_groups(link: dict[str, str]) -> None:
    asked = PlaygroundState.read({**link, "play_granularity": "channel"})
    assert asked.spec(-1.0, 1.0).granularity == PerTensor()
    assert "channel" not in asked.description


@pytest.mark.parametrize("name", ["centroids", "float", "NF4"])
def test_formats_with_scales_or_codebooks_have_groups(name: str) -> None:
    asked = PlaygroundState(KINDS[name], granularity=PerChannel)
    assert asked.spec(-1.0, 1.0).granularity == PerChannel(0)


def test_the_older_word_for_min_max_is_read_in_links_and_pins() -> None:
    assert PlaygroundState.read({"play_clipping": "min-max", "play_calibration": "min-max"}) == PlaygroundState()
    assert pins.read("clipping:min-max,bits:3|activations:8 bits,calibration:min-max") == (
        PlaygroundState(bits=3),
        PlaygroundState(activation_bits=8),
    )


def test_one_method_has_one_name() -> None:
    for path in (
        *(ROOT / "explorer").rglob("*.py"),
        *(ROOT / "explorer").rglob("*.toml"),
        CARD,
        CARD.with_name("MODEL_CARD.md"),
    ):
        assert path.name == "fields.py" or "min-max" not in path.read_text(encoding="utf-8").lower(), path
