"""The fourth laboratory of lesson 11: images made up from nothing but a network, beside noise and real ones."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer import charts, compute
from explorer.background import Kind, Task, live
from explorer.caches import ResultKey
from explorer.figures.synthetic_images import (
    Match,
    describe_images,
    describe_match,
    describe_misses,
    images_figure,
    match_figure,
    misses_figure,
)
from explorer.lessons.compensation.method_results import SLUG
from explorer.lessons.framework.layout import figures_of
from explorer.lessons.framework.prose import read_prose
from explorer.notation import count, short
from explorer.sources import ModelKey
from quant_engine.methods import gaussian_images, norm_moments, synthetic_images
from quant_engine.models import as_builtin
from quant_engine.network import Network

SHOWN, COLUMNS = 12, 4  # images of a kind, and how many beside each other

Images = NDArray[np.float32]


@dataclass(frozen=True)
class ImageSynthesis:
    """What names the run that makes a network's images."""

    model: ModelKey


@dataclass(frozen=True, eq=False)
class SyntheticImages:
    """Images on their way: the first few of them, all at the end."""

    done: int
    total: int
    loss: float
    images: Images


def synthesizing(network: Network) -> Generator[SyntheticImages, None, None]:
    """Make images step by step, as the method in the race does."""
    for at in synthetic_images(network):
        images = at.images if at.done == at.total else at.images[:SHOWN].copy()
        yield SyntheticImages(at.done, at.total, at.loss, images)


def match_of(network: Network, images: Images, layer: str, kind: str = "real") -> Match:
    """Return how images match the network's BatchNorms, and the statistics of one layer."""
    found, norms = norm_moments(network, images), as_builtin(network.model).norms
    misses = {}
    for name, norm in norms.items():
        mean, deviation = (part.astype(np.float64) for part in found[name])
        apart = (mean - norm.mean) ** 2 + (deviation - norm.deviation) ** 2
        misses[name] = float((apart / norm.deviation.astype(np.float64) ** 2).mean())
    return Match(kind, misses, *(part.astype(np.float64) for part in found[layer]))


def synthetic_images_laboratory(model: ModelKey, layer: str) -> None:
    """Draw the images and how well their statistics match."""
    said = read_prose(SLUG).laboratory
    st.markdown(said["dreams_lead"])
    as_builtin(compute.network(model).model)  # refuses a network without
    live(lambda: _draw(model, layer), lambda: (run := _run(model)) is not None and run.active)


def _run(model: ModelKey) -> Task | None:
    return compute.session().find(ImageSynthesis(model))


def _draw(model: ModelKey, layer: str) -> None:
    said, run = read_prose(SLUG).laboratory, _run(model)
    _control(model, run)
    network = compute.network(model)
    norms = as_builtin(network.model).norms
    shown = layer if layer in norms else list(norms)[-1]
    last: SyntheticImages | None = run.last if run is not None else None
    noise: Images = compute.kept(ResultKey("noise", model), partial(gaussian_images, network))
    kinds = {
        "noise": noise,
        **({} if last is None else {"made": last.images}),
        "real": network.data("calibration")[0][: len(noise)],
    }
    sight = float(kinds["real"].min()), float(kinds["real"].max())  # noise beyond is drawn as black and white
    canvas = charts.canvas(model, shown)
    for place, (kind, images) in zip(st.columns(len(kinds), gap="medium"), kinds.items(), strict=True):
        with place:
            st.markdown(said[f"dream_{kind}"], text_alignment="center")
            board = images_figure(images[:SHOWN, 0], COLUMNS, sight, canvas)
            charts.show(board, f"{SLUG}_chart_{kind}", describe_images(said[f"dream_{kind}"], images[:SHOWN]))
    finished = [kind for kind, images in kinds.items() if len(images) > SHOWN]  # not those on their way
    found = {said[f"dream_{kind}"]: _match(model, kind, kinds[kind], shown) for kind in finished}
    wanted = norms[shown].mean.astype(np.float64), norms[shown].deviation.astype(np.float64)
    left, right = figures_of(0.42)
    with left:
        charts.show(misses_figure(found, canvas), f"{SLUG}_chart_misses", describe_misses(found))
    with right:
        charts.show(match_figure(found, wanted, canvas), f"{SLUG}_chart_match", describe_match(found, shown))
    st.caption(said["dreams_note"].format(n=count(len(noise)), shown=SHOWN, layer=shown))


def _match(model: ModelKey, kind: str, images: Images, layer: str) -> Match:
    """Return a match, kept: a session's images of one kind are those of every session."""
    key = ResultKey("match", model, kind, len(images), layer)
    return compute.kept(key, lambda: match_of(compute.network(model), images, layer, kind))


def _control(model: ModelKey, run: Task | None) -> None:
    """Show the button that makes images, or how far they are."""
    said = read_prose(SLUG).laboratory
    if run is not None and run.active:
        last: SyntheticImages | None = run.last
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            if last is None:
                st.progress(0.0, said["dream_waiting" if run.state == "waiting" else "dream_begun"])
            else:
                text = said["dreaming"].format(done=count(last.done), total=count(last.total), loss=short(last.loss))
                st.progress(last.done / last.total, text)
            st.button(
                said["cancel"],
                key=f"{SLUG}_cancel_dream",
                icon=":material/close:",
                disabled=run.stopping,
                on_click=compute.session().leave,
                args=(ImageSynthesis(model),),
                width="content",
            )
        return
    done = run is not None and run.state == "done"
    st.button(
        said["dream"],
        key=f"{SLUG}_dream",
        icon=":material/check:" if done else ":material/play_arrow:",
        disabled=done,
        on_click=_start,
        args=(model,),
    )
    if run is not None and run.state == "failed":
        st.error(said["failed"].format(method=said["dream_made"], error=run.error), icon=":material/error:")


def _start(model: ModelKey) -> None:
    """Begin to make images (a callback)."""
    compute.session().start(ImageSynthesis(model), partial(synthesizing, compute.network(model)), Kind.LONG_RUN)
