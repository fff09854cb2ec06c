"""The third laboratory of lesson 10: rate and distortion of one tensor under many codes, found a point at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import streamlit as st

from explorer import charts, controls
from explorer.fields import Choice
from explorer.figures.rates import Point, describe_rates, rates_figure
from explorer.lessons.coded import Coded, coded
from explorer.lessons.model import Bench
from explorer.lessons.prose import read_prose, words
from explorer.lessons.rivals import CLIPPED, OPTIMAL
from explorer.lessons.scene import Scene
from explorer.notation import short
from explorer.tensors import Subject
from quant_engine import ProductCodebook, QuantizerSpec, VectorCodebook
from quant_engine.formats import VectorFormat

SLUG = "vectors"
EVERYTHING, INDICES = "everything stored", "indices only"
COUNTED = Choice(
    f"{SLUG}_counted",
    "Bits counted",
    (EVERYTHING, INDICES),
    EVERYTHING,
    "Codebooks and scales are stored too: 32 bits for each of their entries.",
)
TRACING_KEY = f"{SLUG}_tracing"
AT_ONCE = 0.4  # seconds of work in one go
PAUSE = 0.2  # seconds between goes
LEAST_VECTORS = 4  # to a codeword: with fewer a codebook learns the tensor by heart
Code = tuple[str, str, QuantizerSpec]  # name of the curve, of the point, and what is fitted


@dataclass
class Tracing:
    """Curves under way: codes to come, and what has been found, by name of the curve and of the point."""

    key: str
    subject: Subject
    pending: Iterator[Code]
    total: int
    found: dict[str, dict[str, Coded]] = field(default_factory=dict)
    running: bool = True

    @property
    def done(self) -> int:
        """Number of points found."""
        return sum(len(points) for points in self.found.values())

    def advance(self, seconds: float) -> None:
        """Find points until the time is over, at least one."""
        end = time.monotonic() + seconds
        while self.running:
            code = next(self.pending, None)
            if code is None:
                self.running = False
                return
            curve, name, spec = code
            self.found.setdefault(curve, {})[name] = coded(self.subject, spec)
            if time.monotonic() >= end:
                return


def codes(subject: Subject, form: ProductCodebook) -> list[Code]:
    """Return every code of the figure; those with too few vectors to a codeword are left out."""
    whole = [
        *(("integers, least MSE", f"{bits} bits", CLIPPED.spec(bits)) for bits in range(2, 7)),
        *(("optimal single values", f"{1 << bits} levels", OPTIMAL.spec(bits)) for bits in range(1, 7)),
    ]
    two: list[VectorFormat] = [VectorCodebook(2, k, remainder="pad") for k in (4, 8, 16, 32, 64, 256)]
    four: list[VectorFormat] = [VectorCodebook(4, k, remainder="pad") for k in (4, 16, 64, 256, 1024)]
    cut: list[VectorFormat] = [ProductCodebook(form.dim, k, form.parts, remainder="pad") for k in (4, 8, 16, 64, 256)]
    left: list[VectorFormat] = [VectorCodebook(4, 16, stages, "pad") for stages in range(1, 5)]
    families = {
        "vectors of 2": [(f"{f.codewords} codewords", f) for f in two],
        "vectors of 4": [(f"{f.codewords} codewords", f) for f in four],
        f"product: vectors of {form.dim}, parts: {form.parts}": [(f"{f.codewords} codewords a part", f) for f in cut],
        "residual: vectors of 4, stages of 16": [(f"{f.stages} stages", f) for f in left],
    }
    rows = len(subject.matrix)
    return whole + [
        (curve, name, QuantizerSpec(f))
        for curve, members in families.items()
        for name, f in members
        if LEAST_VECTORS * f.codewords <= rows * -(-subject.row // f.dim)
    ]


def rates_laboratory(bench: Bench, scene: Scene) -> None:
    """Draw the curves; they are found in goes, with progress and a button to stop where one go does not do."""
    said = read_prose(SLUG).laboratory
    st.subheader(said["rates_title"])
    st.markdown(said["rates_lead"])
    counted = controls.choice(COUNTED)
    st.caption(said["rates_everything" if counted == EVERYTHING else "rates_indices"])
    if not bench.predicted:
        st.info(said["rates_locked"], icon=":material/lock:")
        return
    tracing = _tracing(scene)
    ticking = tracing.running
    st.fragment(_body, run_every=PAUSE if ticking else None)(tracing, counted, ticking)


def _tracing(scene: Scene) -> Tracing:
    """Return the session's tracing of this scene, begun with a first go if there is none."""
    form = scene.spec.format
    key = f"{scene.subject.key}|{form.dim}|{form.parts}"
    found: Tracing | None = st.session_state.get(TRACING_KEY)
    if found is None or found.key != key:
        wanted = codes(scene.subject, form)
        found = st.session_state[TRACING_KEY] = Tracing(key, scene.subject, iter(wanted), len(wanted))
        found.advance(AT_ONCE)
    return found


def _body(tracing: Tracing, counted: str, ticking: bool) -> None:
    if tracing.running:
        tracing.advance(AT_ONCE)
    if tracing.running:
        said = read_prose(SLUG).laboratory
        st.progress(tracing.done / tracing.total, said["rates_progress"].format(done=tracing.done, n=tracing.total))
        st.button(words()["study_stop"], icon=":material/stop:", key=f"{SLUG}_rates_stop", on_click=_stop)
    elif tracing.done < tracing.total:
        st.button(words()["continue"], icon=":material/play_arrow:", key=f"{SLUG}_rates_go_on", on_click=_go_on)
    _curves(tracing, counted)
    if ticking != tracing.running:
        st.rerun()  # the clock of this part starts and stops with the page


def _curves(tracing: Tracing, counted: str) -> None:
    """Draw what has been found so far."""
    curves = {
        curve: sorted((_point(name, found, counted) for name, found in points.items()), key=lambda p: p.bits)
        for curve, points in tracing.found.items()
    }
    title = f"bits per value, {counted}"
    variance = tracing.subject.statistics.sigma**2
    figure = rates_figure(curves, variance, title, charts.canvas(f"{tracing.key}|{counted}"))
    charts.show(figure, f"{SLUG}_chart_rates", describe_rates(curves))
    said = read_prose(SLUG).laboratory
    st.caption(said["rates_bound"].format(variance=short(variance), least=LEAST_VECTORS))


def _point(name: str, found: Coded, counted: str) -> Point:
    bits = found.storage.bits_per_value if counted == EVERYTHING else found.index_bits
    return Point(bits, found.report.mse, name)


def _stop() -> None:
    """End the tracing where it is (a callback)."""
    st.session_state[TRACING_KEY].running = False


def _go_on() -> None:
    """Take a stopped tracing up again (a callback)."""
    st.session_state[TRACING_KEY].running = True
