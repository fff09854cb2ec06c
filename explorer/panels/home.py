"""The opening page: a sentence, the ways in, a layer's weights under the hand, and what the network makes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from explorer import compute, controls, model_scores, notation
from explorer.background import live
from explorer.compiling import await_first_picture
from explorer.instrument import Move
from explorer.language import read_words
from explorer.lessons import LESSONS
from explorer.lessons.clipping.trade import trade
from explorer.lessons.framework import progress
from explorer.page_table import OPEN, PLAYGROUND, pages_folder
from explorer.panels.instrument import changes, instrument_panel
from explorer.pins import HOME
from explorer.refusals import refusals_said
from explorer.sources import MODELS, ModelKey, opening_model
from explorer.state import PlaygroundState
from explorer.teaching.restrictions import answers_wait, is_playing
from quant_engine import LayerPlan, QuantError, QuantizerSpec

OPENS = PlaygroundState()
ANY = (-1.0, 1.0)  # extremes: its range goes to those of each layer


@dataclass(frozen=True)
class WayIn:
    """A link, with what it is for, that takes along some of what is shown; `told` is filled into its words."""

    name: str
    script: str
    icon: str
    takes: Callable[[str], bool]
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What it is called."""
        return str(read_words("home")[self.name]["label"].format(**self.told))

    @property
    def text(self) -> str:
        """What it is for."""
        return str(read_words("home")[self.name]["text"].format(**self.told))


WAYS_IN = (
    WayIn("learn", "lesson_bits.py", ":material/school:", lambda name: False),
    WayIn("explore", PLAYGROUND, ":material/tune:", lambda name: True),
    WayIn("open", OPEN, ":material/folder_open:", lambda name: False),
)


def home_panel() -> None:
    """Draw words and ways in first, then the instrument, and the accuracies as they come."""
    model = MODELS.key(opening_model())
    layer, settings = MODELS.opening_layer(opening_model()), _settings()
    info, said = compute.network(model).layers()[layer], read_words("home")
    sentence, figure = st.columns([5, 7])
    with sentence:
        st.header(said["title"], anchor=False)
        st.markdown(said["text"].format(n=notation.count(info.parameters), bits=OPENS.bits))
        numbers = st.container()
    _ways_in(compute.name(model), layer, settings)
    await_first_picture()
    values = compute.matrix(model, layer)
    for tried in dict.fromkeys((settings, OPENS)):
        try:
            spec = tried.spec(float(values.min()), float(values.max()))
            view, plans = compute.block_view(model, layer, spec, 0), tried.plans(spec)
        except QuantError as error:
            figure.error(read_words("frame")["refusals"]["setting"].format(error=error), icon=":material/error:")
            continue
        with figure:
            instrument_panel(model, layer, tried, spec, 0, view, "home_instrument", _moved, compact=True)
            with refusals_said():
                _why(model, layer, spec)
        with numbers:
            _accuracies(model, layer, plans)
        break
    if not is_playing():
        progress.keep()


def _settings() -> PlaygroundState:
    """Return what the hand has set here."""
    shown: tuple[PlaygroundState, ...] = controls.unshown(HOME)
    return shown[0] if shown else OPENS


def _moved(move: Move) -> None:
    """Take over what the hand has set (a callback)."""
    moved = replace(_settings(), **changes(_settings(), move))
    controls.assign({HOME.key: HOME.held(() if moved == OPENS else (moved,))})


def _ways_in(model: str, layer: str, settings: PlaygroundState) -> None:
    here = {"model": model, "tensor": layer, "play_format": settings.word("kind"), **settings.link()}
    ways = (_learning(), *WAYS_IN[1:]) if progress.progress() else WAYS_IN
    for place, way in zip(st.columns(len(ways)), ways, strict=True):
        with place.container(border=True, gap=None):
            link = {name: here[name] for name in here if way.takes(name)}
            st.page_link(pages_folder() / way.script, label=f"**{way.label}**", icon=way.icon, query_params=link)
            st.caption(way.text)


def _why(model: ModelKey, layer: str, spec: QuantizerSpec) -> None:
    """Say why a range that is all that a hand has changed is better or worse than the one that the page opens with."""
    opens = OPENS.spec(*ANY)
    if spec == opens or replace(spec, clipping=opens.clipping) != opens or answers_wait():
        return
    said = trade(compute.outcome(model, layer, opens), compute.outcome(model, layer, spec), "weight")
    if said:
        st.markdown(said)
        lesson = LESSONS["clipping"]
        label = read_words("home")["why"].format(number=lesson.number, title=lesson.prose.title)
        st.page_link(
            pages_folder() / f"lesson_{lesson.slug}.py", label=label, icon=":material/school:", query_params={}
        )


def _learning() -> WayIn:
    """Return the way to where the course was left."""
    lesson = progress.stopped_at()
    told = {"number": lesson.number, "title": lesson.prose.title, "ended": progress.ended(), "total": len(LESSONS)}
    return replace(WAYS_IN[0], name="learn_on", script=f"lesson_{lesson.slug}.py", told=told)


def _accuracies(model: ModelKey, layer: str, plans: tuple[LayerPlan, LayerPlan | None]) -> None:
    """Draw the network's accuracy in floating point, with all layers as the page opens, and as the hand has it."""
    try:
        compute.require_task(model)
    except QuantError:
        return
    plain = OPENS.spec(*ANY)
    before = model_scores.accuracies("home before", model, layer, *OPENS.plans(plain))
    started, said = time.monotonic(), read_words("home")
    waiting = read_words("frame")["waiting"]["running_for"]
    now = model_scores.accuracies("home now", model, layer, *plans)

    def draw() -> None:
        with st.container(horizontal=True, gap="medium", key="home_accuracy"):
            for label, task, which in (
                (said["float32"], before, 0),
                (said["all_layers"].format(bits=OPENS.bits), before, 2),
                (said["now"], now, 2),
            ):
                pending = waiting.format(seconds=f"{time.monotonic() - started:.0f}")
                refused = isinstance(task.error, QuantError)
                value = "–" if refused else notation.shown_score(task.result()[which]) if task.ended else pending
                st.metric(label, value, width="content")

    live(draw, lambda: before.active or now.active)
