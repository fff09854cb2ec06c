"""One SQLite file that keeps projects with every plan that was saved, and results by what they depend on.

Threads, windows and processes share nothing but the file (`database`).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quant_engine.checks import as_instance
from quant_engine.errors import QuantError
from quant_engine.store.database import Database
from quant_engine.store.project import Project, Saved, SavedPlan
from quant_engine.store.schema import STORE

MAX_NAME, MAX_DOCUMENT = 200, 64 << 20  # characters
MAX_ATTACHMENT = 512 << 20  # bytes


class Store:
    """A file of projects and results; it is made where there is none.

    Raises:
        QuantError: for a file that is no store, or is damaged or of a later version; it is left as it is.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = Store(Path(folder) / "projects.sqlite")
        ...     _ = store.save("first try", "fashion-cnn", "0a1b", "plan one")
        ...     _ = store.save("first try", "fashion-cnn", "0a1b", "plan two", label="A")
        ...     [(project.name, [plan.document for plan in store.plans(project.name)]) for project in store.projects()]
        [('first try', ['plan one', 'plan two'])]
    """

    def __init__(self, path: str | Path) -> None:
        """Open or make the file."""
        self.path = Path(path)
        self._database = Database(self.path, STORE)

    def save(
        self,
        name: str,
        model: str,
        digest: str,
        document: str,
        label: str = "",
        since: int | None = None,
        attached: Iterable[bytes] = (),
    ) -> Saved:
        """Save a plan as the last of a project, which is made where there is none; the same plan again is not saved.

        Every plan stays, whoever saves: with `since`, the number of the last plan that is known, what others have saved
        meanwhile is counted. What is attached is kept once, by its digest (`digest_of`), which the document can name.

        Raises:
            QuantError: for a name that is empty or too long, one that is a project of another model, an attachment that
                is too large, and a full disk.
        """
        called = _as_name(name)
        text = as_instance(document, str, "document", "give the plan as text")
        if len(text) > MAX_DOCUMENT:
            raise QuantError(f"the plan has {len(text):,} characters; at most {MAX_DOCUMENT:,} are kept")
        contents = {digest_of(content): _as_attachment(content) for content in attached}
        now = _now()
        with self._database.writing() as connection:
            row = connection.execute("SELECT id, digest, model FROM project WHERE name = ?", (called,)).fetchone()
            if row is None:
                made = connection.execute(
                    "INSERT INTO project (name, model, digest, created, changed) VALUES (?, ?, ?, ?, ?)",
                    (called, model, digest, now, now),
                )
                number = made.lastrowid
            else:
                number, known, other = row
                if known != digest:
                    raise QuantError(f"{called!r} is a project of another model, {other}; give another name")
            (others,) = connection.execute(
                "SELECT count(*) FROM plan WHERE project = ? AND id > ?", (number, since)
            ).fetchone()
            last = connection.execute(
                "SELECT id, document, label FROM plan WHERE project = ? ORDER BY id DESC LIMIT 1", (number,)
            ).fetchone()
            if last is not None and last[1:] == (text, label):
                return Saved(last[0], others)
            made = connection.execute(
                "INSERT INTO plan (project, document, label, saved) VALUES (?, ?, ?, ?)", (number, text, label, now)
            )
            connection.execute("UPDATE project SET changed = ? WHERE id = ?", (now, number))
            connection.executemany("INSERT OR IGNORE INTO attachment VALUES (?, ?)", contents.items())
            connection.executemany("INSERT INTO attached VALUES (?, ?)", [(made.lastrowid, one) for one in contents])
            return Saved(int(made.lastrowid or 0), others)

    def projects(self, search: str = "", digest: str = "") -> list[Project]:
        """Return the projects whose name or model has a text in it, and of one model alone, the last changed first."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT name, model, digest, created, changed FROM project").fetchall()
        wanted = search.casefold()
        found = [
            Project(*row)
            for row in rows
            if (wanted in row[0].casefold() or wanted in row[1].casefold()) and digest in ("", row[2])
        ]
        return sorted(found, key=lambda project: project.changed, reverse=True)

    def plans(self, name: str) -> list[SavedPlan]:
        """Return every plan of a project, in the order in which they were saved.

        Raises:
            QuantError: if there is no such project.
        """
        with self._database.reading() as connection:
            number = _number(connection, name)
            rows = connection.execute(
                "SELECT id, document, label, saved FROM plan WHERE project = ? ORDER BY id", (number,)
            ).fetchall()
            pairs = connection.execute(
                "SELECT plan, digest FROM attached JOIN plan ON plan = id WHERE project = ?", (number,)
            ).fetchall()
        attached: dict[int, list[str]] = {}
        for plan, digest in pairs:
            attached.setdefault(plan, []).append(digest)
        return [
            SavedPlan(document, label, saved, tuple(attached.get(plan, ()))) for plan, document, label, saved in rows
        ]

    def attachment(self, digest: str) -> bytes:
        """Return what was saved with a plan, by its digest.

        Raises:
            QuantError: if there is none, or its content is another.
        """
        with self._database.reading() as connection:
            row = connection.execute("SELECT content FROM attachment WHERE digest = ?", (digest,)).fetchone()
        if row is None or digest_of(row[0]) != digest:
            raise QuantError(f"{self.path} has no {digest[:80]!r} that belongs to the plan; load another plan")
        return bytes(row[0])

    def rename(self, name: str, other: str) -> None:
        """Give a project another name.

        Raises:
            QuantError: if there is no such project, and if another one has the name.
        """
        with self._database.writing() as connection:
            number = _number(connection, name)
            try:
                connection.execute("UPDATE project SET name = ? WHERE id = ?", (_as_name(other), number))
            except sqlite3.IntegrityError as error:
                raise QuantError(f"there is a project {other!r} already; give another name") from error

    def delete(self, name: str) -> None:
        """Delete a project with its plans; results stay.

        Raises:
            QuantError: if there is no such project.
        """
        with self._database.writing() as connection:
            connection.execute("DELETE FROM project WHERE id = ?", (_number(connection, name),))
            connection.execute("DELETE FROM attachment WHERE digest NOT IN (SELECT digest FROM attached)")

    def export(self, name: str, path: str | Path) -> None:
        """Write a project as a store of its own, which `import_from` reads.

        Raises:
            QuantError: if there is no such project, and for a path that is taken.
        """
        plans = self.plans(name)
        (project,) = (one for one in self.projects() if one.name == name)
        if Path(path).exists():
            raise QuantError(f"{path} exists; give another name, or delete it first")
        other = Store(path)
        other._add(self, project, plans, name)
        with other._database.reading() as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # or it would not be one file

    def import_from(self, path: str | Path) -> list[str]:
        """Add the projects of another store, under free names, and return these.

        Raises:
            QuantError: for a file that is no store.
        """
        source = Path(path)
        if not source.is_file():
            raise QuantError(f"there is no file {path}; give the path of an exported project")
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copy(source, folder)  # opening would migrate the file that is given
            return [self._take(Store(copy), project) for project in reversed(Store(copy).projects())]

    def _take(self, other: Store, project: Project) -> str:
        """Add a project of another store, and return what it is called here."""
        called = self._free(project.name)
        self._add(other, project, other.plans(project.name), called)
        return called

    def _add(self, other: Store, project: Project, plans: list[SavedPlan], name: str) -> None:
        """Save the plans of another store's project, with what is attached to them."""
        for plan in plans:
            attached = map(other.attachment, plan.attached)
            self.save(name, project.model, project.digest, plan.document, plan.label, attached=attached)

    def result(self, key: str) -> Any | None:
        """Return what was kept under a key (`result_key`), None if nothing was."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM result WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def keep(self, key: str, value: Any) -> None:
        """Keep what JSON can hold under a key, in place of what was there.

        Raises:
            QuantError: for what JSON cannot hold.
        """
        try:
            text = json.dumps(value)
        except (TypeError, ValueError) as error:
            raise QuantError(f"{value!r} cannot be kept: {error}; give numbers, text, lists and dicts") from error
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO result (key, value, found) VALUES (?, ?, ?)", (key, text, _now())
            )

    def _free(self, name: str) -> str:
        taken, called, number = {project.name for project in self.projects()}, name, 2
        while called in taken:
            called, number = f"{name} ({number})", number + 1
        return called


def digest_of(content: bytes) -> str:
    """Return the digest by which an attachment is known, SHA-256.

    Example:
        >>> digest_of(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def result_key(*parts: str) -> str:
    """Return the key of a result: SHA-256 of all that it depends on, such as the digest of a model and keys of a plan.

    Example:
        >>> result_key("score", "ab", "c") == result_key("score", "a", "bc")
        False
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _number(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT id FROM project WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise QuantError(f"there is no project {name!r}; projects() lists them")
    return int(row[0])


def _as_name(name: str) -> str:
    called = as_instance(name, str, "name", "give text").strip()
    if not called or len(called) > MAX_NAME:
        raise QuantError(f"name={name[:80]!r} has {len(called)} characters; give 1 to {MAX_NAME}")
    return called


def _as_attachment(content: bytes) -> bytes:
    if len(content) > MAX_ATTACHMENT:
        raise QuantError(f"{len(content):,} bytes belong to the plan; at most {MAX_ATTACHMENT:,} are kept, export it")
    return content


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()
