"""Integer-only arithmetic, in the lesson on number formats: one number step by step, then the whole network."""

from __future__ import annotations

import streamlit as st

from explorer import compute, controls, tables
from explorer.fields import Choice, Number, widths
from explorer.language import read_words
from explorer.lessons.formats.integer_agreement import compare
from explorer.lessons.formats.integer_pixel import TERM_STEPS, WORDS, followed, program_of, rows, terms
from explorer.notation import count, short
from explorer.pixel import pixel
from explorer.sources import ModelKey
from quant_engine import QuantError
from quant_engine.energy import SOURCE, Energy
from quant_engine.integer_only import count_operations
from quant_engine.studies import footprint

PREFIX = "formats_int"
FIELD_WIDTH = 118
MOST = 10**9


def _place(name: str, default: int) -> Number[int]:
    """Return the field of a place, whose end is the model's."""
    return Number(f"{PREFIX}_{name}", 0, MOST, default, box=True, width=FIELD_WIDTH)


SAMPLE = _place("image", 0)
CHANNEL = _place("channel", 2)
ROW = _place("row", 2)
COLUMN = _place("column", 5)
WEIGHTS = Choice(f"{PREFIX}_weights", widths(8, 4), "8 bits")
REGISTER = Choice(f"{PREFIX}_register", widths(32, 24, 16), "32 bits", menu=True, width=FIELD_WIDTH)
STEP = Number(f"{PREFIX}_step", 1, 12, 1, box=True, width=FIELD_WIDTH)
FIELDS = (SAMPLE, CHANNEL, ROW, COLUMN, WEIGHTS, REGISTER, STEP)
MICRO = 1e-6  # of a picojoule, in microjoules


@st.fragment
def draw(model: ModelKey, layer: str) -> None:
    """Draw one number's steps, and the whole network below."""
    words = read_words(WORDS)
    try:
        _steps(model, layer)
        st.caption(words["lead"].format(layer=layer, unit=compute.sample_unit(model)))
        _network(model)
    except QuantError as error:
        st.error(words["refused"].format(error=error), icon=":material/error:")


def _steps(model: ModelKey, layer: str) -> None:
    words, info = read_words(WORDS), compute.network(model).layers()[layer]
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small", key=f"{PREFIX}_controls")
    with row:
        register = controls.show(REGISTER)
        with st.popover(words["which"], key=f"{PREFIX}_which"):
            weight_bits = controls.show(WEIGHTS)
            label = words["sample"].format(unit=compute.sample_unit(model))
            sample = _field(SAMPLE, len(compute.network(model).data("test")[1]) - 1, label=label)
            channel = _field(CHANNEL, info.output_shape[0] - 1)
            place = tuple(
                _field(field, size - 1) for field, size in zip((ROW, COLUMN), info.output_shape[1:], strict=False)
            )
    found, real = followed(model, weight_bits, register, sample, layer, channel, place)
    listed, rest = terms(found, real, weight_bits)
    steps = rows(found, real, register)
    last = TERM_STEPS + len(steps)
    controls.hold(STEP, last)
    with row:
        step = min(controls.show(STEP), last)
        for key, target in (("next", min(step + 1, last)), ("back", max(step - 1, 1)), ("start", 1), ("all", last)):
            st.button(
                words[key],
                key=f"{PREFIX}_{key}",
                type="primary" if key == "next" else "secondary",
                disabled=target == step,
                on_click=controls.assign,
                args=({STEP.key: target},),
            )
    if step <= TERM_STEPS:
        st.caption(words[f"step_{step}"].format(z=count(found.zero_point), bits=weight_bits))
    pixel(f"{PREFIX}_pixel", listed, rest, steps, step, words={k: v for k, v in words.items() if k in HEADINGS})


HEADINGS = ("place", "code", "weight", "product", "real")


def _field(field: Number[int], max_value: int, **special: str) -> int:
    controls.hold(field, max_value)
    return min(controls.show(field, **special), max_value)


def _network(model: ModelKey) -> None:
    """Show accuracy beside simulated and float, what differs, and what it costs."""
    words = read_words(WORDS)
    st.subheader(words["accuracy_title"])
    weight_bits, register = (
        field.meaning(st.session_state.get(field.key) or field.default) for field in (WEIGHTS, REGISTER)
    )
    compare(model, weight_bits, register)
    _operations(model, weight_bits)


def _operations(model: ModelKey, weight_bits: int) -> None:
    words, network, program = read_words(WORDS), compute.network(model), program_of(model, weight_bits)
    found, plain = count_operations(network, program, weight_bits), footprint(network).compute
    multiplications = sum(info.multiplications for info in network.layers().values())
    parts: tuple[tuple[str, int, Energy | None], ...] = (
        ("multiplications", found.multiplications, found.multiply),
        ("additions", found.additions, None),
        ("comparisons", found.comparisons, None),
        ("requantizations", found.requantizations, found.requantize),
    )
    energies = {
        "additions": found.add * (found.additions / (found.additions + found.comparisons)),
        "comparisons": found.add * (found.comparisons / (found.additions + found.comparisons)),
    }
    table = [_cost(words[key], count(number), energy or energies[key]) for key, number, energy in parts]
    table.append(_cost(words["integer_total"], "", found.compute))
    table.append(_cost(words["float_total"], f"{count(multiplications)} × and +", plain))
    tables.table(table)
    worst = max(program.bounds.values(), key=lambda bounds: bounds.bits)
    st.caption(
        words["energy_note"].format(
            source=SOURCE,
            ratio=short(plain.picojoules / found.compute.picojoules),
            bits=worst.bits,
            layer=worst.name,
        )
    )


def _cost(name: str, number: str, energy: Energy) -> dict[str, str]:
    words = read_words(WORDS)
    return {
        words["column_operation"]: name,
        words["column_count"]: number,
        words["column_energy"]: short(energy.picojoules * MICRO),
    }
