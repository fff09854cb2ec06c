"""Text that may hold markdown, and text that may not: names of files, layers and people are shown as they are.

Every word of the screen is a `Sentence`. What is filled into it counts as plain text unless it is a sentence too, as
in MarkupSafe; so a layer's name draws no picture, makes no link and closes no tag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Number
from typing import Any

JOINER = "\u2060"  # has no width, and keeps what stands around it from being read together
BROKEN = re.compile(
    r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]+"
)  # new lines begin lists, and surrogates cannot be sent
MARKS = re.compile(r"[`*~$]|\\(?=[!-/:-@\[-`{-~])|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|&(?=#?\w+;)")
BRACKETS = re.compile(r"!\[|\][(\[:]|:\w[\w-]*\[")
ADDRESSES = re.compile(r"(?<=\w)(?=://)|(?<=www)(?=\.)|(?<=mailto)(?=:)|(?<=[\w.+-])(?=@\w)", re.IGNORECASE)
PICTURES = re.compile(r":(?=[\w+/-]*[a-z][\w+/-]*:)", re.IGNORECASE)  # :smile:, :material/close:


def inert(text: str) -> str:
    r"""Return markdown that shows a text as it is; most names are that already.

    >>> inert("layers.0.self_attn"), inert("onnx::MatMul_7"), inert("[0, 1]")
    ('layers.0.self_attn', 'onnx::MatMul_7', '[0, 1]')
    >>> print(inert("![x](y) <b> $z$ :red[q] `c`"))
    !\[x\](y) \<b> \$z\$ :red\[q\] \`c\`
    """
    plain = MARKS.sub(r"\\\g<0>", BROKEN.sub(" ", text))
    if BRACKETS.search(plain):
        plain = plain.replace("[", r"\[").replace("]", r"\]")
    return PICTURES.sub(f":{JOINER}", ADDRESSES.sub(JOINER, plain))


class Sentence(str):
    r"""Markdown of our own, whose gaps are filled with plain text.

    >>> Sentence("**{name}** has {n}").format(name="a*b*", n=3)
    '**a\\*b\\*** has 3'
    >>> Sentence("{one}.").format(one=Sentence("*x*"))
    '*x*.'
    """

    __slots__ = ()

    def __str__(self) -> Sentence:
        """Stay a sentence."""
        return self

    def format(self, *values: object, **named: object) -> Sentence:
        """Fill the gaps."""
        shown = {name: _shown(value) for name, value in named.items()}
        return Sentence(super().format(*map(_shown, values), **shown))

    def format_map(self, named: Mapping[str, Any]) -> Sentence:  # type: ignore[override]
        """Fill the gaps by what is asked for alone."""
        return Sentence(super().format_map(_Shown(named)))


class _Shown(dict[str, Any]):
    """Values of a mapping as they are shown."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named

    def __missing__(self, name: str) -> object:
        return _shown(self._named[name])


def _shown(value: object) -> object:
    return value if isinstance(value, Number) else verbatim(value)


def verbatim(value: object) -> Sentence:
    r"""Return markdown that shows text, an error or whatever has a text as it is; a sentence stays what it is.

    >>> verbatim(ValueError("no *")), verbatim(Sentence("*yes*"))
    ('no \\*', '*yes*')
    """
    return value if isinstance(value, Sentence) else Sentence(inert(str(value)))


def capital(text: str) -> str:
    """Return text with a capital letter, and as a sentence if it is one.

    >>> capital("the weights of conv1")
    'The weights of conv1'
    """
    return type(text)(text[:1].upper() + text[1:])
