"""Settings kept for comparison, as text in the page's address: "bits:3,clipping:least MSE|format:NF4"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from explorer import state
from explorer.fields import Choice, Coded, Number

MOST_PINS = 4
APART, WITHIN, IS = "|", ",", ":"
PREFIX = "play_"
KEPT = {
    field.key.removeprefix(PREFIX): field
    for field in state.PLAYGROUND_FIELDS
    if field not in (state.BLOCK, state.VALUE)
}
AS_IT_OPENS = "default"

Pin = dict[str, Any]


def pin_of(values: Mapping[str, Any]) -> Pin:
    """Return what is not at its default among the values of controls, by key."""
    found = {field.key: values.get(field.key, field.default) for field in KEPT.values()}
    return {key: value for key, value in found.items() if value is not None and value != _default(key)}


def write(pins: Sequence[Pin]) -> str:
    """Return pins as text.

    >>> write([{"play_bits": 3, "play_clipping": "least MSE"}, {}])
    'bits:3,clipping:least MSE|default'
    """
    return APART.join(_write_one(pin) or AS_IT_OPENS for pin in pins)


def read(text: str) -> list[Pin]:
    """Return the pins of a text; parts that are not valid are left out.

    >>> read("bits:3|default|bits:99"), read("")
    ([{'play_bits': 3}, {}], [])
    """
    parts = [part for part in text.split(APART) if part][:MOST_PINS]
    return [_read_one(part) for part in parts if _is_valid(part)]


def accepts(text: str) -> bool:
    """Say whether a text is one of pins."""
    parts = text.split(APART)
    return len(parts) <= MOST_PINS and all(_is_valid(part) for part in parts)


PINS = Coded("play_pins", "Pinned settings", accepts, f"up to {MOST_PINS} settings such as bits:3|format:NF4")


def _default(key: str) -> Any:
    return KEPT[key.removeprefix(PREFIX)].default


def _write_one(pin: Pin) -> str:
    return WITHIN.join(f"{key.removeprefix(PREFIX)}{IS}{value}" for key, value in pin.items())


def _is_valid(part: str) -> bool:
    if part == AS_IT_OPENS:
        return True
    pairs = [pair.split(IS) for pair in part.split(WITHIN)]
    return all(len(pair) == 2 and pair[0] in KEPT and KEPT[pair[0]].accepts(pair[1]) for pair in pairs)


def _read_one(part: str) -> Pin:
    if part == AS_IT_OPENS:
        return {}
    pairs = (pair.split(IS) for pair in part.split(WITHIN))
    found = {KEPT[name].key: _value(name, text) for name, text in pairs}
    return {key: value for key, value in found.items() if value != _default(key)}


def _value(name: str, text: str) -> Any:
    field = KEPT[name]
    if isinstance(field, Number):
        return int(text) if field.whole else float(text)
    return field.word(text) if isinstance(field, Choice) else text
