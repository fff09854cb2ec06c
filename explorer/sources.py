"""Which models can be opened: one registry, from which every menu and page takes them."""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NewType

from quant_engine import QuantError
from quant_engine.models import ARCHITECTURES, TensorModel
from quant_engine.network import Network, load
from quant_engine.packs import PACKS, Pack, is_installed
from quant_engine.readers import open_file
from quant_engine.studies import ModelCard, model_card
from quant_engine.studies.pack_card import PackCard, pack_card

MODEL_VARIABLE = "QUANT_EXPLORER_MODEL"  # set by the command line

ModelKey = NewType("ModelKey", str)  # an opened model's digest: caches know models by it, never by their names


@dataclass(frozen=True)
class Source:
    """How a model is opened, the layer that pages show first (the largest, unless named), and its card, if any."""

    open: Callable[[], Network]
    opening_layer: str | None = None
    card: Callable[[], ModelCard] | None = None
    pack_card: Callable[[], PackCard] | None = None


@dataclass(frozen=True, eq=False)
class _Opened:
    """A model that is open."""

    name: str
    source: Source
    network: Network


class Models:
    """The models at hand by the names that links use; each is opened when first asked for, and kept.

    Models that have `shared` ones beside them offer these too, which do not offer theirs; what is open is found by its
    key, which only those have who were offered it.
    """

    def __init__(self, shared: Models | None = None) -> None:
        """Start with none of its own."""
        self._shared = shared
        self._lock: threading.RLock = threading.RLock() if shared is None else shared._lock
        self._sources: dict[str, Source] = {}
        self._keys: dict[str, ModelKey] = {}
        self._opening: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._opened: dict[ModelKey, _Opened] = {} if shared is None else shared._opened
        self._offers: Counter[ModelKey] = Counter() if shared is None else shared._offers  # under how many names

    def add(self, name: str, source: Source) -> None:
        """Offer a model; one of the same name is offered no longer, but stays open for those who have its key."""
        with self._lock:
            self._sources[name] = source
            self._keys.pop(name, None)

    def remove(self, name: str) -> None:
        """Offer a model no longer, and close it unless it is offered under another name, or to others, too."""
        with self._lock:
            del self._sources[name]
            if (key := self._keys.pop(name, None)) is not None:
                self._offers[key] -= 1
                if not self._offers[key]:
                    del self._opened[key], self._offers[key]

    def names(self) -> tuple[str, ...]:
        """Return the names of the models, shared ones first."""
        with self._lock:
            return (*(() if self._shared is None else self._shared.names()), *self._sources)

    def is_open(self, name: str) -> bool:
        """Say whether a model's key is at hand, or there is no such model."""
        with self._lock:
            if name not in self._sources and self._shared is not None:
                return self._shared.is_open(name)
            return name in self._keys or name not in self._sources

    def key(self, name: str) -> ModelKey:
        """Return the key of a model; while it is opened, those wait who ask for it, and nobody else.

        Raises:
            QuantError: for a name there is not, or as opening it does.
        """
        with self._lock:
            if name in self._keys:
                return self._keys[name]
            opening = self._opening[name] if name in self._sources else None
        if opening is not None:
            with opening:
                return self._open(name)
        if self._shared is None:
            raise QuantError(f"there is no model {name!r}; open one of {', '.join(self.names())}")
        return self._shared.key(name)

    def _open(self, name: str) -> ModelKey:
        """Open a model, unless somebody has meanwhile; where another one takes its name, that one."""
        while True:
            with self._lock:
                source, known = self._sources.get(name), self._keys.get(name)
            if source is None or known is not None:
                return self.key(name)
            network = source.open()
            digest = network.digest  # reads all weights
            with self._lock:
                if self._sources.get(name) is source:
                    key = self._keys[name] = self._key_of(digest, name, network)
                    self._opened.setdefault(key, _Opened(name, source, network))
                    self._offers[key] += 1
                    return key

    def _key_of(self, digest: str, name: str, network: Network) -> ModelKey:
        """Return the digest; where a model of the same weights is open by another name or with another task, these too.

        Names are told to those alone who have opened a file by them.
        """
        same = self._opened.get(ModelKey(digest))
        if same is None or (same.name == name and same.network.task is network.task):
            return ModelKey(digest)
        tasks = [None if one.task is None else one.task.key for one in (network, same.network)]
        if same.name == name and tasks[0] == tasks[1]:
            return ModelKey(digest)
        return ModelKey(f"{digest}|{(name, tasks[0])}")

    def network(self, key: ModelKey) -> Network:
        """Return an opened model.

        Raises:
            QuantError: for one that is not open.
        """
        return self._entry(key).network

    def name(self, key: ModelKey) -> str:
        """Return the name of an opened model."""
        return self._entry(key).name

    def card(self, key: ModelKey) -> ModelCard:
        """Return the measured accuracies that come with an opened model.

        Raises:
            QuantError: for a model without.
        """
        opened = self._entry(key)
        if opened.source.card is None:
            raise QuantError(f"{opened.name} comes without a model card; the playground measures it")
        return opened.source.card()

    def pack_card(self, key: ModelKey) -> PackCard | None:
        """Return the measured scores that come with an opened pack; other models have none of these."""
        card = self._entry(key).source.pack_card
        return None if card is None else card()

    def opening_layer(self, name: str) -> str:
        """Return the layer that pages show first: embeddings only where there is nothing else."""
        opened = self._entry(self.key(name))
        layers = opened.network.layers()
        return opened.source.opening_layer or max(
            layers, key=lambda layer: (layers[layer].op != "embedding", layers[layer].parameters)
        )

    def _entry(self, key: ModelKey) -> _Opened:
        with self._lock:
            if key not in self._opened:
                raise QuantError("this model is no longer open; choose it again")
            return self._opened[key]


MODELS = Models()
_CHOSEN = {"fashion-cnn": "conv3", "fashion-depthwise": "dw1"}
for _name in ARCHITECTURES:
    MODELS.add(_name, Source(partial(load, _name), _CHOSEN.get(_name), partial(model_card, _name)))


def offer_pack(pack: Pack) -> None:
    """Offer an installed pack to all sessions; it is opened when it is first looked at."""
    MODELS.add(pack.name, Source(partial(load, pack.name), pack.opening_layer, pack_card=partial(pack_card, pack.name)))


def offer_packs() -> None:
    """Offer the packs that are installed."""
    for pack in PACKS.values():
        if pack.name not in MODELS.names() and is_installed(pack):
            offer_pack(pack)


offer_packs()


def open_tensors(path: str | os.PathLike[str]) -> Network:
    """Return the tensors of a file as a network, which can be looked at and not run.

    Raises:
        QuantError: as `open_file`, and for a file without real numbers.
    """
    return Network(TensorModel(open_file(path)))


def opening_model() -> str:
    """Return the model the app starts with."""
    wanted = os.environ.get(MODEL_VARIABLE, "")
    return wanted if wanted in MODELS.names() else MODELS.names()[0]


def is_model_given() -> bool:
    """Say whether the command line has named the model to start with."""
    return os.environ.get(MODEL_VARIABLE, "") in MODELS.names()
