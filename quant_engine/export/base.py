"""What every exporter gives: what its target cannot express, the files, and a check by what reads them."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from quant_engine.checks import as_instance, validate_boolean
from quant_engine.errors import QuantError
from quant_engine.export.rounding_ties import Difference
from quant_engine.files import place, stage, validate_place
from quant_engine.inputs import Inputs
from quant_engine.models import layer_of
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.plan.layer_plan import ROLES, roles
from quant_engine.quantizer import QuantizerSpec
from quant_engine.tasks import Score

Severity = Literal["refused", "changed", "warning"]
MAX_NAMED = 8  # layers in a message


class Part(NamedTuple):
    """A layer's weight or the activation it receives."""

    layer: str
    role: str

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"the {self.role} of {self.layer!r}"


@dataclass(frozen=True)
class Finding:
    """What a target cannot express, what it does differently, or what there is to know of it before a file is written.

    Attributes:
        severity: "refused" (not written, unless as floats), "changed" (written as something else) or "warning".
        text: the reason.
        layer: which it is about; None for the whole file.
        role: "weight" or "activation"; None for the whole layer.
        nearest: the nearest spec that the target can express, if there is one.
    """

    severity: Severity
    text: str
    layer: str | None = None
    role: str | None = None
    nearest: QuantizerSpec | None = None

    def __str__(self) -> str:
        """Return the finding with what it is about."""
        if self.layer is None:
            return self.text
        return f"{f'the {self.role} of ' if self.role else 'layer '}{self.layer!r}: {self.text}"


@dataclass(frozen=True)
class Coverage:
    """Which weights and activations of a network the files say something of.

    Attributes:
        written: those that are in the files as the plan has them.
        left_out: those that the plan quantizes, but the files do not.
        unplanned: those that the plan leaves in floating point.
    """

    written: tuple[Part, ...]
    left_out: tuple[Part, ...]
    unplanned: tuple[Part, ...]

    @property
    def share(self) -> float:
        """Written ones among all that the network has."""
        total = len(self.written) + len(self.left_out) + len(self.unplanned)
        return len(self.written) / total if total else 1.0


@dataclass(frozen=True)
class Contents:
    """What is to be written: each file's content, what of the plan is in them, and what was found on the way."""

    files: Mapping[pathlib.Path, bytes]
    written: frozenset[Part]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Export:
    """What was written: the files, their size, findings, and what of the network is in them."""

    paths: tuple[pathlib.Path, ...]
    size_bytes: int
    findings: tuple[Finding, ...]
    coverage: Coverage


@dataclass(frozen=True)
class Comparison:
    """A file as its target reads or runs it, beside the plan in this engine; None for what was not compared.

    Attributes:
        name: how it was read or run.
        max_difference: the largest absolute difference of outputs or, where the target runs nothing, of x̂.
        same: share of samples with the same largest output.
        exact: whether codes, scales and zero points are the same to the bit.
        score: of the file, where the network has data.
        own_score: of the plan, on the same data.
        differences: where the largest outputs differ, with what rounding does there; looked at where a target is to
            compute what the plan says.
    """

    name: str
    max_difference: float | None = None
    same: float | None = None
    exact: bool | None = None
    score: Score | None = None
    own_score: Score | None = None
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Verification:
    """What the target's own reader or runtime makes of a file: one comparison for each way of running it."""

    reader: str
    comparisons: tuple[Comparison, ...]
    findings: tuple[Finding, ...] = ()


Find = Callable[[Network, QuantizationPlan], Iterable[Finding]]
Make = Callable[[Network, QuantizationPlan, pathlib.Path], Contents]
Compare = Callable[[Network, QuantizationPlan, pathlib.Path, Inputs | None], Verification]


@dataclass(frozen=True)
class Exporter:
    """A target that plans are written for.

    Attributes:
        key: its name in code, links and files.
        title: what a person calls it.
        ending: of its file's name; empty where it writes a folder.
        find: yields what the target cannot express of a plan, fitted or not.
        make: returns the files' contents for a fitted plan; what was refused is in them as floats.
        compare: has the target's reader read the files of a fitted plan; `data` as in `verify`.
        extra: the extra of this package that it needs.
    """

    key: str
    title: str
    ending: str
    find: Find = field(repr=False)
    make: Make = field(repr=False)
    compare: Compare = field(repr=False)
    extra: str = ""

    def check(self, network: Network, plan: QuantizationPlan) -> list[Finding]:
        """Return what the target cannot express or execute, layer by layer; nothing is fitted, nothing written.

        Raises:
            QuantError: for layers that the network does not have.
        """
        as_instance(network, Network, "network", "give one of quant_engine.network.load")
        for name in as_instance(plan, QuantizationPlan, "plan", "give QuantizationPlan({layer: LayerPlan()})").layers:
            layer_of(network.model, name)
        return list(self.find(network, plan))

    def write(
        self,
        network: Network,
        plan: QuantizationPlan,
        path: str | pathlib.Path,
        overwrite: bool = False,
        as_float: bool = False,
    ) -> Export:
        """Freeze the plan and write it for the target: whole or not at all, and over an old file only if told to.

        What the target cannot express is refused; with `as_float` it is written as dequantized floats, and such
        activations are not quantized.

        Raises:
            QuantError: as `Network.freeze`, for a plan the target cannot express, and where a file is in the way.
        """
        validate_boolean(overwrite, "overwrite")
        findings = self.check(network, plan)
        if not as_float:
            validate_expressible(self, findings)
        frozen = network.freeze(plan)
        contents = self.make(network, frozen, _as_path(path))
        written = place_all(contents.files, overwrite)
        size = sum(len(content) for content in contents.files.values())
        found = (*findings, *contents.findings)
        return Export(written, size, found, coverage_of(network, frozen, contents.written))

    def verify(
        self, network: Network, plan: QuantizationPlan, path: str | pathlib.Path, data: Inputs | None = None
    ) -> Verification:
        """Return what the target's reader or runtime makes of files that `write` wrote for this plan.

        `data` are inputs as `Network.run` takes them; None means the task's test split, with its score, or nothing
        where there is no task.

        Raises:
            QuantError: as `Network.freeze`, and for files that are missing or that the target does not read.
        """
        as_instance(network, Network, "network", "give one of quant_engine.network.load")
        target = _as_path(path)
        if not target.exists():
            raise QuantError(f"{path} does not exist; write it first")
        return self.compare(network, network.freeze(plan), target, data)


def planned_specs(plan: QuantizationPlan) -> Iterator[tuple[Part, QuantizerSpec, LayerPlan]]:
    """Yield each part that a plan quantizes, with its spec and the layer's plan."""
    for name, layer in plan.layers.items():
        for role, planned in roles(layer):
            yield Part(name, role), planned if isinstance(planned, QuantizerSpec) else planned.spec, layer


def validate_expressible(exporter: Exporter, findings: Iterable[Finding]) -> None:
    """Check that nothing is refused.

    Raises:
        QuantError: naming what is, and the remedies.
    """
    refused = [finding for finding in findings if finding.severity == "refused"]
    if refused:
        more = f"; and {len(refused) - MAX_NAMED} more" if len(refused) > MAX_NAMED else ""
        remedy = "give nearest(plan, findings)" if all(f.nearest for f in refused) else "change the plan"
        raise QuantError(
            f"{exporter.title} cannot express {len(refused)} part(s) of the plan: "
            f"{'; '.join(map(str, refused[:MAX_NAMED]))}{more}; {remedy}, or as_float=True to write them as "
            "dequantized floats"
        )


def coverage_of(network: Network, plan: QuantizationPlan, written: frozenset[Part]) -> Coverage:
    """Return which parts of a network are written, left out and not planned, in the order of the layers."""
    planned = {part for part, _, _ in planned_specs(plan)}
    every = [Part(name, role) for name in network.model.layers for role in ROLES]
    return Coverage(
        tuple(part for part in every if part in written),
        tuple(part for part in every if part in planned and part not in written),
        tuple(part for part in every if part not in planned and part not in written),
    )


def place_all(files: Mapping[pathlib.Path, bytes], overwrite: bool) -> tuple[pathlib.Path, ...]:
    """Write all files beside their places, then move them there."""
    for path in files:
        if path.exists() and not overwrite:
            raise QuantError(f"{path} exists; give another name, or overwrite=True to replace it")
        validate_place(path, lambda _: True)
    staged: dict[pathlib.Path, pathlib.Path] = {}
    try:
        for path, content in files.items():
            _make_folder(path.parent)
            staged[path] = stage(path, content)
        for path in files:
            place(staged.pop(path), path)
    finally:
        for left in staged.values():
            left.unlink(missing_ok=True)
    return tuple(files)


def _make_folder(folder: pathlib.Path) -> None:
    """Make the folder that an exporter writes, in one that is there."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise QuantError(f"{folder} is no folder that files can be written to: {error}; give another path") from error


def _as_path(path: Any) -> pathlib.Path:
    if not isinstance(path, str | pathlib.Path):
        raise QuantError(f"path={path!r} is no path; give a string or a pathlib.Path")
    return pathlib.Path(path)
