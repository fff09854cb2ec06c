"""The second laboratory of lesson 11: what a method did to the codes of one layer."""

from __future__ import annotations

import numpy as np
import streamlit as st

from explorer import charts, compute, controls, model_scores
from explorer.caches import ResultKey
from explorer.fields import Choice, named
from explorer.figures.code_changes import (
    CodeChanges,
    code_changes_of,
    codes_figure,
    describe_codes,
    describe_distance,
    distance_figure,
)
from explorer.lessons.compensation.method_progress import CLIPPED
from explorer.lessons.compensation.method_results import SLUG, MethodResults
from explorer.lessons.compensation.method_runs import await_baselines
from explorer.lessons.framework.layout import figures_of, numbers
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import method_words, read_prose
from explorer.notation import count, share, short
from explorer.sources import ModelKey
from quant_engine import LayerPlan, QuantizedTensor, Quantizer
from quant_engine.methods import METHODS

BEST = "best so far"
SHOWN = Choice(
    f"{SLUG}_method",
    named((BEST, *(method for method in METHODS if method != CLIPPED))),
    default=BEST,
    menu=True,
    width=124,
)


def code_changes_laboratory(bench: Bench, known: MethodResults, method: str | None) -> None:
    """Draw codes before and after a method, and where the weights sat that changed."""
    said, layer = read_prose(SLUG).laboratory, bench.layer
    with bench.controls:
        controls.show(SHOWN, format_func=lambda name: name if name == BEST else method_words(name).title)
    name = said["moves_any"] if method is None else method_words(method).title
    st.markdown(said["moves_lead"].format(layer=layer, method=name))
    if not bench.predicted:
        st.info(said["moves_locked"], icon=":material/lock:")
    elif known.baselines is None:
        await_baselines(known.model, known.setting)
    elif method is None or method not in known.standing:
        st.info(said["moves_not_yet"].format(method=name), icon=":material/hourglass:")
    elif (found := jumps(known, method, layer)) is None:
        st.info(said["moves_none"].format(method=name, layer=layer), icon=":material/block:")
    else:
        _draw(found, known, method, layer)


def shown_method(known: MethodResults) -> str | None:
    """Return the method that is looked at: the chosen one, or the best that was started by hand."""
    if (chosen := controls.current(SHOWN)) != BEST:
        return chosen
    return known.leader


def jumps(known: MethodResults, method: str, layer: str) -> CodeChanges | None:
    """Return what a method that is through did to a layer's codes, beside the clipped baseline."""
    assert known.baselines is not None
    before, after = known.baselines.clipped.plan, known.standing[method].plan
    assert before is not None
    assert after is not None
    key = ResultKey("jumps", known.model, known.setting, method, layer)
    return compute.kept(key, lambda: counted(known.model, layer, before[layer], after[layer]))


def counted(model: ModelKey, layer: str, before: LayerPlan, after: LayerPlan) -> CodeChanges | None:
    """Count the jumps of a layer's weights from one plan to another; None where one of them has no codes."""
    first, second = (model_scores.planned_codes(model, layer, plan) for plan in (before, after))
    if first is None or second is None:
        return None
    old, new = before.weight, after.weight
    assert isinstance(old, Quantizer)
    assert isinstance(new, Quantizer | QuantizedTensor)
    form = old.spec.format
    u = compute.matrix(model, layer).astype(np.float64) / old.scale
    low = min(form.qmin, int(second.min()))
    high = max(form.qmax, int(second.max()))
    ratios = np.broadcast_to(new.scale.astype(np.float64), old.scale.shape) / old.scale
    return CodeChanges(low, *code_changes_of(u, first, second, (low, high)), (float(ratios.min()), float(ratios.max())))


def _draw(found: CodeChanges, known: MethodResults, method: str, layer: str) -> None:
    said, title = read_prose(SLUG).laboratory, method_words(method).title
    canvas = charts.canvas(known.model, known.setting, method, layer)
    with numbers():
        st.metric(said["moved"], share(found.changed / found.size))
        for size, name in ((1, "moved_one"), (2, "moved_more")):
            part = found.steps[1:2] if size == 1 else found.steps[2:]
            st.metric(said[name], share(int(part.sum()) / found.size))
        st.metric(said["moved_close"], share(found.close) if found.changed else "–")
    left, right = figures_of(0.55)
    with left:
        charts.show(codes_figure(found, title, canvas), f"{SLUG}_chart_codes", describe_codes(found, title))
    with right:
        charts.show(distance_figure(found, canvas), f"{SLUG}_chart_distance", describe_distance(found))
    low, high = found.scales
    scales = said["scales_same"] if low == high == 1 else said["scales_moved"].format(low=short(low), high=short(high))
    st.caption(
        said["moves_note"].format(
            method=title, layer=layer, changed=count(found.changed), size=count(found.size), scales=scales
        )
    )
