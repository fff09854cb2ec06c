"""The model card arranged for reading: what stands in its table of compensation, and what is said of it."""

from __future__ import annotations

import pytest

from explorer.cards import compensation_surprises, compensation_table, pack_table
from explorer.lessons.framework.prose import method_words
from quant_engine import IntFormat, QuantizerSpec
from quant_engine.methods import METHODS
from quant_engine.models import ARCHITECTURES
from quant_engine.network import Accuracy
from quant_engine.studies import CompensationResult, model_card
from quant_engine.studies.pack_card import pack_card


def result(method: str, *correct: int) -> CompensationResult:
    weight, activation = QuantizerSpec(IntFormat(4)), QuantizerSpec(IntFormat(8, signed=False))
    return CompensationResult(method, weight, activation, tuple(Accuracy(n, 1000) for n in correct))


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_every_method_has_a_line_under_the_name_that_lesson_11_gives_it(model: str) -> None:
    lines = compensation_table(model_card(model).compensation)
    assert [line["method"].replace("\u00a0", " ") for line in lines] == [method_words(name).title for name in METHODS]
    assert all(list(line) == ["method", "W8A8", "W4A8", "W3A8", "W2A8", "W4A4"] for line in lines)


def test_seeds_stand_as_their_mean_and_their_ends_and_one_alone() -> None:
    drawn, sure = compensation_table([result("qat", 900, 930, 910), result("nearest", 500)])
    assert drawn["W4A8"].replace("\u00a0", " ") == "91.3 % (90.0 % – 93.0 %)"
    assert sure["W4A8"].replace("\u00a0", " ") == "50.0 %"


def test_what_disappoints_is_said_and_nothing_else() -> None:
    ordered = [result("nearest", 500), result("clipped", 600), result("gptq", 700), result("qat", 800)]
    assert "holds everywhere" in compensation_surprises(ordered)
    said = compensation_surprises([*ordered, result("adaround", 850, 870)])
    assert said.endswith("Measured against it: W4A8: QAT (LSQ) 80.00 % below AdaRound 86.00 %.")


def test_a_pack_has_a_line_for_float_and_one_for_each_plan_that_was_measured() -> None:
    card = pack_card("ocr")
    plain, first, *rest = pack_table(card)
    assert plain["bits"] == "float32"
    assert plain["exact match"].startswith("0.975")
    assert (first["bits"], first["one scale for each"]) == ("8", "tensor")
    assert first["exact match"].replace("\u00a0", " ") == "0 (0 – 0.031)"
    assert len(rest) + 1 == len(card.rows)
