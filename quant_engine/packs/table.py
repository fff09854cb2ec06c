"""All packs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from quant_engine.errors import QuantError
from quant_engine.packs.efficientnet import EFFICIENTNET
from quant_engine.packs.minilm import MINILM
from quant_engine.packs.ocr import OCR
from quant_engine.packs.pack import Pack
from quant_engine.packs.smollm2 import SMOLLM2

PACKS: Mapping[str, Pack] = MappingProxyType({pack.name: pack for pack in (OCR, MINILM, SMOLLM2, EFFICIENTNET)})


def pack_named(name: str) -> Pack:
    """Return the pack of a name.

    Raises:
        QuantError: for another name.

    Example:
        >>> pack_named("ocr").licence
        'Apache-2.0'
    """
    if name not in PACKS:
        raise QuantError(f"there is no pack {name!r}; choose one of {', '.join(PACKS)}")
    return PACKS[name]
