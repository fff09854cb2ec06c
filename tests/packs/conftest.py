"""Packs are installed once into the person's own cache, and stay there."""

import pytest

from quant_engine.network import load
from quant_engine.packs import PACKS, install
from tests.conftest import PACKS_CACHE


@pytest.fixture(scope="module")
def pack_network():
    """Return what opens a pack, installed if it is not yet."""
    with pytest.MonkeyPatch.context() as patch:
        if PACKS_CACHE:
            patch.setenv("QUANT_EXPLORER_CACHE", PACKS_CACHE)
        else:
            patch.delenv("QUANT_EXPLORER_CACHE")

        def opened(name):
            for _ in install(PACKS[name]):
                pass
            return load(name)

        yield opened
