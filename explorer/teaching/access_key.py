"""Who may hold a class: on one's own machine anybody, on a server for others who has the key that its terminal shows.

The key comes by a link, which leaves it with the browser as a cookie that scripts cannot read: no address shows it.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from explorer import access
from explorer.data_folder import made, projects_path
from explorer.teaching.routes import KEY
from quant_engine import QuantError

FILE = "teacher.key"
OWN = ""  # the key of who sits at the machine


def kept_key() -> str:
    """Return the key of this machine's teacher, made if there is none: it stays, as links to a class do.

    Raises:
        QuantError: where it cannot be kept.
    """
    path = made(projects_path().with_name(FILE))
    try:
        if not path.exists():
            _write(path, secrets.token_urlsafe(18))
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise QuantError(f"{path} cannot be used: {error}; make it readable, or delete it") from error


def teacher_key(cookie: str) -> str | None:
    """Return the key under which a browser's classes are kept, None for who may hold none."""
    wanted = os.environ.get(KEY, "")
    if wanted:
        return wanted if hmac.compare_digest(cookie.encode(), wanted.encode()) else None
    return OWN if access.may_name_anything() else None


def _write(path: Path, key: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(key)
