"""What the figures draw, checked against the engine's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from explorer import compute
from explorer.figures.buckets import bucket_figure, describe_buckets
from explorer.figures.error_curve import error_curve_figure
from explorer.figures.theme import ERROR, INK, NEUTRAL, ORIGINAL, QUANTIZED, Canvas
from explorer.results import BlockView
from quant_engine import FixedRange, IntFormat, MinMSE, PerChannel, QuantizerSpec, fit

CANVAS = Canvas("r")
MODEL, LAYER = "fashion-cnn", "conv3"


def view_of(spec: QuantizerSpec, block: int = 0) -> BlockView:
    return compute.block_view(MODEL, LAYER, spec.key, block, spec)


def trace(figure: object, name: str) -> object:
    return next((t for t in figure.data if t.name == name), None)


def test_the_histogram_holds_every_value_once_and_hatches_the_clipped() -> None:
    spec = QuantizerSpec(IntFormat(4), clipping=FixedRange(-0.1, 0.1))
    view = view_of(spec)
    parts = [t for t in bucket_figure(view, "weight", CANVAS).data if t.name in ("kept", "clipped")]
    assert sum(part.y[1:-1:2].sum() for part in parts) == 18432
    assert [part.name for part in parts] == ["clipped", "kept", "clipped"]
    assert all((part.fillpattern.shape == "/") == (part.name == "clipped") for part in parts)
    bin_width = np.diff(parts[1].x).max()
    assert parts[0].x.max() <= view.levels[0] + bin_width
    assert parts[2].x.min() >= view.levels[-1] - bin_width


def test_without_clipping_nothing_is_hatched() -> None:
    assert trace(bucket_figure(view_of(QuantizerSpec(IntFormat(8))), "weight", CANVAS), "clipped") is None


@pytest.mark.parametrize("spec", [QuantizerSpec(IntFormat(4)), QuantizerSpec(IntFormat(4), symmetric=False)])
def test_the_staircase_is_the_quantizers_own(spec: QuantizerSpec) -> None:
    view = view_of(spec)
    figure = bucket_figure(view, "weight", CANVAS)
    stairs = trace(figure, "staircase")
    quantizer = fit(compute.matrix(MODEL, LAYER), spec)
    inputs = np.asarray(stairs.x, np.float32)[:, None] * np.ones((1, 288), np.float32)
    np.testing.assert_array_equal(quantizer.fake_quantize(inputs)[:, 0], np.asarray(stairs.y, np.float32))


def test_the_use_of_codes_adds_up_to_all_values() -> None:
    view = view_of(QuantizerSpec(IntFormat(5), PerChannel(0)), block=7)
    codes = fit(compute.matrix(MODEL, LAYER), QuantizerSpec(IntFormat(5), PerChannel(0)))
    counted = np.bincount(codes.encode(compute.matrix(MODEL, LAYER)).codes[7].astype(int) + 16, minlength=32)
    np.testing.assert_array_equal(view.counts, counted)


def test_levels_far_outside_do_not_stretch_the_axis() -> None:
    figure = bucket_figure(view_of(QuantizerSpec(IntFormat(4), clipping=FixedRange(-1e6, 1e6))), "weight", CANVAS)
    low, high = figure.layout.xaxis.range
    assert high - low < 10


def test_the_marker_lies_on_the_curve_of_its_bits() -> None:
    for spec in (
        QuantizerSpec(IntFormat(3)),
        QuantizerSpec(IntFormat(4, narrow=True), clipping=MinMSE()),
        QuantizerSpec(IntFormat(4, signed=False)),
    ):
        view, curves = view_of(spec), compute.clip_curves(MODEL, LAYER, 0, spec)
        curve = next(c for c in curves if c.bits == spec.format.bits)
        on_curve = np.exp(np.interp(view.hi, curve.clips, np.log(curve.errors)))
        assert view.error == pytest.approx(on_curve, rel=0.05)
        assert curve.best_error <= curve.errors.min() * 1.001


def test_the_least_error_of_the_curve_is_what_least_mse_reaches() -> None:
    spec = QuantizerSpec(IntFormat(4), clipping=MinMSE())
    curve = next(c for c in compute.clip_curves(MODEL, LAYER, 0, spec) if c.bits == 4)
    assert view_of(spec).error == pytest.approx(curve.best_error, rel=0.002)


def test_an_error_curve_survives_a_setting_beyond_its_axis() -> None:
    spec = QuantizerSpec(IntFormat(4))
    curves = compute.clip_curves(MODEL, LAYER, 0, spec)
    figure = error_curve_figure(curves, 4, 1e30, 1e20, 0.1, CANVAS)
    assert figure.layout.xaxis.range[1] < 10


def test_the_description_names_the_numbers() -> None:
    text = describe_buckets(view_of(QuantizerSpec(IntFormat(4))), "weight")
    assert "18,432 weights" in text
    assert "16 codewords" in text


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("color", [ORIGINAL, QUANTIZED, ERROR, NEUTRAL])
@pytest.mark.parametrize("background", ["#ffffff", "#11161d"])
def test_colours_have_a_contrast_of_three_to_one_on_both_backgrounds(color: str, background: str) -> None:
    light, dark = sorted((luminance(color), luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3.0


@pytest.mark.parametrize(("tone", "background"), [("light", "#ffffff"), ("dark", "#11161d")])
def test_text_in_figures_has_a_contrast_of_four_and_a_half_to_one(tone: str, background: str) -> None:
    light, dark = sorted((luminance(INK[tone]), luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
