"""Static ranges of activations, observed on calibration images."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from quant_engine.checks import as_integer
from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array
from quant_engine.models import Layer
from quant_engine.network.activations import refuse_broken
from quant_engine.observers import BlockObservers
from quant_engine.quantizer import Quantizer, QuantizerSpec

BATCH = 32


class Calibration:
    """Observes what the layers of a network receive in floating point, and keeps what was observed.

    Specs that need the same statistics (a histogram serves many methods and widths) share one pass over the images.
    Safe to call from several threads.
    """

    def __init__(
        self,
        capture: Callable[[Float32Array, Iterable[str]], Mapping[str, Float32Array]],
        layers: Mapping[str, Layer],
        images: Float32Array,
    ) -> None:
        """Keep references; `capture` gives what layers receive of some images."""
        self._capture, self._layers, self._images = capture, layers, images
        self._seen: dict[tuple[str, str, int], BlockObservers] = {}
        self._lock = threading.Lock()

    def quantizers(self, specs: Mapping[str, QuantizerSpec], count: int | None = None) -> dict[str, Quantizer]:
        """Return a quantizer for the input of each layer, fitted to the first `count` images (all by default).

        Raises:
            QuantError: for a count that is not there, specs that cannot be static, and inputs that are not finite.
        """
        most = len(self._images)
        images = most if count is None else as_integer(count, "the number of calibration images", 1, most)
        wanted = {layer: self._observers(layer, spec) for layer, spec in specs.items()}
        with self._lock:
            keys = {layer: (layer, observers.kind, images) for layer, observers in wanted.items()}
            self._observe({layer: wanted[layer] for layer, key in keys.items() if key not in self._seen}, images)
            self._seen.update({key: wanted[layer] for layer, key in keys.items() if key not in self._seen})
            return {layer: self._seen[keys[layer]].quantizer(spec) for layer, spec in specs.items()}

    def _observers(self, layer: str, spec: QuantizerSpec) -> BlockObservers:
        try:
            return BlockObservers(spec, self._layers[layer].input_shape)
        except QuantError as error:
            raise QuantError(f"the activation of layer {layer!r}: {error}") from error

    def _observe(self, wanted: Mapping[str, BlockObservers], images: int) -> None:
        for start in range(0, images if wanted else 0, BATCH):
            batch = self._images[start : min(start + BATCH, images)]
            for layer, values in self._capture(batch, wanted).items():
                refuse_broken(f"layer {layer!r} receives", values)
                wanted[layer].update(values)
