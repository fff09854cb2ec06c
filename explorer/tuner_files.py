"""Plans as files of the tools that run them: written where nobody sees it, handed out as one file, and verified."""

from __future__ import annotations

import hashlib
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
from quant_engine.export import (
    EXPORTERS,
    BitCount,
    Coverage,
    Export,
    Finding,
    Imported,
    Verification,
    bit_counts,
    export_plan,
)
from quant_engine.network import Network

EXPORT, VERIFY, REPORT = "tuner export", "tuner verify", "tuner report"  # places on the page
NOTHING = Coverage((), (), ())


@dataclass(frozen=True)
class Written:
    """What is downloaded: one file, or a zip archive of several; what was found, and what is in it.

    `edited` is how many weights and inputs differ from the file that the plan came from, if it is of this kind.
    """

    name: str
    content: bytes
    findings: tuple[Finding, ...] = ()
    coverage: Coverage = NOTHING
    counts: tuple[BitCount, ...] = ()
    edited: int | None = None


@dataclass(frozen=True)
class Order:
    """What is to be written: a plan, for a target, and the file that the plan came from, if that is of its kind.

    `as_float`: what the target cannot express is written as floats.
    """

    model: ModelKey
    plan: QuantizationPlan
    target: str
    as_float: bool
    original: Imported | None = None

    def key(self, question: str) -> ResultKey:
        """Return what tells it from others."""
        files = () if self.original is None else sorted(self.original.files.items())
        digest = hashlib.sha256(b"".join(content for _, content in files)).hexdigest()
        return ResultKey(question, self.model, self.plan, self.target, self.as_float, digest)

    def write(self, folder: str) -> tuple[Network, QuantizationPlan, pathlib.Path, Export]:
        """Write the files into a folder; return them with the network, the plan with fitted weights, and the path."""
        network, fitted = compute.network(self.model), fitted_plan(self.model, self.plan)
        place = pathlib.Path(folder) / _name_of(self.model, self.target)
        made = export_plan(network, fitted, place, self.target, self.original, as_float=self.as_float)
        return network, fitted, place, made


def export_study(order: Order) -> Study:
    """Return the writing of a plan's files."""

    def steps() -> Generator[Written, None, None]:
        with tempfile.TemporaryDirectory() as folder:
            network, fitted, place, made = order.write(folder)
            name, content = _one_file(pathlib.Path(folder), made.paths, place.name)
            counts = bit_counts(network, fitted, made.paths)
        edited = None if order.original is None else len(order.original.changed(network, fitted))
        yield Written(name, content, made.findings, made.coverage, counts, edited)

    return Study(order.key(EXPORT), steps, 1)


def verify_study(order: Order) -> Study:
    """Return the check of a plan's files by what reads or runs them."""

    def steps() -> Generator[Verification, None, None]:
        with tempfile.TemporaryDirectory() as folder:
            network, fitted, place, _ = order.write(folder)
            yield EXPORTERS[order.target].verify(network, fitted, place)

    return Study(order.key(VERIFY), steps, 1)


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
        yield Written(f"{_plain(model)}-report.html", html_of(reports[-1]).encode())

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
