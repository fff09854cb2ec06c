"""The tables of a store, and how a file of an older version becomes one of this.

A file's `user_version` says how many of `MIGRATIONS` it has had; its `application_id` that it is a store at all.
"""

from __future__ import annotations

import sqlite3

from quant_engine.errors import QuantError

APPLICATION = 0x51455831  # "QEX1"
MIGRATIONS = (
    """
    CREATE TABLE project (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        model TEXT NOT NULL,
        digest TEXT NOT NULL,
        created TEXT NOT NULL,
        changed TEXT NOT NULL
    ) STRICT;
    CREATE TABLE plan (
        id INTEGER PRIMARY KEY,
        project INTEGER NOT NULL REFERENCES project (id) ON DELETE CASCADE,
        document TEXT NOT NULL,
        label TEXT NOT NULL,
        saved TEXT NOT NULL
    ) STRICT;
    CREATE INDEX plan_of_project ON plan (project, id);
    """,
    """
    CREATE TABLE result (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        found TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Give an empty file the tables, and an older one those that it lacks; each step whole or not at all.

    Raises:
        QuantError: for a database that is no store, and one of a later version.
    """
    version, application = _versions(connection)
    if version == 0 and application == 0:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables:
            raise QuantError(f"{path} is a database of another program; give another path")
    elif application != APPLICATION:
        raise QuantError(f"{path} is a database of another program; give another path")
    (foreign,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchone()
    if foreign:
        raise QuantError(f"{path} has views or triggers, which no store has; give a file that this program has written")
    if version > len(MIGRATIONS):
        raise QuantError(
            f"{path} was written by a later version (schema {version}, this one reads up to {len(MIGRATIONS)}); "
            "install that version, or give another path"
        )
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version, _ = _versions(connection)  # another process may have done it meanwhile
        for step in MIGRATIONS[version:]:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _versions(connection: sqlite3.Connection) -> tuple[int, int]:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return int(version), int(application)
