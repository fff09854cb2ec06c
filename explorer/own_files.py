"""The files that a session has opened: in a folder of its own, offered to it alone, and gone when it goes."""

from __future__ import annotations

import pathlib
import shutil
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import IO

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from explorer import access, compute
from explorer.own_folders import clear_abandoned, delete_folder, make_folder
from explorer.sources import MODELS, Models, Source, open_tensors
from explorer.uploads import Inbox, plain_name
from quant_engine import QuantError
from quant_engine.network import Network

KEY = "own_files"  # of the session's state
MIB = 1 << 20
MAX_FILE, MAX_TOTAL = 256 * MIB, 1024 * MIB
CHUNK = 4 * MIB
GRACE = 150.0  # seconds; Streamlit keeps a session for 120 that has lost its connection


class OwnFiles:
    """Files of tensors that a session brings or names, as models of their names beside those that all sessions have.

    They go when the session has left and not come back within `grace` seconds, and in any case with the process.
    """

    def __init__(self, shared: Models, max_file: int = MAX_FILE, grace: float = GRACE) -> None:
        """Start with none; the folder is made for the first."""
        self._max_file, self._grace = max_file, grace
        self._going: threading.Timer | None = None
        self.models = Models(shared)
        self._places: dict[str, pathlib.Path | None] = {}
        self._folder: pathlib.Path | None = None
        self._count = 0
        self._inbox: Inbox | None = None
        _living.add(self)

    @property
    def names(self) -> tuple[str, ...]:
        """What the files are called."""
        return tuple(self._places)

    @property
    def size_bytes(self) -> int:
        """What all files take on the disk that came through memory."""
        places = (place for place in self._places.values() if place is not None and place.parent == self._folder)
        return sum(file.stat().st_size for place in places for file in place.iterdir())

    def add(self, name: str, content: IO[bytes]) -> str:
        """Copy a file of tensors to the disk, open it, and return what it is called: another name if it is taken.

        Raises:
            QuantError: as `add_together`.
        """
        return self.add_together([(name, content)], lambda paths: open_tensors(paths[0]))

    def add_together(
        self, files: Sequence[tuple[str, IO[bytes]]], read: Callable[[Sequence[pathlib.Path]], Network]
    ) -> str:
        """Copy the files of one model to a folder, have them read there, and return what the model is called.

        Raises:
            QuantError: for files of one name or that are too large, and as `read`; nothing of them stays.
        """
        names = [self._free(files[0][0])] if len(files) == 1 else [plain_name(name) for name, _ in files]
        if len(set(names)) < len(names):
            raise QuantError(f"two of the files {', '.join(names)} have one name; rename one of them")
        place = self._place()
        try:
            room = MAX_TOTAL - self.size_bytes
            for name, (_, content) in zip(names, files, strict=True):
                room -= self._copy(content, place / name, room)
            network = read([place / name for name in names])
        except BaseException:
            shutil.rmtree(place)
            raise
        called = names[0] if len(files) == 1 else self._free(network.name)
        self._places[called] = place
        self.models.add(called, Source(lambda: network))
        return called

    @property
    def inbox(self) -> Inbox:
        """Where this session's large files are streamed to."""
        if self._inbox is None:
            folder = self._root() / "inbox"
            folder.mkdir()
            self._inbox = Inbox(folder, access.upload_bytes())
        return self._inbox

    def take(self, batch: str, read: Callable[[Sequence[pathlib.Path]], Network]) -> str:
        """Have the files of a batch read that were streamed to the inbox, and return what the model is called.

        Raises:
            QuantError: as `read`; nothing of them stays.
        """
        paths = self.inbox.files(batch)
        try:
            network = read(paths)
        except BaseException:
            shutil.rmtree(paths[0].parent)
            raise
        called = self._free(paths[0].name if len(paths) == 1 else network.name)
        self._places[called] = paths[0].parent
        self.models.add(called, Source(lambda: network))
        return called

    def lend(self, network: Network) -> str:
        """Offer a model that this session has opened by its name, and return what it is called."""
        called = self._free(network.name)
        self._places[called] = None
        self.models.add(called, Source(lambda: network))
        return called

    def enter(self) -> None:
        """Come, or come back in time."""
        if self._going is not None:
            self._going.cancel()
            self._going = None

    def leave(self) -> None:
        """Go: a browser whose connection was lost for a moment comes back."""
        self.enter()
        if not self._places and self._folder is None:
            return
        self._going = threading.Timer(self._grace, self.close_all)
        self._going.daemon = True
        self._going.start()

    def close_all(self) -> None:
        """Forget all models, and delete the folder."""
        for name in self.names:
            self.close(name)
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None
        if self._folder is not None:
            delete_folder(self._folder)
            self._folder = None

    def close(self, name: str) -> None:
        """Forget a model, and delete the session's copy of its file."""
        self.models.remove(name)
        if (place := self._places.pop(name)) is not None:
            shutil.rmtree(place)

    def _place(self) -> pathlib.Path:
        """Return a folder for one file."""
        self._count += 1
        place = self._root() / str(self._count)
        place.mkdir()
        return place

    def _root(self) -> pathlib.Path:
        """Return the session's folder."""
        if self._folder is None:
            self._folder = make_folder()
            weakref.finalize(self, delete_folder, self._folder)
        return self._folder

    def _copy(self, content: IO[bytes], path: pathlib.Path, room: int) -> int:
        """Write a file, and return its size."""
        with path.open("xb") as file:
            while chunk := content.read(CHUNK):
                file.write(chunk)
                if file.tell() > self._max_file:
                    most = self._max_file // MIB
                    raise QuantError(f"{path.name} has more than {most} MB; give the app its path: quant-explorer path")
                if file.tell() > room:
                    raise QuantError(f"your files have more than {MAX_TOTAL // MIB} MB together; close one first")
            return file.tell()

    def _free(self, name: str) -> str:
        """Return a plain name that no model has."""
        plain = plain_name(name)
        called, number = plain, 2
        while called in self.models.names():
            stem, dot, suffix = plain.rpartition(".")
            called, number = f"{stem or suffix} ({number}){dot if stem else ''}{suffix if stem else ''}", number + 1
        return called


clear_abandoned()  # here, since `streamlit run` has no start of ours: what servers that were killed have left
_living: weakref.WeakSet[OwnFiles] = weakref.WeakSet()


def close_all() -> None:
    """Delete the files of all sessions."""
    for files in [*_living]:
        files.close_all()


def own_files() -> OwnFiles:
    """Return the files of this session."""
    if KEY not in st.session_state:
        st.session_state[KEY] = OwnFiles(MODELS)
    found: OwnFiles = st.session_state[KEY]
    found.enter()
    compute.session().on_release[KEY] = found.leave
    return found


def models() -> Models:
    """Return the models that this session is offered, its own files among them; a program has the shared ones."""
    return MODELS if get_script_run_ctx(suppress_warning=True) is None else own_files().models
