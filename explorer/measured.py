"""What studies have measured of networks, kept on a person's own machine for the commands and the app alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_engine import QuantError

if TYPE_CHECKING:
    from quant_engine.network import Network
    from quant_engine.store import KeptScores

KEPT = "measured.sqlite"  # in the cache folder: a study that was stopped goes on from it


def kept_of(network: Network) -> KeptScores:
    """Return what was measured of a network before, by whatever command or page.

    Raises:
        QuantError: for a folder that cannot be made.
    """
    from quant_engine.packs.installing import cache_folder
    from quant_engine.store import KeptScores, Store

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QuantError(f"{folder} cannot be made: {error}; set QUANT_EXPLORER_CACHE to another folder") from error
    return KeptScores(Store(folder / KEPT), network.digest, network.given_task.key)
