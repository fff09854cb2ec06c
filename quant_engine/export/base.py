"""What every exporter gives: what a target cannot express, files that replace nothing, and the target's own reading."""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final

from quant_engine.checks import as_instance
from quant_engine.errors import QuantError
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.quantizer import QuantizerSpec

Severity = Literal["refused", "changed", "warning"]
MAX_SAID = 3  # refusals that a message names


@dataclass(frozen=True)
class Finding:
    """Something that a target takes otherwise than the plan says it, found before anything is written.

    Attributes:
        layer: which it is about; None for the whole plan.
        severity: "refused" keeps the plan from being written, "changed" is written as `nearest` says, and a "warning"
            is of what the file says rightly and a runtime does otherwise.
        text: what it is, and what to do, in a sentence.
        nearest: the nearest spec that the target takes.
    """

    layer: str | None
    severity: Severity
    text: str
    nearest: QuantizerSpec | None = None


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        paths: the files, the main one first.
        findings: as `Exporter.check`.
        coverage: what the files say of the plan, and what they leave to the target, in sentences.
    """

    paths: tuple[Path, ...]
    findings: tuple[Finding, ...]
    coverage: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(path.stat().st_size for path in self.paths)


@dataclass(frozen=True)
class Verification:
    """What a target's own reader makes of the files.

    Attributes:
        by: the reader and its version, such as "onnxruntime 1.32".
        exact: whether it reads the very values that the plan gives, bit for bit.
        max_abs: the largest difference, of outputs where the reader runs them and else of weights.
        facts: what else was measured, by name: shares, scores, counts.
        notes: what the numbers mean, in sentences.
    """

    by: str
    exact: bool
    max_abs: float
    facts: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Exporter(ABC):
    """One target: its file is written for a network under a plan; one final class each, and its line in `EXPORTERS`.

    Attributes:
        key: an identifier, such as "onnx_qdq".
        title: what people call the target.
        suffix: how the main file's name ends; empty where it is a folder.
    """

    key: str
    title: str
    suffix: str

    @abstractmethod
    def check(self, network: Network, plan: QuantizationPlan) -> list[Finding]:
        """Return what the target cannot say of a plan, layer by layer, and what its runtime does otherwise."""

    @abstractmethod
    def verify(self, network: Network, plan: QuantizationPlan, path: str | Path) -> Verification:
        """Return what the target's own reader makes of files that `write` has written for the same plan.

        Raises:
            QuantError: for files that it cannot read, and where the reader is not installed.
        """

    @abstractmethod
    def _write(self, network: Network, plan: QuantizationPlan, path: Path) -> Iterable[str]:
        """Write a frozen plan to a path in an empty folder, with what belongs to it beside it; return the coverage."""

    @final
    def write(self, network: Network, plan: QuantizationPlan, path: str | Path, overwrite: bool = False) -> Export:
        """Write a plan, frozen first, to a path: whole, or not at all.

        Raises:
            QuantError: for a plan that the target refuses, as `Network.freeze`, for files that are there already unless
                `overwrite` is given, and for a folder that takes none.
        """
        target = Path(path)
        _validate_free([target], overwrite)
        frozen = as_instance(network, Network, "network", "load() gives one").freeze(plan)
        findings = tuple(self.check(network, frozen))
        if refused := [one for one in findings if one.severity == "refused"]:
            said = "; ".join(f"{one.layer}: {one.text}" if one.layer else one.text for one in refused[:MAX_SAID])
            more = f"; and {len(refused) - MAX_SAID} more" if len(refused) > MAX_SAID else ""
            raise QuantError(f"{self.title} cannot take this plan: {said}{more}")
        try:
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as staging:
                staged = Path(staging) / target.name
                coverage = tuple(self._write(network, frozen, staged))
                return Export(_placed(Path(staging), target, overwrite), findings, coverage)
        except OSError as error:
            raise QuantError(f"{path} cannot be written: {error}; give a path in a folder that takes files") from error


def _placed(staging: Path, target: Path, overwrite: bool) -> tuple[Path, ...]:
    """Move all that was written to its place, the target's own files first."""
    written = sorted(file.relative_to(staging) for file in staging.rglob("*") if file.is_file())
    written.sort(key=lambda name: name.parts[0] != target.name)
    places = [target.parent / name for name in written]
    _validate_free(places, overwrite)
    for name, place in zip(written, places, strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            shutil.copymode(place, staging / name)
        os.replace(staging / name, place)
    return tuple(places)


def _validate_free(places: Iterable[Path], overwrite: bool) -> None:
    """Check that nothing is replaced unasked: files, and folders that hold any."""
    for place in places:
        taken = any(place.iterdir()) if place.is_dir() else place.exists()
        if taken and not overwrite:
            raise QuantError(f"{place} exists; give another name, or overwrite=True to replace it")
