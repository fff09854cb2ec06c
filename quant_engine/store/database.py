"""One SQLite file of a kind, and the one way to connect to it.

Each use opens a connection of its own, so that threads, windows and processes share nothing but the file; writes are
transactions in a write-ahead log that is on the disk when they end, and what was not committed when a process was
killed is as if it had not begun.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from quant_engine.errors import QuantError
from quant_engine.store.schema import Schema, migrate

WAIT = 20.0  # seconds for another process's write
HEAD = b"SQLite format 3\0"


class Database:
    """A file with the tables of a schema; it is made where there is none, and migrated where it is older.

    Raises:
        QuantError: for a file of another kind, or damaged or of a later version; it is left as it is.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     database = Database(Path(folder) / "notes", Schema(1, ("CREATE TABLE note (text TEXT)",)))
        ...     with database.writing() as connection:
        ...         _ = connection.execute("INSERT INTO note VALUES ('kept')")
        ...     with database.reading() as connection:
        ...         connection.execute("SELECT text FROM note").fetchall()
        [('kept',)]
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        """Open or make the file."""
        self.path, self._schema = path, schema
        self._validate_file()
        with self.reading():
            pass

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection in a transaction that is committed at the end, or as if it had not begun."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection to the file, at this version."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)) as connection:
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA synchronous = FULL")
                migrate(connection, str(self.path), self._schema)
                connection.execute("PRAGMA journal_mode = WAL")
                yield connection
        except sqlite3.OperationalError as error:
            raise QuantError(
                f"{self.path} cannot be used now: {error}; give a path where files can be written, with room"
            ) from error
        except sqlite3.DatabaseError as error:
            raise QuantError(f"{self.path} is damaged: {error}; move it away, or put a copy back") from error

    def _validate_file(self) -> None:
        try:
            if self.path.is_dir():
                raise QuantError(f"{self.path} is a folder; give the path of a file in it")
            if self.path.exists() and self.path.stat().st_size:
                with self.path.open("rb") as file:
                    if file.read(len(HEAD)) != HEAD:
                        raise QuantError(f"{self.path} is no database; give another path")
        except OSError as error:
            raise QuantError(f"{self.path} is not accessible: {error}; give another path") from error
