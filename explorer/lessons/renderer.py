"""The one way a lesson is shown: five beats above its laboratory, a beat at a time, at the student's pace."""

from __future__ import annotations

import hashlib

import streamlit as st

from explorer import charts, compute, controls, frame, tensors
from explorer.formulas import CONVENTIONS, Convention, flowing
from explorer.lessons.links import is_exact, playground_link
from explorer.lessons.model import BEATS, Awaited, Bench, Choices, Facts, Lesson, Place, Told
from explorer.lessons.prose import words
from explorer.lessons.scene import Scene
from explorer.notation import short
from explorer.page_table import PLAYGROUND, pages_folder
from explorer.refusals import refusals_said
from quant_engine import QuantError

STEPS_OF_PLACE = 200


def show(lesson: Lesson) -> None:
    """Draw a lesson's page."""
    st.header(f"{lesson.number}  {lesson.prose.title}")
    st.markdown(lesson.prose.lead)
    _body(lesson)


@st.fragment
def _body(lesson: Lesson) -> None:
    """Draw everything that answers a control. The beats stand above the laboratory but are drawn after it."""
    beats = st.container(border=True)
    with st.container():
        try:
            scene = _laboratory(lesson)
        except QuantError as error:
            st.error(f"This setting cannot be used: {error}", icon=":material/error:")
            return
    with beats:
        beat = controls.show(lesson.beat)
        title = scene.subject.title
        named = {"tensor": title, "Tensor": title[0].upper() + title[1:]}
        facts = lesson.facts(scene)
        with refusals_said():
            DRAW[beat](lesson, scene, facts if isinstance(facts, Told) else {**facts, **named})
        _footer(lesson, scene, beat)
    if lesson.appendix:
        lesson.appendix.draw(*frame.selected())


def _laboratory(lesson: Lesson) -> Scene:
    model, layer = frame.selected()
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="medium")
    with row:
        source, outlier = _tensor(lesson)
    with st.spinner(words()["reading"]):
        subject = tensors.subject(source, model, layer, outlier)
    return lesson.laboratory(
        Bench(
            subject,
            row,
            charts.canvas(subject.key),
            predicted=_prediction(lesson) is not None or _shown_anyway(lesson),
            writing=_beat_to_come(lesson) == BEATS[-2],
            asking=_beat_to_come(lesson) == BEATS[-1],
            model=model,
            layer=layer,
            guesses=_guesses(lesson),
        )
    )


def _tensor(lesson: Lesson) -> tuple[str, int]:
    """Show the choice of a tensor where the lesson has one, and return its source and outlier."""
    if not lesson.tensor:
        return lesson.source, 0
    source_field, outlier_field = lesson.tensor
    source = controls.show(source_field)
    return source, controls.show(outlier_field) if source in tensors.SYNTHETIC else 0


def _predict(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    asked = lesson.predicted(scene)
    st.radio(
        lesson.prose.predict.format_map(facts),
        [option.key for option in asked.options],
        index=None,
        format_func=lambda key: asked.option(key).label.format_map(facts),
        key=_prediction_key(lesson),
        persist_state="session",
    )
    if _prediction(lesson) is not None:
        st.caption(words()["predicted"])


def _act(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    st.markdown(lesson.prose.act.format_map(facts))
    with st.container(horizontal=True):
        for number, preset in enumerate(lesson.prose.presets):
            settings = {f"{lesson.slug}_{name}": value for name, value in preset.settings.items()}
            st.button(preset.label, key=f"{lesson.slug}_preset_{number}", on_click=controls.assign, args=(settings,))


def _reveal(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    chosen = _prediction(lesson)
    if chosen is None and not _shown_anyway(lesson):
        st.info(words()["predict_first"], icon=":material/lock:")
        st.toggle(words()["show_anyway"], key=_anyway_key(lesson), persist_state="session")
        return
    asked = lesson.predicted(scene)
    if not asked.right:
        st.info(words()["working_out"], icon=":material/hourglass:")
        return
    right = asked.option(asked.right).label.format_map(facts)
    yours = words()["none"] if chosen is None else asked.option(chosen).label.format_map(facts)
    left, other = st.columns(2)
    left.markdown(f"{words()['you_predicted']}  \n**{yours}**")
    says = words()["this_network_says" if lesson.whole else "this_tensor_says"]
    other.markdown(f"{says}  \n**{right}**")
    st.markdown(lesson.prose.reveal.format_map(facts))


def _formula(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    convention: Convention = frame.convention()
    for line in lesson.formulas(scene, convention):
        st.markdown(flowing(line), text_alignment="center")
    either = (lesson.formulas(scene, one) for one in CONVENTIONS.values())
    said = convention.sentence if len({tuple(lines) for lines in either}) > 1 else ""
    st.caption(f"{lesson.prose.formula.format_map(facts)} {said}")


def _question(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    asked = lesson.question(scene)
    if isinstance(asked, Awaited):
        st.info(asked.text.format_map(facts), icon=":material/hourglass:")
        st.button(asked.label, key=f"{lesson.slug}_awaited", icon=":material/play_arrow:", on_click=asked.start)
    elif isinstance(asked, Place):
        _ask_place(lesson, asked, scene, facts)
    else:
        _ask_choices(lesson, asked, scene, facts)


def _ask_choices(lesson: Lesson, asked: Choices, scene: Scene, facts: Facts) -> None:
    chosen = st.radio(
        lesson.prose.question.format_map(facts),
        [option.key for option in asked.options],
        index=None,
        format_func=lambda key: asked.option(key).label,
        key=_answer_key(lesson, scene),
    )
    if chosen is not None:
        _feedback(lesson, chosen, asked.is_right(chosen), facts)


def _ask_place(lesson: Lesson, asked: Place, scene: Scene, facts: Facts) -> None:
    key = f"{lesson.slug}_answer_{_digest(asked.key)}"
    with st.form(f"{key}_form", border=False):
        st.slider(
            lesson.prose.question.format_map(facts),
            asked.least,
            asked.greatest,
            asked.greatest,
            step=(asked.greatest - asked.least) / STEPS_OF_PLACE,
            format="%.4g",
            key=key,
        )
        st.form_submit_button(words()["this_place"], on_click=_note_guess, args=(lesson, asked.key, key))
    if asked.key in _guesses(lesson):
        guess = _guesses(lesson)[asked.key]
        key, ratio = asked.verdict(guess)
        _feedback(
            lesson,
            key,
            key == "right",
            {**facts, "ratio": f"×{short(ratio)}", "best": short(asked.best), "guess": short(guess)},
        )


DRAW = dict(zip(BEATS, (_predict, _act, _reveal, _formula, _question), strict=True))


def _feedback(lesson: Lesson, key: str, right: bool, facts: Facts) -> None:
    text = lesson.prose.feedback[key].format_map(facts)
    if right:
        st.success(text, icon=":material/check:")
    else:
        st.warning(text, icon=":material/psychology_alt:")


def _footer(lesson: Lesson, scene: Scene, beat: str) -> None:
    """Offer the next beat, and the playground as it would look with this state."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        if beat != BEATS[-1]:
            following = BEATS[BEATS.index(beat) + 1]
            st.button(
                f"{words()['continue']}: {following}",
                key=f"{lesson.slug}_continue",
                type="primary",
                icon=":material/arrow_forward:",
                on_click=controls.assign,
                args=({lesson.beat.key: following},),
            )
        model, layer = frame.selected()
        place = {frame.MODEL_KEY: compute.name(model), frame.TENSOR_KEY: layer}
        st.page_link(
            pages_folder() / PLAYGROUND,
            label=words()["open_playground" if is_exact(scene) else "open_playground_near"],
            icon=":material/open_in_full:",
            query_params=place | playground_link(scene),
            help=None if scene.subject.is_weight else words()["playground_shows_weights"],
        )


def _beat_to_come(lesson: Lesson) -> str:
    """Return the beat that will be drawn: its control, still to come in this run, may be set by the URL only."""
    return str(st.session_state.get(lesson.beat.key) or st.query_params.get(lesson.beat.key) or lesson.beat.default)


def _prediction_key(lesson: Lesson) -> str:
    return f"{lesson.slug}_prediction"


def _anyway_key(lesson: Lesson) -> str:
    return f"{lesson.slug}_show_anyway"


def _prediction(lesson: Lesson) -> str | None:
    return st.session_state.get(_prediction_key(lesson))


def _shown_anyway(lesson: Lesson) -> bool:
    return bool(st.session_state.get(_anyway_key(lesson)))


def _answer_key(lesson: Lesson, scene: Scene) -> str:
    """Return a key that ends with what was asked: another state asks another question."""
    return f"{lesson.slug}_answer_{_digest(scene.key)}"


def _guesses(lesson: Lesson) -> dict[str, float]:
    """Return the answers to `Place` questions that were given in this session."""
    found: dict[str, float] = st.session_state.setdefault(f"{lesson.slug}_guesses", {})
    return found


def _note_guess(lesson: Lesson, asked: str, key: str) -> None:
    """Keep an answer (a callback)."""
    _guesses(lesson)[asked] = st.session_state[key]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
