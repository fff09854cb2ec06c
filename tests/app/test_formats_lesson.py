"""The lesson on number formats: winners, formulas and estimates worked out again with numpy and ml_dtypes."""

from __future__ import annotations

import math
import pathlib

import ml_dtypes
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer import compute, tensors
from explorer.caches import ResultKey
from explorer.lessons import LESSONS
from explorer.lessons.formats import format_comparison, number_encodings
from explorer.lessons.formats.energy import energy_table, written
from explorer.lessons.formats.format_comparison import RANGES
from explorer.lessons.formats.number_encodings import FLOATS, bits_formula, holders
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Held, Scene
from quant_engine import NF4, IntFormat, MinMSE, QuantizerSpec
from quant_engine.energy import multiply_energy
from tests.models import CNN_KEY, DEPTHWISE_KEY

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = ("weights", "layer inputs", "logits", "network inputs", "synthetic Laplace")
NUMBERS = (0.1, -2.5, 2049.0, 70000.0, 1e300, -1e300, 1e-45, 6e-7, 0.0, -0.0, math.inf, -math.inf, math.nan)


def open_lesson(**settings: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.switch_page(str(ROOT / "pages" / "lesson_formats.py"))
    return change(at, **settings)


def change(at: AppTest, **settings: object) -> AppTest:
    for name, value in settings.items():
        at.session_state[f"formats_{name}"] = value
    at.run()
    assert not at.exception
    return at


def scene(source: str, bits: int = 8, outlier: int = 0) -> Scene:
    subject = tensors.subject(source, CNN_KEY, "conv3", outlier)
    return Scene(subject, QuantizerSpec(IntFormat(bits, subject.statistics.lo < 0)))


def formulas_on(at: AppTest) -> list[str]:
    return [text.value for text in at.markdown if text.value.startswith("$")]


# --- which format loses least -----------------------------------------------------------------------------------------


def even(x: np.ndarray, step: float, low: int, high: int) -> np.ndarray:
    return np.clip(np.rint(x / np.float32(step)), low, high) * np.float64(step)


def nearest(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return levels[np.abs(x[:, None] - levels).argmin(axis=1)]


def by_hand(x: np.ndarray, bits: int) -> dict[str, float]:
    """The mean squared error of every format of a width, from the least to the greatest magnitude."""
    top, signed = float(np.abs(x).max()), bool(x.min() < 0)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    found = {"int": even(x, top / high, low, high)}
    found["fixed"] = min(
        (even(x, 2.0**-n, low, high) for n in range(bits - signed + 1)), key=lambda y: float(np.mean((y - x) ** 2))
    )
    floats = {"e4m3": ("float8_e4m3fn", 448.0), "e5m2": ("float8_e5m2", 57344.0)}
    if bits == 4:
        floats = {"e2m1": ("float4_e2m1fn", 6.0)}
        powers = np.array([2.0**-k for k in range(7)])
        found["nf4"] = nearest(x, np.float32(top) * np.array(NF4.entries))
        found["powers"] = nearest(x, top * np.concatenate([-powers, [0], powers]))
    else:  # E3M4 without special values: up to 2⁴ · (2 − 2⁻⁴), which ml_dtypes' E3M4 leaves to infinities
        levels = np.array(
            [(m / 16 if e == 0 else 1 + m / 16) * 2.0 ** (max(e, 1) - 3) for e in range(8) for m in range(16)]
        )
        found["e3m4"] = nearest(x, np.concatenate([-levels, levels]) * (top / levels.max()))
    for key, (name, greatest) in floats.items():
        scale = np.float32(top / greatest)
        found[key] = (x / scale).astype(getattr(ml_dtypes, name)).astype(np.float64) * scale
    return {key: float(np.mean((y - x) ** 2)) for key, y in found.items()}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("source", SOURCES)
def test_every_formats_error_is_numpys_and_the_least_is_the_answer(source: str, bits: int) -> None:
    asked = scene(source, bits)
    x = asked.subject.values[:: 1 + asked.subject.values.size // 20_000]
    kept = tensors.Subject(ResultKey("part", asked.subject.key), "a part", "value", np.concatenate([x, [x[0]]]))
    found = {candidate.key: lost.mse for candidate, lost in format_comparison.losses(kept, bits, "min–max").items()}
    expected = by_hand(kept.values, bits)
    assert found == pytest.approx(expected, rel=2e-3)
    answer = LESSONS["formats"].question(Scene(kept, asked.spec))
    right = min(expected, key=lambda key: expected[key])
    assert {option.key for option in answer.options} == {"right", *expected} - {right}


@pytest.mark.parametrize("source", SOURCES)
def test_the_least_error_of_a_range_is_no_greater_than_that_of_min_max(source: str) -> None:
    for bits in (8, 4):
        plain, least = (format_comparison.losses(scene(source).subject, bits, way) for way in RANGES)
        for candidate, lost in plain.items():
            assert least[candidate].mse <= lost.mse * (1 + 1e-6), candidate


def test_what_a_float_loses_is_predicted_by_the_tensor() -> None:
    lesson = LESSONS["formats"]
    ends = {"tenth": 1 / 5, "third": 2 / 3, "same": 3 / 2, "three": 5}
    for source in SOURCES:
        x = scene(source).subject.values
        top, signed = np.float32(np.abs(x).max()), x.min() < 0
        whole = even(x, top / (127 if signed else 255), -128 if signed else 0, 127 if signed else 255)
        floating = (x / (top / 448)).astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * (top / 448)
        ratio = np.mean((floating - x) ** 2) / np.mean((whole - x) ** 2)
        likely = next((key for key, end in ends.items() if ratio < end), "ten")
        assert lesson.prediction(scene(source)) == likely
    assert lesson.prediction(scene("synthetic Gaussian")) == "ten"
    assert lesson.prediction(scene("synthetic Gaussian", outlier=60)) in ("tenth", "third")


def test_errors_are_hidden_until_predicted_and_while_asked_for() -> None:
    formats = {"int8", "E4M3", "E5M2", "E3M4", "fixed Q0.7"}

    def errors_shown() -> bool:
        return any("format" in table.value and set(table.value["format"]) == formats for table in at.table)

    at = open_lesson()
    assert not errors_shown()
    change(at, show_anyway=True)
    assert errors_shown()
    change(at, beat="Check")
    assert not errors_shown()


# --- the bits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", number_encodings.NAMES)
@pytest.mark.parametrize("number", NUMBERS, ids=str)
def test_every_number_has_a_formula_in_every_format(name: str, number: float) -> None:
    lines = bits_formula(holders(4, 0.01)[name], number)
    assert lines
    assert all(line and "nan" not in line and "inf " not in line for line in lines)


def test_the_formula_has_the_parts_of_numpys_half() -> None:
    at = open_lesson(beat="Formula", number="-0.3", format="FP16")
    code = int(np.float16(-0.3).view(np.uint16))
    exponent, mantissa = code >> 10 & 31, code & 1023
    live = formulas_on(at)[1]
    assert rf"(-1)^{{1}} \cdot 2^{{{exponent} - 15}}" in live
    assert rf"\dfrac{{{mantissa}}}{{1024}}" in live
    assert live.rstrip("$").endswith(f"{float(np.float16(-0.3)):.9g}")


@pytest.mark.parametrize("number", ["nan", "-0", "inf", "1e300", "1e-45"])
def test_special_numbers_break_no_beat(number: str) -> None:
    at = open_lesson(number=number, show_anyway=True)
    for beat in ("Try", "See", "Formula", "Check"):
        for name in ("FP32", "E2M1", "int8 · S"):
            change(at, beat=beat, format=name)


def test_what_formats_store_is_numpys() -> None:
    for number in (2049.0, 70000.0, 0.1, 1e-7):
        with np.errstate(over="ignore"):
            assert number_encodings.stored("FP16", number) == float(np.float16(number))
        assert number_encodings.stored("BF16", number) == float(np.array(number, np.float32).astype(ml_dtypes.bfloat16))


def test_half_of_the_float32_values_lie_between_zero_and_one() -> None:
    one, infinity = (int(np.float32(value).view(np.uint32)) for value in (1.0, np.inf))
    assert number_encodings.fp32_share_to_one() == (one + 1) / infinity
    assert number_encodings.fp32_share_to_one() == pytest.approx(0.5, abs=0.005)


def test_a_link_sets_the_number_and_a_broken_one_is_said() -> None:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=120)
    at.query_params["formats_number"] = "much"
    at.run()
    assert any("much" in warning.value for warning in at.warning)
    at.switch_page(str(ROOT / "pages" / "lesson_formats.py"))
    at.query_params["formats_number"] = "-2.5"
    at.query_params["formats_beat"] = "Formula"
    at.run()
    assert not at.exception
    assert any("= -2.5" in formula for formula in formulas_on(at))


def test_puzzles_are_solved_by_numbers_that_numpy_stores_so() -> None:
    lesson, subject = LESSONS["formats"], scene("weights").subject
    for text in ("0.1", "2049", "70000", "1e300", "65504", "1.5", "-6", "0", "448", "nan"):
        shown = Scene(subject, QuantizerSpec(IntFormat(8)), held=Held("FP16", text, 4))
        number = np.float64(text)
        with np.errstate(over="ignore"):
            half, brain = np.float16(number), np.float32(number).astype(ml_dtypes.bfloat16)
        whole = bool(number == np.rint(number)) and float(half) != number
        over = bool(np.isinf(half)) and bool(np.isfinite(brain))
        assert lesson.puzzles(shown) == (whole, over, text in ("1.5", "-6")), text
    assert len(lesson.prose.puzzles) == 3


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_costs_are_called_estimates_with_their_source_and_basis() -> None:
    at = open_lesson(part="Cost")
    said = " ".join(caption.value for caption in at.caption)
    assert at.table
    assert "estimate" in said
    assert "Horowitz" in said
    words = read_prose("formats").laboratory
    rows = {row[words["energy_format"]]: row for row in energy_table(CNN_KEY, words)}
    assert rows["FP32"][words["energy_arithmetic"]] == "3.7 + 0.9"
    assert rows["int8"][words["energy_arithmetic"]] == "0.2 + 0.1"
    for name, row in rows.items():
        measured = name in ("FP32", "FP16", "int8")
        assert ("ᵃ" in row[words["energy_arithmetic"]] or "ᵇ" in row[words["energy_arithmetic"]]) != measured
    assert written(multiply_energy(IntFormat(16))).endswith("ᵇ")


@pytest.mark.parametrize("model", [CNN_KEY, DEPTHWISE_KEY])
def test_the_table_is_of_the_whole_network(model: str) -> None:
    words = read_prose("formats").laboratory
    rows = {row[words["energy_format"]]: row for row in energy_table(model, words)}
    network = compute.network(model)
    weights = sum(network.weight(layer).size for layer in network.layers())
    low, high = (weights * 4 / 8 * end / 1e6 for end in (1300, 2600))
    arithmetic, reading = rows["FP32"][words["energy_whole"].format(unit="image")].split(" + ")
    assert [float(end) for end in reading.split("–")] == pytest.approx([low, high], rel=5e-3)
    assert float(arithmetic) > 0
    assert rows["FP32"][words["energy_weights"]] == f"{weights * 4 / 1024:.3g} KiB"


def test_the_best_radix_point_is_the_one_that_loses_least() -> None:
    for source in SOURCES:
        x = scene(source).subject.values.astype(np.float64)
        signed = bool(x.min() < 0)
        low, high = (-128, 127) if signed else (0, 255)
        errors = [float(np.mean((even(x, 2.0**-n, low, high) - x) ** 2)) for n in range(9 - signed)]
        assert format_comparison.best_point(scene(source).subject, 8).fraction_bits == int(np.argmin(errors))


def test_ranges_are_those_of_the_engine() -> None:
    subject = scene("weights").subject
    for candidate in format_comparison.candidates(subject, 8):
        spec = candidate.spec("least MSE")
        assert isinstance(spec.clipping, MinMSE) == spec.format.scaled
        assert FLOATS["E4M3"].scaled
