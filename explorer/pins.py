"""Settings kept for comparison, as text in the page's address: "bits:3,clipping:least MSE|format:NF4"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from explorer.fields import Text
from explorer.state import PlaygroundState

MAX_PINS = 4
APART, WITHIN, IS = "|", ",", ":"
PREFIX = "play_"
AS_IT_OPENS = "default"


def pin_of(settings: PlaygroundState) -> PlaygroundState:
    """Return what is compared of a setting: not the block and the value that are looked at, nor what is stored."""
    return replace(settings, block=0, value=None, as_stored=False)


def write(pins: Iterable[PlaygroundState]) -> str:
    """Return pins as text.

    >>> write([PlaygroundState(bits=3, percentile=99.0), PlaygroundState()])
    'bits:3,percentile:99.0|default'
    """
    return APART.join(_write_one(pin) for pin in pins)


def read(text: str) -> tuple[PlaygroundState, ...]:
    """Return the pins of a text; parts that are not valid are left out.

    >>> [pin.bits for pin in read("bits:3|default|bits:99")]
    [3, 4]
    """
    parts = [part for part in text.split(APART) if part][:MAX_PINS]
    return tuple(_read_one(part) for part in parts if _is_valid(part))


def read_all(text: str) -> tuple[PlaygroundState, ...]:
    """Return the pins of a text.

    Raises:
        ValueError: for parts that are not valid, and too many.
    """
    parts = text.split(APART) if text else []
    if len(parts) > MAX_PINS:
        raise ValueError(text)
    return tuple(_read_one(part) for part in parts)


PINS = Text(
    "play_pins",
    read_all,
    write,
    instead="instead_left_out",
)


HOME = Text(
    "home",
    read_all,
    write,
    instead="instead_opens",
)


def _write_one(pin: PlaygroundState) -> str:
    link = pin.link().items()
    return WITHIN.join(f"{key.removeprefix(PREFIX)}{IS}{text}" for key, text in link) or AS_IT_OPENS


def _read_one(part: str) -> PlaygroundState:
    pairs = [] if part == AS_IT_OPENS else [pair.split(IS) for pair in part.split(WITHIN)]
    return pin_of(PlaygroundState.read({f"{PREFIX}{name}": text for name, text in pairs}))


def _is_valid(part: str) -> bool:
    try:
        _read_one(part)
    except ValueError:
        return False
    return True
