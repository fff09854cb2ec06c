"""Lesson 2: number formats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import streamlit as st

from explorer import charts, compute, controls, tables
from explorer.bits import bits_editor, described
from explorer.fields import Choice, Number, Text, named, widths
from explorer.figures.losses import describe_losses, losses_figure
from explorer.figures.radix import describe_radix, radix_figure
from explorer.figures.rug_plot import RugPlot, describe_rug_plot, even_figure, inner_share, octave_figure
from explorer.formulas import Convention
from explorer.lessons.formats import format_comparison, integer_only, number_encodings
from explorer.lessons.formats.energy import energy_table, whole
from explorer.lessons.formats.format_comparison import RANGES, FormatCandidate
from explorer.lessons.framework.chapter import LAYER, VALUES, Chapter, Part
from explorer.lessons.framework.fields import SLIDER_WIDTH
from explorer.lessons.framework.layout import figures_of, numbers
from explorer.lessons.framework.model import Bench, Choices, Facts, Lesson, Option
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.scene import Held, Scene
from explorer.notation import count, decibels, latex, ratio, share, short
from explorer.refusals import refusals_said
from quant_engine import FloatFormat, IntFormat, QuantizerSpec
from quant_engine.energy import SOURCE

SLUG = "formats"
FORMAT = Choice(
    f"{SLUG}_format", named(number_encodings.NAMES), default=number_encodings.OPENING.format, menu=True, width=140
)
NUMBER = Text(f"{SLUG}_number", number_encodings.read_number, str, number_encodings.OPENING.number)
BITS = Choice(f"{SLUG}_bits", widths(8, 4), "8 bits", menu=True, width=96)
RANGE = Choice(f"{SLUG}_range", RANGES, "min–max", menu=True, width=124)
POINT = Number(
    f"{SLUG}_point", 0, number_encodings.WORD - 1, default=number_encodings.OPENING.point, width=2 * SLIDER_WIDTH
)
STEPS = {"tenth": 1 / 5, "third": 2 / 3, "same": 3 / 2, "three": 5.0}  # MSE of E4M3 in units of int8's: each less than
PREDICTED_BITS = 8
TAIL = 0.005  # of the values, at either end: without them lines of 8 bits can be told apart


def laboratory(bench: Bench) -> Scene:
    """Draw one part: the bits of a number, formats on the tensor, the radix point, integers alone, or what all cost."""
    scene = _scene(bench)
    with st.container(key=f"{SLUG}_drawn"):
        bench.part.draw(bench, scene)
    return scene


def _scene(bench: Bench) -> Scene:
    """Return what is on display, whichever part draws the controls."""
    bits, clipping = controls.current(BITS), controls.current(RANGE)
    spec = QuantizerSpec(IntFormat(bits, bench.subject.statistics.lo < 0), clipping=clipping)
    held = Held(controls.current(FORMAT), controls.unshown(NUMBER), controls.current(POINT))
    return Scene(bench.subject, spec, held=held)


def _words() -> dict[str, str]:
    return dict(read_prose(SLUG).laboratory)


def _bits(bench: Bench, scene: Scene) -> None:
    """Draw the bits of a number, and the number in every format."""
    with bench.controls:
        chosen = controls.show(FORMAT)
        if chosen == number_encodings.FIXED:
            controls.show(POINT)
    held = scene.held or number_encodings.OPENING
    holders = number_encodings.holders(held.point, number_encodings.scale_of(scene))
    bits_editor(
        f"{SLUG}_editor",
        [described(h.name, h.title, h.format, h.step) for h in holders.values()],
        chosen,
        repr(float(held.number)),  # Python reads more than a browser does: 1_000, say
        lambda name, number: controls.assign({FORMAT.key: name, NUMBER.key: number}),
        words=read_prose(SLUG).editor,
    )


def _tensor(bench: Bench, scene: Scene) -> None:
    """Draw what formats can stand for on the tensor, and what each loses."""
    with bench.controls:
        controls.show(BITS)
        controls.show(RANGE)
    said = _rugs(bench, scene)
    _contest(bench, scene)
    st.caption(said)


def _rugs(bench: Bench, scene: Scene) -> str:
    """Draw the values of every format beside those of the tensor, and return what to say of them."""
    subject, clipping = scene.subject, _clipping(scene)
    found = format_comparison.candidates(subject, _width(scene))
    levels = {candidate.name: format_comparison.levels(subject, candidate.spec(clipping)) for candidate in found}
    shown = RugPlot(subject.values, subject.statistics, levels, subject.unit)
    words, cut = describe_rug_plot(shown), TAIL if _width(scene) == PREDICTED_BITS else 0.0
    left, right = figures_of(0.5)
    with left:
        charts.show(even_figure(shown, bench.canvas, cut), f"{SLUG}_chart_even", words)
    with right:
        charts.show(octave_figure(shown, bench.canvas), f"{SLUG}_chart_octaves", words)
    inner = ", ".join(f"{name} {share(inner_share(values))}" for name, values in levels.items())
    half = share(number_encodings.fp32_share_to_one())
    ends = ", ".join(f"{name} {short(float(values[-1]))}" for name, values in levels.items())
    return f"{_words()['rugs_lead']} {_words()['inner'].format(inner=inner, ends=ends, half=half)}"


def _contest(bench: Bench, scene: Scene) -> None:
    """Draw what each format loses, once that may be told."""
    words = _words()
    if not bench.telling:
        st.info(words["contest_asked" if bench.predicted else "contest_locked"], icon=":material/lock:")
        return
    found = {way: format_comparison.losses(scene.subject, _width(scene), way) for way in RANGES}
    errors = {way: {candidate.name: lost.mse for candidate, lost in table.items()} for way, table in found.items()}
    left, right = figures_of(0.5)
    with left:
        charts.show(losses_figure(errors, bench.canvas), f"{SLUG}_chart_losses", describe_losses(errors))
    shape = scene.subject.values.shape
    with right:
        tables.table(
            [
                {
                    "format": candidate.name,
                    "bits, scale included": short(candidate.spec(_clipping(scene)).storage(shape).bits_per_value, 5),
                    **{f"MSE, {way}": short(errors[way][candidate.name]) for way in RANGES},
                    f"SQNR, {_clipping(scene)}": decibels(lost.sqnr_db),
                }
                for candidate, lost in found[_clipping(scene)].items()
            ]
        )


def _radix(bench: Bench, scene: Scene) -> None:
    """Draw what the place of the radix point costs."""
    words = _words()
    with bench.controls:
        point = controls.show(POINT)
    found = {
        number_encodings.point_name(form): lost
        for form, lost in format_comparison.points(scene.subject, _width(scene)).items()
    }
    names = list(found)
    chosen, best = names[min(point, len(names) - 1)], min(names, key=lambda name: found[name].mse)
    left, right = figures_of(0.6)
    with left:
        charts.show(radix_figure(found, chosen, bench.canvas), f"{SLUG}_chart_radix", describe_radix(found, chosen))
    with right, numbers():
        st.metric("Format", chosen)
        st.metric("MSE", short(found[chosen].mse))
        st.metric("Overflow", share(found[chosen].clipped_share))
        st.metric("Best place", best)
    with right:
        roomy = best == names[-1] and not found[best].clipped_share
        st.caption(words["radix_edge" if roomy else "radix_inside"])
    st.caption(words["radix_lead"])


def _energy(bench: Bench, scene: Scene) -> None:
    """Show what formats cost, as estimates."""
    words = _words()
    with refusals_said():
        plain = whole(bench.model, "FP32")
        named = {"model": compute.name(bench.model), "unit": compute.sample_unit(bench.model)}
        st.markdown(words["energy_lead"].format(n=count(plain.multiplications), **named))
        tables.table(energy_table(bench.model, words))
        st.caption(words["energy_source"].format(source=SOURCE))


def prediction(scene: Scene) -> str:
    """Say what E4M3 loses beside int8."""
    return next((name for name, end in STEPS.items() if _float_loss(scene) < end), "ten")


def facts(scene: Scene) -> Facts:
    """Return the numbers that the prose quotes."""
    holder, _ = number_encodings.holder_of(scene)
    found = format_comparison.losses(scene.subject, _width(scene), _clipping(scene))
    best = next(iter(found))
    min_mse = found[best].mse
    costs = {candidate.key: ratio(lost.mse, min_mse) if min_mse else "∞" for candidate, lost in found.items()}
    unused = dict.fromkeys(
        ("int", "fixed", *(key for others in format_comparison.OTHERS.values() for key in others)), "–"
    )
    eight, four = (
        next(iter(format_comparison.losses(scene.subject, bits, way))).name
        for bits, way in ((8, "min–max"), (4, "least MSE"))
    )
    lost = _float_loss(scene)
    candidate = format_comparison.candidates(scene.subject, PREDICTED_BITS)[0].name
    return {
        **unused,
        **costs,
        "bits": str(_width(scene)),
        "range": _clipping(scene),
        "best": best.name,
        "eight": eight,
        "four": four,
        "loss": f"{short(lost)} times" if lost >= 1 or not lost else f"1/{short(1 / lost)} of",
        "rival": candidate,
        "coarser": _coarser(scene),
        "symbols": _words()["symbols"] if isinstance(holder.format, FloatFormat) else "",
    }


def written(scene: Scene, convention: Convention) -> Sequence[str]:
    """Write out the bits' formula, and what an integer with a scale makes of the same number."""
    holder, number = number_encodings.holder_of(scene)
    scaled = number_encodings.holders(0, number_encodings.scale_of(scene))[number_encodings.SCALED]
    code = scaled.code(number)
    lines = number_encodings.bits_formula(holder, number)
    if code is None or holder.name == number_encodings.SCALED:
        return lines
    product = rf"{latex(scaled.step or 1.0)} \cdot {code} = {latex(scaled.value(code))}"
    integer = rf"\left[{convention.rounding}(r / S)\right]_{{-128}}^{{127}} = {product}"
    return (*lines, rf"\text{{int8:}} \quad \tilde r = S \cdot {integer}")


def question(scene: Scene) -> Choices:
    """Ask which format of this width loses least."""
    found = format_comparison.losses(scene.subject, _width(scene), _clipping(scene))
    best = next(iter(found))

    def option(candidate: FormatCandidate) -> Option:
        return Option("right" if candidate == best else candidate.key, candidate.name)

    return Choices(
        tuple(option(candidate) for candidate in format_comparison.candidates(scene.subject, _width(scene))), "right"
    )


def _float_loss(scene: Scene) -> float:
    """Return the error of E4M3 in units of that of 8-bit integers, both min–max."""
    found = {e.key: lost.mse for e, lost in format_comparison.losses(scene.subject, PREDICTED_BITS, "min–max").items()}
    if not found["int"]:
        return float("inf") if found["e4m3"] else 1.0
    return found["e4m3"] / found["int"]


def _coarser(scene: Scene) -> str:
    """Say from where on E4M3's steps are wider than those of 8-bit integers, and what of its error comes from there."""
    even, other = (
        format_comparison.levels(scene.subject, found.spec("min–max"))
        for found in format_comparison.candidates(scene.subject, PREDICTED_BITS)[:2]
    )
    up = other[other >= 0].astype(np.float64)
    wider = np.flatnonzero(np.diff(up) > float(even[-1]) - float(even[-2]))
    if not wider.size:
        return _words()["coarser_none"]
    place, spec = float(up[wider[0]]), format_comparison.candidates(scene.subject, PREDICTED_BITS)[1].spec("min–max")
    beyond, errors = format_comparison.from_place(scene.subject, spec, place)
    return _words()["coarser_some"].format(place=short(place), values=share(beyond), error=share(errors))


def _width(scene: Scene) -> int:
    return int(scene.spec.format.bits)


def _clipping(scene: Scene) -> str:
    return next(name for name, clipping in RANGES.items() if clipping == scene.spec.clipping)


def puzzles(scene: Scene) -> tuple[bool, ...]:
    """Say whether FP16 misses a whole number in its range, overflows where BF16 does not, and all floats are exact."""
    number = float(scene.held.number) if scene.held else math.nan
    half, brain = (number_encodings.stored(name, number) for name in ("FP16", "BF16"))
    exact = number and all(number_encodings.stored(name, number) == number for name in number_encodings.FLOATS)
    return number.is_integer() and half != number, math.isinf(half) and math.isfinite(brain), bool(exact)


def _integers(bench: Bench, scene: Scene) -> None:
    integer_only.draw(bench.model, bench.layer)


CHAPTER = Chapter(
    (
        Part("Bits", _bits, (LAYER, VALUES), own=(FORMAT,), opens=("Try", "Formula")),
        Part("Tensor", _tensor, (LAYER, VALUES), opens=("Predict", "See", "Check")),
        Part("Radix point", _radix, (LAYER, VALUES), own=(POINT,)),
        Part("Integers", _integers, (LAYER,), own=integer_only.FIELDS),
        Part("Cost", _energy, ()),
    )
)
LESSON = Lesson(
    2,
    SLUG,
    (NUMBER, BITS, RANGE),
    laboratory,
    prediction,
    facts,
    written,
    question,
    puzzles=puzzles,
    chapter=CHAPTER,
)
