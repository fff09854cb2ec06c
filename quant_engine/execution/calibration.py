"""Static ranges of activations, observed on calibration data."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from quant_engine.batches import cut, sample_count, split_batch
from quant_engine.checks import as_integer
from quant_engine.errors import QuantError
from quant_engine.execution.finite import validate_computed
from quant_engine.inputs import Float32Array, Inputs
from quant_engine.models import Layer
from quant_engine.observers import BlockObservers
from quant_engine.quantizer import Quantizer, QuantizerSpec

BATCH = 32

Capture = Callable[[Inputs, Iterable[str]], Mapping[str, Float32Array]]  # what layers receive of some inputs


class Calibration:
    """Observes what the layers of a network receive in floating point, and keeps what was observed.

    Specs that need the same statistics (a histogram serves many methods and widths) share one pass over the data.
    Safe to call from several threads.
    """

    def __init__(
        self,
        capture: Capture,
        layers: Mapping[str, Layer],
        batches: Iterable[Inputs],
    ) -> None:
        """Keep references; An iterator serves one call."""
        self._capture, self._layers, self._batches = capture, layers, batches
        self._seen: dict[tuple[str, str, int | None], BlockObservers] = {}
        self._lock = threading.Lock()

    def quantizers(self, specs: Mapping[str, QuantizerSpec], count: int | None = None) -> dict[str, Quantizer]:
        """Return a quantizer for the input of each layer, fitted to the first `count` samples (all by default).

        Raises:
            QuantError: for a count that is not there, specs that cannot be static, and inputs that are not finite.
        """
        if count is not None:
            total = sum(sample_count(batch) for batch in self._batches)
            count = as_integer(count, "the number of calibration samples", 1, total)
            count = None if count == total else count
        wanted = {layer: self._observers(layer, spec) for layer, spec in specs.items()}
        with self._lock:
            keys = {layer: (layer, observers.kind, count) for layer, observers in wanted.items()}
            self._observe({layer: wanted[layer] for layer, key in keys.items() if key not in self._seen}, count)
            self._seen.update({key: wanted[layer] for layer, key in keys.items() if key not in self._seen})
            return {layer: self._seen[keys[layer]].quantizer(spec) for layer, spec in specs.items()}

    def _observers(self, layer: str, spec: QuantizerSpec) -> BlockObservers:
        try:
            return BlockObservers(spec, self._layers[layer].input_shape)
        except QuantError as error:
            raise QuantError(f"the activation of layer {layer!r}: {error}") from error

    def _observe(self, wanted: Mapping[str, BlockObservers], count: int | None) -> None:
        start = 0
        for batch in self._parts(count) if wanted else ():
            for layer, values in self._capture(batch, wanted).items():
                validate_computed(f"layer {layer!r} receives", values, start)
                wanted[layer].update(values)
            start += sample_count(batch)
        if wanted and not start:
            raise QuantError("there is no batch of calibration data; give at least one")

    def _parts(self, count: int | None) -> Iterator[Inputs]:
        """Yield the first `count` samples, or all, at most 32 at a time."""
        for batch in self._batches:
            wanted = batch if count is None else cut(batch, 0, count)
            yield from split_batch(wanted, BATCH)
            if count is not None:
                count -= sample_count(wanted)
                if not count:
                    return
