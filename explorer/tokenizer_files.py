"""The tokenizer beside a language model that transformers has loaded."""

from __future__ import annotations

from typing import Any

from quant_engine import QuantError
from quant_engine.extras import imported
from quant_engine.network import Network


def read_tokenizer(network: Network) -> Any:
    """Return the tokenizer in the folder that a network was loaded from.

    Raises:
        QuantError: for a network without one.
    """
    folder = getattr(getattr(network.model, "module", None), "name_or_path", "")
    if not folder:
        raise QuantError(f"{network.title} has no tokenizer; open a folder that transformers saved")
    transformers = imported("transformers", "transformers")
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise QuantError(f"the tokenizer in {folder} cannot be loaded: {error}") from error
