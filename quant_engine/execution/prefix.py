"""Running a model again and again on the same inputs, from the first changed layer on."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quant_engine.execution.executor import Executor, Override
from quant_engine.execution.tensors import as_tensors
from quant_engine.inputs import Inputs

if TYPE_CHECKING:
    from torch import Tensor

CACHE_BYTES = 256 << 20  # of all models and inputs together
UNCHANGED_BYTES = 192 << 20  # of one run, behind unchanged layers
CHANGED_BYTES = 32 << 20  # of one run, behind changed layers: filling fresh memory takes as long as computing it
SHARED_BYTES = 96 << 20  # of one run, of what the run before received too: the layer behind it may change once more

Prefix = tuple[int, tuple[str, ...]]  # a stage's number, and the keys of the overrides of the layers before it


class StageInputs:
    """What stages receive, kept for all runners up to a number of bytes.

    Where room is short, those behind unchanged layers stay longest. Safe to call from several threads.
    """

    def __init__(self, max_bytes: int) -> None:
        """Start empty."""
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, Prefix], list[Tensor]] = OrderedDict()
        self._gone: deque[int] = deque()
        self._size = 0

    @property
    def size_bytes(self) -> int:
        """What is kept now."""
        with self._lock:
            return self._size

    def find(self, owner: int, prefix: Prefix) -> list[Tensor] | None:
        """Return what a stage receives of every batch, if it is kept."""
        with self._lock:
            found = self._kept.get((owner, prefix))
            if found is not None:
                self._kept.move_to_end((owner, prefix))
            return found

    def keep(self, owner: int, prefix: Prefix, received: list[Tensor]) -> None:
        """Keep what a stage receives, and forget others as long as there is no room."""
        with self._lock:
            while self._gone:
                gone = self._gone.popleft()
                for key in [key for key in self._kept if key[0] == gone]:
                    self._forget(key)
            self._forget((owner, prefix))
            self._kept[owner, prefix] = received
            self._size += _bytes(received)
            while self._size > self.max_bytes:
                self._forget(next((key for key in self._kept if any(key[1][1])), next(iter(self._kept))))

    def release(self, owner: int) -> None:
        """Let go of what a runner kept that has gone, with the next input kept: Python may collect it anywhere."""
        self._gone.append(owner)

    def _forget(self, key: tuple[int, Prefix]) -> None:
        self._size -= _bytes(self._kept.pop(key, []))


STAGE_INPUTS = StageInputs(CACHE_BYTES)
_owners = itertools.count()


class PrefixRunner:
    """Runs an executor on batches of inputs, keeping what its stages receive.

    What a stage receives depends on the overrides of the layers that run before it; it is kept under their keys, among
    what all runners keep. Safe to call from several threads.
    """

    def __init__(self, executor: Executor, batches: Sequence[Inputs], stage_inputs: StageInputs = STAGE_INPUTS) -> None:
        """Keep references: the batches must not be changed."""
        self._executor, self.batches, self._kept = executor, batches, stage_inputs
        self._entries = [span.start for span in executor.trace.spans if span.start is not None]
        self._owner = next(_owners)
        self._former: Sequence[Prefix] = ()  # of the run before
        weakref.finalize(self, stage_inputs.release, self._owner)

    def outputs(
        self, overrides: Mapping[str, Override], keys: Mapping[str, str], following: Collection[str] | None = None
    ) -> Iterator[Any]:
        """Yield what the model gives for each batch; a layer's key tells its override from all others it may have.

        `following` are the layers that will be changed next, each alone: only what these receive in floating point is
        then worth keeping.
        """
        import torch

        stages = self._executor.trace.stages
        prefixes = [(i, tuple(keys.get(layer, "") for layer in stages[i].before)) for i in self._entries]
        start, received = self._resume(prefixes)
        asked = None if following is None else self._received_by(following)
        found: dict[Prefix, list[Tensor]] = {
            prefix: []
            for prefix in prefixes
            if prefix[0] > start and (asked is None or (prefix[0] in asked and not any(prefix[1])))
        }
        shared = max(set(prefixes).intersection(self._former), default=None)
        self._former = prefixes
        for number, batch in enumerate(self.batches):
            taps = {stages[prefix[0]].name: values.append for prefix, values in found.items()}
            at = None if received is None else (start, received[number])
            with torch.inference_mode():  # not around the loop: whoever takes the results would run in it too
                result = self._executor.run(as_tensors(batch), overrides, taps=taps, start=at)
            if number == 0:
                found = {prefix: found[prefix] for prefix in self._worth_keeping(found, shared)}
            yield result
        for prefix, values in found.items():
            self._kept.keep(self._owner, prefix, values)

    def _received_by(self, layers: Collection[str]) -> set[int]:
        """Return the stages with which the parts begin that hold some layers."""
        spans = self._executor.trace.spans
        return {span.start for span in spans if span.start is not None and not set(layers).isdisjoint(span.layers)}

    def _worth_keeping(self, found: Mapping[Prefix, list[Tensor]], shared: Prefix | None) -> list[Prefix]:
        """Return which stages' inputs to keep, of which those of the first batch are at hand.

        These are the furthest one that the run before received too, and from the last stage on what there is room for
        behind unchanged layers and behind others.
        """
        room, worth = {True: CHANGED_BYTES, False: UNCHANGED_BYTES}, []
        for prefix, values in reversed(list(found.items())):
            size, changed = _bytes(values) * len(self.batches), any(prefix[1])
            if prefix == shared and size <= SHARED_BYTES:
                worth.append(prefix)
            elif size <= room[changed]:
                room[changed] -= size
                worth.append(prefix)
        return worth

    def _resume(self, prefixes: Sequence[Prefix]) -> tuple[int, list[Tensor] | None]:
        """Return the furthest stage whose input is kept, and that input; else the first one."""
        for prefix in reversed(prefixes):
            found = self._kept.find(self._owner, prefix)
            if found is not None:
                return prefix[0], found
        return 0, None


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
