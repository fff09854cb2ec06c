"""Integer-only beside simulated on all test data: run in the background on request, and each difference explained."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import streamlit as st

from explorer import compute, tables
from explorer.caches import ResultKey
from explorer.language import read_words
from explorer.lessons.formats.integer_pixel import WORD, WORDS, plan_of, program_of
from explorer.lessons.framework import study
from explorer.lessons.framework.layout import numbers
from explorer.lessons.framework.study import Study
from explorer.notation import MINUS, accuracy, count, fixed, short, unbroken
from explorer.sources import ModelKey
from quant_engine.batches import BATCH
from quant_engine.integer_only import WAYS, Difference, LabelAgreement, agreeing, integer_accuracy
from quant_engine.network import Score

NAME = "formats_int_run"
MAX_LISTED = 25


@dataclass
class AgreementFindings:
    """What is known so far of one network with weights of so many bits."""

    plain: Score | None = None
    agreement: LabelAgreement | None = None


def findings(model: ModelKey, weight_bits: int) -> AgreementFindings:
    """Return what is known, for all sessions."""
    return compute.kept(ResultKey("integer findings", model, weight_bits), AgreementFindings)


def comparison_of(model: ModelKey, weight_bits: int) -> Study:
    """Return the running of all test data in every way, a batch at a time."""
    network, found = compute.network(model), findings(model, weight_bits)

    def steps() -> Generator[object, None, None]:
        found.plain = network.evaluate()
        yield found
        for agreement in agreeing(network, plan_of(model, weight_bits)):
            found.agreement = agreement
            yield found

    total = 1 + math.ceil(len(network.data()[1]) / BATCH)
    return Study(ResultKey(NAME, model, weight_bits), steps, total)


def compare(model: ModelKey, weight_bits: int, register: int) -> None:
    """Draw the button that starts the comparison, or the comparison as far as it has come."""
    words, comparison = read_words(WORDS), comparison_of(model, weight_bits)
    if study.asked(NAME) is None:
        label = words["accuracy_run"].format(samples=compute.samples(model, "test"))
        st.button(label, key=f"{NAME}_button", on_click=study.start, args=(comparison,))
        return
    study.show(comparison, words["accuracy_running"], lambda _: _draw(findings(model, weight_bits)))
    if register < WORD:
        _narrow(model, weight_bits, register)


def _narrow(model: ModelKey, weight_bits: int, register: int) -> None:
    words, network = read_words(WORDS), compute.network(model)
    with st.spinner(words["overflow_running"].format(bits=register)):
        found = compute.kept(
            ResultKey("narrow accuracy", model, weight_bits, register),
            lambda: integer_accuracy(network, program_of(model, weight_bits).accumulating(register, "wrap")),
        )
    st.warning(words["overflow_run"].format(bits=register, accuracy=accuracy(found.value)))


def _draw(found: AgreementFindings) -> None:
    """Draw what is known: accuracies, how the ways differ, and each sample that does."""
    words, agreement = read_words(WORDS), found.agreement
    if found.plain is None or agreement is None:
        return
    with numbers():
        for key, result in (("float", found.plain), ("simulated", agreement.simulated), ("integer", agreement.integer)):
            low, high = result.interval
            st.metric(
                words[key],
                f"{fixed(100 * result.value, 2)} %",
                f"{accuracy(low)} – {accuracy(high)}",
                delta_color="off",
                delta_arrow="off",
                help=words["of"].format(correct=count(round(result.value * result.n)), total=count(result.n)),
            )
    total = count(len(agreement.truth))
    tables.table(way_rows(agreement))
    st.markdown(words["ways_note"])
    if not agreement.differences:
        st.markdown(words["no_difference"].format(total=total))
        return
    why = words["explained_all" if agreement.explained else "explained_not"]
    st.markdown(words["differences"].format(n=len(agreement.differences), total=total, explained=why))
    tables.table([difference_row(agreement, difference) for difference in agreement.differences[:MAX_LISTED]])
    st.caption(words["difference_note"])


def way_rows(agreement: LabelAgreement) -> list[dict[str, str]]:
    """Return a line for each way: labels right, unlike the simulation's, and unlike those of the way before."""
    words = read_words(WORDS)
    right = words["column_right"].format(total=count(len(agreement.truth)))
    return [
        {
            words["column_way"]: words[f"way_{way}"],
            right: count(agreement.accuracy(way).correct),
            words["column_unlike"]: "" if way == WAYS[0] else count(agreement.unlike(way, WAYS[0])),
            words["column_change"]: "" if way == WAYS[0] else count(agreement.unlike(way, before)),
        }
        for before, way in zip((WAYS[0], *WAYS), WAYS, strict=False)
    ]


def _steps(value: float) -> str:
    return fixed(value, 4).replace("-", MINUS)


def difference_row(agreement: LabelAgreement, difference: Difference) -> dict[str, str]:
    """Return one sample: its labels, how near to each other they are, and where the first code turns over."""
    words = read_words(WORDS)
    place = ", ".join(map(str, difference.place))
    first = words["logits"] if difference.layer == "logits" else f"{difference.layer} [{place}]"
    if difference.count > 1:
        first += words["and_others"].format(n=count(difference.count - 1))
    labels = (agreement.truth[difference.image], *(agreement.labels[way][difference.image] for way in WAYS))
    row = {
        words["column_sample"]: str(difference.image),
        words["column_truth"]: str(labels[0]),
        words["column_labels"]: " → ".join(str(label) for label in labels[1:]),
        words["column_leads"]: " → ".join(short(lead, 2) for lead in difference.leads),
        words["column_place"]: first,
        words["column_values"]: " → ".join(_steps(value) for value in (*difference.values[1:3], difference.values[4])),
        words["column_codes"]: " → ".join(count(code) for code in difference.codes),
        words["column_cause"]: ", ".join(f"{words[f'cause_{cause}']} {count(n)}" for cause, n in difference.causes),
    }
    return {name: unbroken(cell) for name, cell in row.items()}
