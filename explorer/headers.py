"""Headers of every answer of a server of ours: what a page may load, and what it tells others.

Names from files are text on every page (`explorer/sentences.py`); were one not, it could still fetch no picture from
elsewhere, which would tell who looks at it, embed nothing, and send no form. Links hold a person's plan; no other host
is told of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.middleware import Middleware

LOADED = {"img-src": ("'self'", "data:", "blob:"), "media-src": ("'self'", "blob:"), "font-src": ("'self'", "data:")}
OTHERS = {"object-src": ("'none'",), **dict.fromkeys(("frame-src", "base-uri", "form-action"), ("'self'",))}
POLICY = "; ".join(" ".join((what, *where)) for what, where in (LOADED | OTHERS).items())
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class SafeHeaders:
    """An ASGI application whose answers have the headers."""

    def __init__(self, app: Any) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer as the application does."""

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                known = [*message.get("headers", ())]
                wanted = ((name.lower().encode(), text.encode()) for name, text in HEADERS.items())
                added = [pair for pair in wanted if pair[0] not in dict(known)]  # a stricter one of a route's own stays
                message = {**message, "headers": [*known, *added]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def middleware() -> list[Middleware]:
    """Return what gives a server of Streamlit's the headers."""
    from starlette.middleware import Middleware

    return [Middleware(SafeHeaders)]
