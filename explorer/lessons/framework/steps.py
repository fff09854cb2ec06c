"""The five steps of a lesson in words: predict, try, see, the formula, and a question at a state not yet shown."""

from __future__ import annotations

import hashlib
from functools import partial

import streamlit as st

from explorer import controls, frame
from explorer.background import live
from explorer.formulas import CONVENTIONS, flowing
from explorer.lessons.framework import answers
from explorer.lessons.framework.glossary import linked
from explorer.lessons.framework.model import BEATS, Awaited, Choices, Facts, Lesson, Place
from explorer.lessons.framework.prose import words
from explorer.lessons.framework.scene import Scene
from explorer.notation import short
from explorer.sentences import verbatim
from explorer.teaching.restrictions import answers_wait, is_playing


def predict(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    """Say what the lesson is about, and ask what will happen."""
    st.markdown(linked(lesson.prose.lead))
    labels = {option.key: option.label.format_map(facts) for option in lesson.predicted(scene).options}
    st.radio(
        lesson.prose.predict.format_map(facts),
        list(labels),
        index=None,
        format_func=labels.__getitem__,
        key=answers.prediction_key(lesson),
        persist_state="session",
        on_change=answers.note_prediction,
        args=(lesson, labels),
    )


def attempt(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    """Say what to do, with settings to start from."""
    st.markdown(linked(lesson.prose.act.format_map(facts)))
    if not answers.is_told(lesson):
        st.caption(words()["hidden"])
    solved = answers.solved(lesson, lesson.puzzles(scene))
    for done, puzzle in zip(solved, lesson.prose.puzzles, strict=True):
        st.markdown(f":material/{'check_box' if done else 'check_box_outline_blank'}: {puzzle.format_map(facts)}")
    with st.container(horizontal=True, gap="small"):
        for number, preset in enumerate(lesson.prose.presets):
            settings = {f"{lesson.slug}_{name}": value for name, value in preset.settings.items()}
            st.button(preset.label, key=f"{lesson.slug}_preset_{number}", on_click=controls.assign, args=(settings,))


def see(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    """Compare what was predicted with what is so."""
    chosen = answers.prediction(lesson)
    if not answers.is_told(lesson):
        waits = answers_wait()
        st.info(words()["hidden_now" if waits else "predict_first"], icon=":material/lock:")
        if waits:
            return
        st.toggle(words()["show_anyway"], key=answers.anyway_key(lesson), persist_state="session")
        return
    asked = lesson.predicted(scene)
    if not asked.right:
        said = partial(st.info, words()["working_out"], icon=":material/hourglass:")
        live(said, lambda: not lesson.predicted(scene).right)
        return
    right = asked.option(asked.right).label.format_map(facts)
    yours = words()["none"] if chosen is None else lesson.prose.predictions[chosen].format_map(facts)
    says = words()["this_network_says" if lesson.whole else "this_tensor_says"]
    predicted = "" if is_playing() and chosen is None else f"{words()['you_predicted']}: **{yours}**  \n"
    st.markdown(f"{predicted}{says}: **{right}**")
    st.markdown(linked(lesson.prose.reveal.format_map(facts)))


def formula(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    """Write the formula with the numbers on display in it."""
    convention = frame.convention()
    for line in lesson.formulas(scene, convention):
        st.markdown(flowing(line))
    either = (lesson.formulas(scene, one) for one in CONVENTIONS.values())
    said = convention.sentence if len({tuple(lines) for lines in either}) > 1 else ""
    st.caption(f"{lesson.prose.formula.format_map(facts)} {said}")


def check(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    """Ask, and end the lesson."""
    asked = lesson.question(scene)
    if isinstance(asked, Awaited):
        st.info(asked.text.format_map(facts), icon=":material/hourglass:")
        st.button(asked.label, key=f"{lesson.slug}_awaited", icon=":material/play_arrow:", on_click=asked.start)
    elif isinstance(asked, Place):
        _ask_place(lesson, asked, facts)
    else:
        _ask_choices(lesson, asked, scene, facts)


def handout(lesson: Lesson, scene: Scene, facts: Facts) -> None:
    """Say the whole lesson on one page, to print: what was asked, predicted and found, the formula, and the answers."""
    prose = lesson.prose
    st.markdown(prose.lead)
    st.markdown(f"**{prose.predict.format_map(facts)}**")
    see(lesson, scene, facts)
    formula(lesson, scene, facts)
    st.markdown("\n".join(f"- {line}" for line in (*answers.told_answers(lesson), *prose.remember)))
    if prose.sources:
        st.caption(f"{words()['sources']}: {'; '.join(prose.sources)}.")


DRAW = dict(zip(BEATS, (predict, attempt, see, formula, check), strict=True))


def _ask_choices(lesson: Lesson, asked: Choices, scene: Scene, facts: Facts) -> None:
    state = answers.asked_in(lesson, scene.subject.key)
    key, labels = f"{lesson.slug}_answer_{_digest(state)}", {option.label: option.key for option in asked.options}
    if st.session_state.get(key) is None and (given := answers.answers(lesson).get(state)) in labels:
        st.session_state[key] = labels[given]  # as it was answered before
    chosen = st.radio(
        lesson.prose.question.format_map(facts),
        [option.key for option in asked.options],
        index=None,
        format_func=lambda key: verbatim(asked.option(key).label),
        key=key,
        on_change=answers.note_option,
        args=(lesson, state, key, asked),
    )
    if chosen is not None:
        _feedback(lesson, chosen, asked.is_right(chosen), facts)


def _ask_place(lesson: Lesson, asked: Place, facts: Facts) -> None:
    st.markdown(lesson.prose.question.format_map(facts))
    note = (lesson, asked.key, asked.here, asked.verdict(asked.here)[0] == "right")
    st.button(words()["this_place"].format(place=short(asked.here)), on_click=answers.note, args=note)
    guess = answers.answers(lesson).get(asked.key)
    if isinstance(guess, float):
        key, ratio = asked.verdict(guess)
        said = {"ratio": f"×{short(ratio)}", "guess": short(guess)}
        _feedback(lesson, key, key == "right", {**facts, **said})


def _feedback(lesson: Lesson, key: str, right: bool, facts: Facts) -> None:
    text = lesson.prose.feedback[key].format_map(facts)
    if right:
        st.success(text, icon=":material/check:")
    else:
        st.warning(text, icon=":material/psychology_alt:")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
