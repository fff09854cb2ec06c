"""Running a model again and again on the same inputs, from the first changed layer on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quant_engine.execution.torch_executor import Override, TorchExecutor

if TYPE_CHECKING:
    from torch import Tensor

CACHE_BYTES = 512 << 20
CHANGED_BYTES = 32 << 20  # of one run, behind changed layers: filling fresh memory takes as long as computing it

Prefix = tuple[int, tuple[str, ...]]  # a stage's number, and the keys of the overrides of the layers before it


class PrefixRunner:
    """Runs an executor on batches of inputs, keeping what its stages receive.

    What a stage receives depends on the overrides of the layers that run before it; it is kept under their keys, up to
    `cache_bytes` in all. Safe to call from several threads.
    """

    def __init__(self, executor: TorchExecutor, batches: Sequence[Any], cache_bytes: int = CACHE_BYTES) -> None:
        """Keep references: the batches must not be changed."""
        self._executor, self._batches, self._cache_bytes = executor, batches, cache_bytes
        self._entries = [span.start for span in executor.trace.spans if span.start is not None]
        self._kept: OrderedDict[Prefix, list[Tensor]] = OrderedDict()
        self._lock = threading.Lock()

    def outputs(self, overrides: Mapping[str, Override], keys: Mapping[str, str]) -> list[Any]:
        """Return the outputs of every batch; a layer's key tells its override from all others it may have."""
        import torch

        stages = self._executor.trace.stages
        prefixes = [(i, tuple(keys.get(layer, "") for layer in stages[i].before)) for i in self._entries]
        start, received = self._resume(prefixes)
        found: dict[Prefix, list[Tensor]] = {prefix: [] for prefix in prefixes if prefix[0] > start}
        results = []
        with torch.inference_mode():
            for number, batch in enumerate(self._batches):
                taps = {stages[prefix[0]].name: values.append for prefix, values in found.items()}
                at = None if received is None else (start, received[number])
                results.append(self._executor.run(batch, overrides, taps=taps, start=at))
                if number == 0:
                    found = {prefix: found[prefix] for prefix in self._worth_keeping(found)}
        self._keep(found)
        return results

    @property
    def bytes_kept(self) -> int:
        """How much memory is taken."""
        return sum(x.nbytes for kept in self._kept.values() for x in kept)

    def _worth_keeping(self, found: Mapping[Prefix, list[Tensor]]) -> list[Prefix]:
        """Return which stages' inputs to keep, of which those of the first batch are at hand.

        These are all behind unchanged layers and, from the last stage on, what there is room for behind others.
        """
        room, worth = CHANGED_BYTES, []
        for prefix, values in reversed(list(found.items())):
            size = values[0].nbytes * len(self._batches) if any(prefix[1]) else 0
            if size <= room:
                room -= size
                worth.append(prefix)
        return worth

    def _resume(self, prefixes: Sequence[Prefix]) -> tuple[int, list[Tensor] | None]:
        """Return the furthest stage whose input is kept, and that input; else the first one."""
        with self._lock:
            for prefix in reversed(prefixes):
                if prefix in self._kept:
                    self._kept.move_to_end(prefix)
                    return prefix[0], self._kept[prefix]
        return 0, None

    def _keep(self, found: Mapping[Prefix, list[Tensor]]) -> None:
        """Keep stages' inputs; where room is short, those behind unchanged layers stay longest."""
        with self._lock:
            self._kept |= found
            while self.bytes_kept > self._cache_bytes:
                oldest = next((prefix for prefix in self._kept if any(prefix[1])), next(iter(self._kept)))
                del self._kept[oldest]
