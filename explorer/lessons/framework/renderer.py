"""The one way a lesson is shown: its words at the left, the figure they speak of at the right, a step at a time."""

from __future__ import annotations

import streamlit as st

from explorer import charts, compute, controls, frame, tensors
from explorer.fields import spoken
from explorer.language import read_words
from explorer.lessons import LESSONS
from explorer.lessons.framework import answers, progress, steps
from explorer.lessons.framework.chapter import ALONE, LAYER, VALUES
from explorer.lessons.framework.links import is_exact, playground_link
from explorer.lessons.framework.model import BEATS, Bench, LazyFacts, Lesson
from explorer.lessons.framework.prose import words
from explorer.lessons.framework.reading import read_subject
from explorer.lessons.framework.scene import Scene
from explorer.page_table import PLAYGROUND, pages_folder
from explorer.presenting import presenting
from explorer.refusals import refusals_said
from explorer.sentences import capital
from explorer.teaching.restrictions import is_playing
from quant_engine import QuantError

WORDS_WIDTH = 360  # pixels
STYLE = """<style>  /* or ticks and controls need a second row, and lines of a formula that breaks touch */
:is([class*=_beat], [class*=_part]) button { padding-inline: 0.375rem; }
@media (min-width: 1200px) { [data-testid=stMainBlockContainer] { padding-inline: 1.75rem; } }
.katex .base { margin-block: 0.2rem; }
[class*=_said] h2 { padding-top: 0; }
</style>"""


@st.fragment
def show(lesson: Lesson) -> None:
    """Draw a lesson's page. The words stand before the laboratory but are drawn after it, with its numbers."""
    with st.container(horizontal=True, gap="medium", key=f"{lesson.slug}_sides"):
        said = st.container(width=WORDS_WIDTH, key=f"{lesson.slug}_said")
        shown = st.container(key=f"{lesson.slug}_shown")
    with said:
        if not presenting():
            at = {"number": lesson.number, "total": len(LESSONS), "minutes": lesson.prose.minutes}
            st.caption(words()["numbered"].format_map(at))
        st.header(lesson.prose.title)
        beat = _stepper(lesson)
        step, onward = st.container(key=f"{lesson.slug}_said_step"), st.container()
    with shown:
        try:
            scene = _laboratory(lesson, beat)
        except QuantError as error:
            st.error(read_words("frame")["refusals"]["setting"].format(error=error), icon=":material/error:")
            return
    if scene is None:
        return
    with step:
        _words(lesson, scene, beat)
    with onward:
        _onward(lesson, beat)
        if beat == BEATS[-1]:
            _end(lesson)
        else:  # where it would answer the question
            _playground(scene)
        if _has_handout(lesson, beat):
            st.toggle(
                words()["handout"],
                key=f"{lesson.slug}_handout",
                help=words()["handout_help"],
                persist_state="session",
            )
    if not is_playing():
        progress.keep()


def _stepper(lesson: Lesson) -> str:
    """Draw the five steps, with a tick before those that a reader has done, and return the one on display."""
    field, done = lesson.beat, [beat for beat in BEATS if answers.is_done(lesson, beat) and not presenting()]
    named = {beat: ":material/check: " * (beat in done) + spoken(beat) for beat in BEATS}
    beat = controls.linked(field)
    st.html(STYLE)
    if controls.is_hidden(field):
        return beat
    st.segmented_control(
        field.label,
        BEATS,
        key=field.key,
        required=True,
        format_func=named.__getitem__,
        label_visibility="collapsed",
        disabled=controls.is_locked(field),
        on_change=_stepped,
        args=(lesson, beat),
    )
    return beat


def _laboratory(lesson: Lesson, beat: str) -> Scene | None:
    """Draw the laboratory, or how far a large model has run for its tensor.

    A question is asked of another tensor than the one that the steps before have shown.
    """
    part = lesson.chapter.show(lesson.slug, beat) if lesson.chapter else ALONE
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key=f"{lesson.slug}_controls")
    checking = beat == BEATS[-1]
    another = checking and not lesson.whole
    with row, frame.menus(f"{lesson.slug}_subject", LAYER in part.takes):
        before = {"label": words()["tensor_before"]} if another else {}
        model, layer = frame.choose_tensor(LAYER in part.takes, **before)
        source, outlier = _tensor(lesson, VALUES in part.takes, another)
    if another:
        source, layer = tensors.another(source, model, layer)
    subject = read_subject(source, model, layer, outlier)
    if subject is None:
        return None
    if another:
        st.caption(lesson.prose.laboratory.get("asked_of", words()["asked_of"]).format(tensor=subject.title))
    answered = checking and answers.asked_in(lesson, subject.key) in answers.right_answers(lesson)
    bench = Bench(
        subject,
        row,
        charts.canvas(subject.key),
        predicted=answered or answers.is_told(lesson),
        trying=beat == BEATS[1],
        writing=beat == BEATS[-2],
        asking=checking and not answered,
        answers=answers.answers(lesson),
        model=model,
        layer=layer,
        part=part,
    )
    return lesson.laboratory(bench)


def _tensor(lesson: Lesson, drawn: bool, another: bool) -> tuple[str, int]:
    """Return the source of the tensor and its outlier, with their controls where the lesson has some that count.

    Where the question is about another tensor, they are what the steps before have shown.
    """
    if not lesson.tensor:
        return lesson.source, 0
    source_field, outlier_field = lesson.tensor
    before = {"label": words()["values_before"]} if another else {}
    source = controls.show(source_field, **before) if drawn else controls.unshown(source_field)
    if source not in tensors.SYNTHETIC:
        return source, 0
    return source, controls.show(outlier_field) if drawn and not another else controls.unshown(outlier_field)


def _words(lesson: Lesson, scene: Scene, beat: str) -> None:
    title = scene.subject.title
    named = {"tensor": title, "Tensor": capital(title)}
    with refusals_said():
        facts = lesson.facts(scene)
        told = facts if isinstance(facts, LazyFacts) else {**facts, **named}
        whole = _has_handout(lesson, beat) and st.session_state.get(f"{lesson.slug}_handout")
        draw = steps.handout if whole else steps.DRAW[beat]
        draw(lesson, scene, told)


def _has_handout(lesson: Lesson, beat: str) -> bool:
    """Say whether the whole lesson can be shown on one page: where its result is."""
    return beat == BEATS[2] and answers.is_told(lesson)


def _onward(lesson: Lesson, beat: str) -> None:
    """Offer the next step, and at the end the next lesson: one button, which keeps the focus."""
    key, place = f"{lesson.slug}_continue", BEATS.index(beat) + 1
    if controls.is_locked(lesson.beat):
        return
    if place < len(BEATS):
        st.button(
            f"{words()['continue']}: {spoken(BEATS[place])}",
            key=key,
            type="primary",
            icon=":material/arrow_forward:",
            on_click=_go_on,
            args=(lesson, beat),
        )
    elif lesson.number < len(LESSONS):
        following = next(other for other in LESSONS.values() if other.number == lesson.number + 1)
        label = words()["next_lesson"].format(number=following.number, title=following.prose.title)
        left = {f"{lesson.slug}_left": True}
        st.button(
            label, key=key, type="primary", icon=":material/arrow_forward:", on_click=controls.assign, args=(left,)
        )
        if st.session_state.pop(f"{lesson.slug}_left", False):  # the button itself was pressed in the step before, too
            st.switch_page(pages_folder() / f"lesson_{following.slug}.py", query_params={})


def _go_on(lesson: Lesson, beat: str) -> None:
    """Show the next step (a callback)."""
    answers.note_done(lesson, beat)
    controls.assign({lesson.beat.key: BEATS[BEATS.index(beat) + 1]})
    _stepped(lesson, beat)


def _stepped(lesson: Lesson, before: str) -> None:
    """Set what the words of the step speak of, and as it was what the step before has set (a callback)."""
    state, key = st.session_state, f"{lesson.slug}_kept"
    fields = {field.key: field for field in lesson.all_fields if not controls.is_locked(field)}
    kept, left = state.pop(key, {}), lesson.sets.get(before, {})
    back = {name: kept.get(name, fields[name].default) for name in left if name in fields}
    controls.assign({name: value for name, value in back.items() if state.get(name) == left[name]})
    wanted = {name: value for name, value in lesson.sets.get(state[lesson.beat.key], {}).items() if name in fields}
    state[key] = {name: state.get(name, fields[name].default) for name in wanted}
    controls.assign(wanted)


def _end(lesson: Lesson) -> None:
    """Say what to remember, where it comes from, and what else there is to say."""
    prose = lesson.prose
    st.markdown("\n".join(f"- {line}" for line in prose.remember))
    if prose.sources:
        st.caption(f"{words()['sources']}: {'; '.join(prose.sources)}.")
    st.download_button(
        words()["record"],
        progress.record(),
        "quant-explorer-record.md",
        "text/markdown",
        key=f"{lesson.slug}_record",
        icon=":material/download:",
        help=words()["record_help"],
        on_click="ignore",
    )


def _playground(scene: Scene) -> None:
    """Offer the playground as it would look with this state."""
    model, layer = frame.selected()
    exactly = "open_playground" if scene.subject.is_weight else "open_playground_weights"
    place = {frame.MODEL_KEY: compute.name(model), frame.TENSOR_KEY: layer}
    st.page_link(
        pages_folder() / PLAYGROUND,
        label=words()[exactly if is_exact(scene) else "open_playground_near"],
        icon=":material/open_in_full:",
        query_params=place | playground_link(scene),  # no help: it would cover the button above
    )
