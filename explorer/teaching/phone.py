"""The page that a student's phone shows: one file with its style and script, which runs no script of the server."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import pathlib
import re

from explorer.language import ENGLISH, languages, read_words

PAGE = pathlib.Path(__file__).resolve().with_name("phone.html")
NOTHING = dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'")
INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@functools.cache
def phone_page(code: str) -> str:
    """Return the page in a language."""
    words = json.dumps(dict(read_words("phone", code))).replace("<", "\\u003c")
    return PAGE.read_text(encoding="utf-8").replace("$lang", code).replace("$words", words)


@functools.cache
def policy() -> str:
    """Return what the page may do: run its own script, by its hash, and ask this server alone."""
    allowed = {
        **NOTHING,
        "connect-src": "'self'",
        "img-src": "data:",
        **{
            f"{kind}-src": f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for kind, text in INLINE.findall(phone_page(ENGLISH))
        },
    }
    return "; ".join(f"{what} {where}" for what, where in allowed.items())


def wanted_language(accepted: str) -> str:
    """Return the first language of a browser's list that we have, else English.

    >>> wanted_language("fr;q=0.9, de-CH;q=0.8, en"), wanted_language("")
    ('de', 'en')
    """
    asked = (part.split(";")[0].strip().split("-")[0].lower() for part in accepted.split(","))
    return next((code for code in asked if code in languages()), ENGLISH)
