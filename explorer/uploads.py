"""Large files streamed to the disk: a route that writes what a browser sends into its session's folder, in chunks.

Whoever has a session's token may write into its folder, and nobody else: it is 256 random bits that only the session's
page is told. A browser that says which page sends must name one of this server. Each refusal is a status, which the
page puts into words; what was sent of a batch that is refused or cut is deleted.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

PATH = "/upload/{token}"
FREE_BYTES = 2 << 30  # of the disk, which stay
BUFFER = 4 << 20
MAX_NAME = 80  # characters
STREAMED = "QUANT_EXPLORER_STREAMED"


class Inbox:
    """What one session may send: its folder, its token, and how much it may keep there."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open an address for a session."""
        self.token, self.folder, self.max_bytes = secrets.token_urlsafe(32), folder, max_bytes
        self.closed, self._busy = False, False
        _inboxes[self.token] = self

    @property
    def size_bytes(self) -> int:
        """What it holds."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def files(self, batch: str) -> list[Path]:
        """Return the files of a batch that has arrived."""
        place = self.folder / batch
        return sorted(place.iterdir()) if batch.isdecimal() and place.is_dir() else []

    def close(self) -> None:
        """Take nothing more, and delete all."""
        self.closed = True
        _inboxes.pop(self.token, None)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def batch(self, name: str) -> Iterator[Path]:
        """Lend the folder of a batch to one who writes; if that fails nothing stays in it."""
        if self._busy:
            raise _refusal(HTTPStatus.CONFLICT)
        self._busy = True
        place = self.folder / name
        try:
            place.mkdir(parents=True, exist_ok=True)
            yield place
        except BaseException as error:
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, OSError):  # others may have filled the disk meanwhile
                raise _refusal(HTTPStatus.INSUFFICIENT_STORAGE) from error
            raise
        finally:
            self._busy = False


_inboxes: weakref.WeakValueDictionary[str, Inbox] = weakref.WeakValueDictionary()


def plain_name(name: str) -> str:
    """Return a name that leads out of no folder.

    >>> plain_name("../../etc/passwd")
    'passwd'
    """
    return re.sub(r"[^\w.\- ()]", "_", re.split(r"[/\\]", name)[-1]).strip(" .")[-MAX_NAME:] or "file"


def routes() -> list[Route]:
    """Return the routes of a server that streams files."""
    from starlette.routing import Route

    return [Route(PATH, _receive, methods=["POST"])]


def offer_streaming() -> None:
    """Have the pages of this process take files by the route."""
    os.environ[STREAMED] = "1"


def streamed() -> bool:
    """Say whether this server has the route: `streamlit run` has not."""
    return STREAMED in os.environ


def is_from_here(request: Request) -> bool:
    """Say whether a page of this server sends the request, as far as the browser tells."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


async def _receive(request: Request) -> Response:
    """Write a file into the folder of the session whose token the address has."""
    from starlette.requests import ClientDisconnect
    from starlette.responses import Response

    try:
        await _take(request)
    except ClientDisconnect:  # cancelled: nobody hears the answer
        return Response(status_code=HTTPStatus.BAD_REQUEST)
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _take(request: Request) -> None:
    """Write a file, or refuse it."""
    inbox = _inboxes.get(request.path_params["token"])
    if inbox is None or not is_from_here(request):
        raise _refusal(HTTPStatus.FORBIDDEN)
    batch, length = request.query_params.get("batch", ""), request.headers.get("content-length", "")
    if not (batch.isascii() and batch.isdecimal() and len(batch) < 20):
        raise _refusal(HTTPStatus.BAD_REQUEST)
    if not length.isdecimal():
        raise _refusal(HTTPStatus.LENGTH_REQUIRED)
    with inbox.batch(batch) as place:
        if inbox.size_bytes + int(length) > inbox.max_bytes:
            raise _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if shutil.disk_usage(place).free - int(length) < FREE_BYTES:
            raise _refusal(HTTPStatus.INSUFFICIENT_STORAGE)
        path = place / plain_name(request.query_params.get("name", ""))
        if path.exists():
            raise _refusal(HTTPStatus.CONFLICT)
        await _write(request, inbox, path, int(length))


async def _write(request: Request, inbox: Inbox, path: Path, length: int) -> None:
    """Write the body, from a thread: the server answers others meanwhile."""
    from starlette.concurrency import run_in_threadpool

    held = bytearray()
    with path.open("xb") as file:
        async for chunk in request.stream():
            held += chunk
            if inbox.closed:
                raise _refusal(HTTPStatus.GONE)
            if len(held) >= BUFFER:
                await run_in_threadpool(file.write, held)
                held = bytearray()
        file.write(held)
        if file.tell() != length:
            raise _refusal(HTTPStatus.BAD_REQUEST)


def _refusal(status: HTTPStatus) -> Exception:
    from starlette.exceptions import HTTPException

    return HTTPException(status)
