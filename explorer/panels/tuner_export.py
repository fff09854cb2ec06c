"""A plan as a file: first what the target cannot express of it, then the file, and a check by the target's reader."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import streamlit as st

from explorer import compute, tables, tuner_session
from explorer.background import Task
from explorer.language import read_words
from explorer.lessons.framework import study
from explorer.notation import fixed, share, short, shown_score, size
from explorer.projects import GRAPH
from explorer.sentences import verbatim
from explorer.sources import ModelKey
from explorer.tuner_files import Order, Written, export_study, report_study, verify_study
from explorer.tuner_results import engine_plan
from explorer.tuning.tuned_plan import TunedPlan, tuned_of
from quant_engine import QuantError, QuantizationPlan
from quant_engine.export import EXPORTERS, Comparison, Finding, Verification, import_plan, nearest
from quant_engine.export.base import Severity

TARGET, AS_FLOAT = "tuner_target", "tuner_as_float"
UPLOAD, UNMATCHED, MAX_MB = "tuner_file", "tuner_unmatched", 64
MAX_FINDINGS, MAX_NAMED = 6, 3  # that are shown at once, and layers of each
ICONS = {"refused": ":material/block:", "changed": ":material/change_circle:", "warning": ":material/warning:"}


def export_panel(model: ModelKey, plan: TunedPlan) -> None:
    """Draw the ways in and out: a file to start from, a target's file, and a report."""
    engine = engine_plan(model, plan)
    import_box(model)
    _target(model, plan, engine)
    _report(model, plan, engine)


def _target(model: ModelKey, plan: TunedPlan, engine: QuantizationPlan) -> None:
    """Draw the choice of a target, what it cannot express, and the file."""
    said = read_words("tuner")["export"]
    target = st.selectbox(said["target"], [*EXPORTERS], key=TARGET, format_func=lambda key: EXPORTERS[key].title)
    try:
        found = EXPORTERS[target].check(compute.network(model), engine)
    except QuantError as error:
        st.error(verbatim(error), icon=":material/error:")
        return
    _findings(found)
    refused = [finding for finding in found if finding.severity == "refused"]
    as_float = False
    if refused:
        if any(finding.nearest for finding in refused):
            changed = tuned_of(nearest(engine, found), compute.network(model).layers(), plan.base)
            args = (model, changed.locked(plan.locks, True))
            st.button(said["nearest"], key="tuner_nearest", on_click=tuner_session.change, args=args)
        as_float = st.checkbox(said["as_float"], key=AS_FLOAT)
        if not as_float:
            return
    original = tuner_session.original(model)
    if original is not None and original.target == target:
        st.caption(said["original"])
    else:
        original = None
    order = Order(model, engine, target, as_float, original)
    study.offer(export_study(order), said["write"].format(title=EXPORTERS[target].title), said["writing"], _download)
    study.offer(verify_study(order), said["verify"], said["verifying"], partial(_verified, model))


def _report(model: ModelKey, plan: TunedPlan, engine: QuantizationPlan) -> None:
    """Offer the report of the plan beside all layers alike."""
    said = read_words("tuner")
    alike = engine_plan(model, replace(TunedPlan(), base=plan.base))
    plans = {said["alike"]: alike, said["yours"]: engine} if alike.key != engine.key else {said["yours"]: engine}
    label = said["export"]["report"]
    study.offer(report_study(model, plans), label, said["export"]["reporting"], partial(_download, key="tuner_report"))


def _findings(found: Sequence[Finding]) -> None:
    """Draw what is found, once for all layers of which the same is."""
    said = read_words("tuner")["export"]
    if not found:
        st.caption(said["all_expressed"])
    alike: dict[tuple[Severity, str | None, str], list[str]] = {}
    for finding in found:
        alike.setdefault((finding.severity, finding.role, finding.text), []).extend(filter(None, [finding.layer]))
    lines = [_line(*kind, layers) for kind, layers in alike.items()]
    for line in lines[:MAX_FINDINGS]:
        st.caption(line)
    if len(lines) > MAX_FINDINGS:
        with st.expander(said["more"].format(n=len(lines) - MAX_FINDINGS), key="tuner_findings"):
            for line in lines[MAX_FINDINGS:]:
                st.caption(line)


def _line(severity: Severity, role: str | None, text: str, layers: Sequence[str]) -> str:
    said = read_words("tuner")["export"]
    if not layers:
        return f"{ICONS[severity]} {verbatim(text)}"
    named = ", ".join(layers[:MAX_NAMED])
    if len(layers) > MAX_NAMED:
        named = said["and_more"].format(listed=named, n=len(layers) - MAX_NAMED)
    return f"{ICONS[severity]} {said[role or 'layers'].format(layers=named)}: {verbatim(text)}"


def _download(task: Task | None, key: str = "tuner_download") -> None:
    """Offer the file, once it is written."""
    written: Written | None = None if task is None else task.last
    if written is None:
        return
    said = read_words("tuner")["export"]
    label = said["download"].format(name=written.name, size=size(len(written.content)))
    st.download_button(
        label,
        written.content,
        written.name,
        "application/octet-stream",
        key=key,
        icon=":material/download:",
        type="primary",
        on_click="ignore",
    )
    told = {"written": len(written.coverage.written), "left": len(written.coverage.left_out)}
    if any(told.values()):
        st.caption(said["coverage"].format(**told))
    if written.edited is not None:
        st.caption(said["edited" if written.edited else "unedited"].format(n=written.edited))
    if written.counts:
        kinds = read_words("commands")
        lines = [kinds[f"bits_{one.key}"].format(bits=fixed(one.bits_per_weight, 2)) for one in written.counts]
        st.caption("  \n".join(lines))


def _verified(model: ModelKey, task: Task | None) -> None:
    """Draw what the target's reader makes of the file."""
    found: Verification | None = None if task is None else task.last
    if found is None:
        return
    said = read_words("tuner")["export"]
    st.caption(said["reader"].format(reader=found.reader))
    tables.table([_row(comparison) for comparison in found.comparisons])
    for finding in found.findings:
        st.caption(_line(finding.severity, None, str(finding), ()))


def _row(one: Comparison) -> dict[str, str]:
    """Return what was compared in one way, and only that."""
    said = read_words("tuner")["export"]
    cells = {
        said["read_by"]: one.name,
        said["exact"]: None if one.exact is None else said["yes" if one.exact else "no"],
        said["same"]: None if one.same is None else share(one.same),
        said["difference"]: None if one.max_difference is None else short(one.max_difference),
        said["score"]: None if one.score is None else shown_score(one.score),
        said["own_score"]: None if one.own_score is None else shown_score(one.own_score),
    }
    return {name: cell for name, cell in cells.items() if cell is not None}


def import_box(model: ModelKey) -> None:
    """Draw the way in for a file that carries parameters: encodings, overrides, a quantized graph, a saved plan."""
    said = read_words("tuner")["export"]
    with st.expander(said["import"], key="tuner_import"):
        st.file_uploader(
            said["import_file"],
            ["json", "encodings", "onnx"],
            key=UPLOAD,
            max_upload_size=MAX_MB,
            on_change=_import,
            args=(model,),
        )
        if unmatched := st.session_state.get(UNMATCHED):
            st.caption(said["unmatched"].format(n=len(unmatched), listed=", ".join(unmatched[:MAX_FINDINGS])))


def _import(model: ModelKey) -> None:
    """Take the plan of a file for the next one (a callback); layers that it does not name stay in floating point."""
    st.session_state[UNMATCHED] = ()
    if (given := st.session_state[UPLOAD]) is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"given{GRAPH if given.name.lower().endswith(GRAPH) else '.json'}"
        path.write_bytes(given.getvalue())
        try:
            found = import_plan(compute.network(model), path)
            tuner_session.keep_original(model, found)
        except QuantError as error:
            tuner_session.refuse(error)
            return
    st.session_state[UNMATCHED], st.session_state[TARGET] = found.unmatched, found.target
    tuner_session.change(model, tuned_of(found.plan, compute.network(model).layers()))
