"""The routes of our own beside Streamlit's: streamed files, and the phones of a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer import uploads
from explorer.teaching.routes import class_routes

if TYPE_CHECKING:
    from starlette.routing import Route


def routes() -> list[Route]:
    """Return all of them."""
    return [*uploads.routes(), *class_routes()]
