"""What figures say: the words of a figure, with live values in them."""

from __future__ import annotations

from explorer.language import plain_words


def phrase(figure: str, sentence: str, **live: object) -> str:
    """Return a sentence of a figure in the language of this session.

    >>> phrase("elements", "tower", n="46,548", value="0")
    '↑ 46,548 near 0'
    """
    return str(plain_words("figures")[figure][sentence].format(**live))
