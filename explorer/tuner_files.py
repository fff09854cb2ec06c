"""Plans as files of the tools that run them: written where nobody sees it, handed out as one file, and verified."""

from __future__ import annotations

import io
import pathlib
import tempfile
import zipfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass

from explorer import compute
from explorer.caches import ResultKey
from explorer.lessons.framework.study import Study
from explorer.sources import ModelKey
from explorer.tuner_results import fitted_plan, split_of
from quant_engine import QuantizationPlan
from quant_engine.export import EXPORTERS, Coverage, Finding, Verification

EXPORT, VERIFY, REPORT = "tuner export", "tuner verify", "tuner report"  # places on the page


@dataclass(frozen=True)
class Written:
    """What is downloaded: one file, or a zip archive of several; what was found, and what is in it."""

    name: str
    content: bytes
    findings: tuple[Finding, ...]
    coverage: Coverage


def export_study(model: ModelKey, plan: QuantizationPlan, target: str, as_float: bool) -> Study:
    """Return the writing of a plan for a target."""

    def steps() -> Generator[Written, None, None]:
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder) / _name_of(model, target)
            made = EXPORTERS[target].write(compute.network(model), fitted_plan(model, plan), place, as_float=as_float)
            name, content = _one_file(pathlib.Path(folder), made.paths, place.name)
        yield Written(name, content, made.findings, made.coverage)

    return Study(ResultKey(EXPORT, model, plan, target, as_float), steps, 1)


def verify_study(model: ModelKey, plan: QuantizationPlan, target: str, as_float: bool) -> Study:
    """Return the check of a plan's files by what reads or runs them."""

    def steps() -> Generator[Verification, None, None]:
        network, fitted = compute.network(model), fitted_plan(model, plan)
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder) / _name_of(model, target)
            EXPORTERS[target].write(network, fitted, place, as_float=as_float)
            yield EXPORTERS[target].verify(network, fitted, place)

    return Study(ResultKey(VERIFY, model, plan, target, as_float), steps, 1)


def report_study(model: ModelKey, plans: Mapping[str, QuantizationPlan]) -> Study:
    """Return the measuring of plans beside floating point, on data held out to search on, and their report as HTML."""

    def steps() -> Generator[Written | None, None, None]:
        from explorer.report_page import html_of
        from explorer.reports import measure

        network = compute.network(model)
        split = split_of(model) if network.task is not None else "test"
        reports = []
        for report in measure(network, plans, compute.name(model), split):
            reports.append(report)
            yield None
        yield Written(f"{_plain(model)}-report.html", html_of(reports[-1]).encode(), (), Coverage((), (), ()))

    return Study(ResultKey(REPORT, model, *plans.values()), steps, len(plans) + 2)


def _name_of(model: ModelKey, target: str) -> str:
    return f"{_plain(model)}-{target}{EXPORTERS[target].ending}"


def _plain(model: ModelKey) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in compute.name(model))


def _one_file(folder: pathlib.Path, paths: tuple[pathlib.Path, ...], name: str) -> tuple[str, bytes]:
    """Return the only file, or all of them in an archive that is not compressed: weights hardly can be."""
    if len(paths) == 1 and paths[0].parent == folder:
        return paths[0].name, paths[0].read_bytes()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in paths:
            archive.write(path, path.relative_to(folder))
    return f"{pathlib.PurePath(name).stem}.zip", content.getvalue()
