"""The plan of a sweep: which cells there are, and in which pieces they are handed out."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from quant_engine.checks import as_integer, as_list
from quant_engine.errors import QuantError
from quant_engine.quantizer import QuantizerSpec
from quant_engine.sweep.subject import Opener, Source, as_source, open_subject

MAX_VALUES = 1 << 25  # of a tensor at a time: 128 MiB in float32
CHUNK_VALUES = 1 << 32  # that a chunk's specs read together, about: what is lost when a process is killed
SCHEMA = 1

Cell = tuple[str, str]  # a tensor's name, a spec's key


@dataclass(frozen=True)
class Chunk:
    """Cells of one tensor that are worked on together.

    Attributes:
        source: what the tensor is read from.
        version: the source's, which must be as it was planned.
        tensor: its name.
        specs: their canonical texts.
        max_values: how many values are held at a time.
        attribute: whether the model is run with the tensor quantized alone.
    """

    source: Source
    version: str
    tensor: str
    specs: tuple[str, ...]
    max_values: int
    attribute: bool


@dataclass(frozen=True)
class SweepPlan:
    """All cells of a sweep.

    Attributes:
        name: what the model is called.
        sizes: number of values of each tensor.
    """

    source: Source
    name: str
    version: str
    sizes: dict[str, int]
    specs: tuple[QuantizerSpec, ...]
    max_values: int = MAX_VALUES
    attribute: bool = False

    @cached_property
    def record(self) -> str:
        """What its results depend on, as JSON: neither where the model lies nor who works on it."""
        said = {
            "schema": SCHEMA,
            "model": self.name,
            "version": self.version,
            "tensors": hashlib.sha256("\n".join(self.sizes).encode(errors="surrogatepass")).hexdigest(),
            "specs": [spec.key for spec in self.specs],
            "max_values": self.max_values,
            "attribute": self.attribute,
        }
        return json.dumps(said, sort_keys=True, separators=(",", ":"))

    @property
    def cells(self) -> int:
        """How many there are."""
        return len(self.sizes) * len(self.specs)

    def places(self) -> Iterator[Cell]:
        """Yield each cell's tensor and spec, in the table's order."""
        for tensor in self.sizes:
            for spec in self.specs:
                yield tensor, spec.key

    def chunks(self, done: Collection[Cell] = ()) -> list[Chunk]:
        """Return what is still to do, the largest tensors first: workers then end at about the same time."""
        found = []
        for tensor in sorted(self.sizes, key=lambda name: -self.sizes[name]):
            left = [spec.key for spec in self.specs if (tensor, spec.key) not in done]
            many = max(1, CHUNK_VALUES // max(self.sizes[tensor], 1))
            for first in range(0, len(left), many):
                specs = tuple(left[first : first + many])
                found.append(Chunk(self.source, self.version, tensor, specs, self.max_values, self.attribute))
        return found


def plan_sweep(
    source: str | os.PathLike[str] | Opener,
    specs: Sequence[QuantizerSpec],
    *,
    tensors: str = "*",
    attribute: bool = False,
    max_values: int = MAX_VALUES,
) -> SweepPlan:
    """Return the plan of a sweep over a model's tensors whose names match a pattern.

    `source`: a path or URL of a file of tensors, or what opens a network. With `attribute` each cell also measures the
    model with that tensor quantized and all others in floating point. A tensor of more than `max_values` is read in
    blocks of rows.

    Raises:
        QuantError: for a source that cannot be opened, a pattern that matches nothing, no specs or the same twice, and
            `attribute` for a model that cannot be run.
    """
    listed = tuple(as_list(specs, QuantizerSpec, "specs", "give a list of QuantizerSpec"))
    if not listed or len({spec.key for spec in listed}) < len(listed):
        raise QuantError(f"there are {len(listed)} specs, {len(set(listed))} of them different; give each once")
    given = as_source(source)
    subject = open_subject(given)
    sizes = {name: one.parameters for name, one in subject.layers.items() if fnmatch.fnmatchcase(name, tensors)}
    if not sizes:
        some = ", ".join(list(subject.layers)[:3])
        raise QuantError(f"no tensor of {subject.name} matches {tensors!r}; there are {some}, …")
    if attribute and (subject.network is None or subject.network.task is None):
        raise QuantError(f"{subject.name} has no data to be measured on; leave attribute out, or give data")
    values = as_integer(max_values, "max_values", 1)
    return SweepPlan(given, subject.name, subject.version, sizes, listed, values, attribute)
