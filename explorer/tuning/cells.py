"""What a cell of the tuner's table may say: words, and the attributes of a setting that each stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from explorer.number_formats import KINDS
from explorer.playground_table import METHODS
from explorer.state import PlaygroundState
from quant_engine import PerChannel, PerChannelGroup, PerGroup, PerTensor
from quant_engine.formats import E4M3, FP16

Cells = Mapping[str, Any]  # attributes of a setting

FLOAT32 = "float32"
WIDTHS = (8, 6, 5, 4, 3, 2)
GROUPS = (32, 64, 128)
INPUTS = (8, 6, 4)
NUMBER = "#"  # in words that ask for one
ASKED: dict[str, tuple[type[Any], str]] = {  # a shape whose size is asked for, and the attribute that holds it
    f"groups of {NUMBER}": (PerGroup, "group"),
    f"groups of {NUMBER} channels": (PerChannelGroup, "channels"),
}
COLUMNS: dict[str, dict[str, Cells]] = {
    "format": {
        FLOAT32: {},  # no setting says that: the plan lists the layers that stay as they are
        "FP16": {"kind": KINDS["float"], "float_format": FP16},
        **{f"int{bits}": {"kind": KINDS["integer"], "bits": bits} for bits in WIDTHS},
        "E4M3": {"kind": KINDS["float"], "float_format": E4M3},
        "NF4": {"kind": KINDS["NF4"]},
    },
    "shared": {
        "layer": {"granularity": PerTensor},
        "channel": {"granularity": PerChannel},
        **{f"groups of {size}": {"granularity": PerGroup, "group": size} for size in GROUPS},
    },
    "symmetry": {"symmetric": {"symmetric": True}, "asymmetric": {"symmetric": False}},
    "range": {word: {"clipping": method} for word, method in METHODS.items()},
    "inputs": {FLOAT32: {"activation_bits": None}, **{f"int{bits}": {"activation_bits": bits} for bits in INPUTS}},
}


def cells_of(column: str, word: str) -> Cells | None:
    """Return the attributes that a word of a column stands for, sizes of one's own too; None for words it has not.

    >>> cells_of("shared", "groups of 48")["group"], cells_of("shared", "groups of 0"), cells_of("range", "wide")
    (48, None, None)
    """
    if column != "shared" or word in COLUMNS[column]:
        return COLUMNS.get(column, {}).get(word)
    for asked, (shape, name) in ASKED.items():
        start, end = asked.split(NUMBER)
        number = word.removeprefix(start).removesuffix(end)
        if word == f"{start}{number}{end}" and PlaygroundState.fields()[name].accepts(number):
            return {"granularity": shape, name: int(number)}
    return None


def word_of(column: str, settings: PlaygroundState) -> str:
    """Return the word of a column that a setting is at, or "" where it has none for that.

    >>> word_of("format", PlaygroundState(bits=3)), word_of("shared", PlaygroundState(granularity=PerChannelGroup))
    ('int3', 'groups of 8 channels')
    """
    for word, cells in COLUMNS[column].items():
        if cells and all(getattr(settings, name) == value for name, value in cells.items()):
            return word
    sizes = {shape: word.replace(NUMBER, str(getattr(settings, name))) for word, (shape, name) in ASKED.items()}
    return sizes.get(settings.granularity, "") if column == "shared" else ""


def counts(column: str, settings: PlaygroundState) -> bool:
    """Say whether what a column sets counts under a setting: FP16 has neither scales nor a range."""
    applies = {"shared": settings.grouped, "symmetry": settings.kind.integer, "range": settings.clips}
    return applies.get(column, True)
