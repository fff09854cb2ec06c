"""How the file that a model was opened from stores a layer's weight."""

from __future__ import annotations

import numpy as np

from quant_engine.models.base import Model
from quant_engine.models.onnx_model import OnnxModel
from quant_engine.models.tensor_model import TensorModel
from quant_engine.readers import StoredQuantization


def stored_quantization(model: Model | TensorModel, layer: str) -> StoredQuantization | None:
    """Return how a layer's weight is stored as codes, or the range beside its real values; None without either.

    A product's weight that the graph holds as (in, out) is that of the layer, (out, in).

    Raises:
        ReaderError: if the file does not hold what it says.
    """
    if not isinstance(model, TensorModel | OnnxModel) or (file := model.file) is None:
        return None
    name = model.layers[layer].tensor
    found = file.quantization(name) if name in file.tensors else None
    if found is None or isinstance(model, TensorModel):
        return found
    weight, held = model.parameters[layer][0], file.load(name)
    if np.array_equal(weight, held):
        return found
    return found.transposed() if np.array_equal(weight, held.T) else None
