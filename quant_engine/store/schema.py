"""The tables of a file, and how one of an older version becomes one of this.

A file's `user_version` says how many migrations it has had; its `application_id` what it is a file of.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

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
    """
    CREATE TABLE attachment (
        digest TEXT PRIMARY KEY,
        content BLOB NOT NULL
    ) STRICT;
    CREATE TABLE attached (
        plan INTEGER NOT NULL REFERENCES plan (id) ON DELETE CASCADE,
        digest TEXT NOT NULL REFERENCES attachment (digest),
        PRIMARY KEY (plan, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX attached_by_digest ON attached (digest);
    """,
)


@dataclass(frozen=True)
class Schema:
    """What files of a kind have: the number that marks them, and the statements that made each version's tables."""

    application: int
    migrations: tuple[str, ...]


STORE = Schema(APPLICATION, MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: str, schema: Schema) -> None:
    """Give an empty file the tables, and an older one those that it lacks; each step whole or not at all.

    Raises:
        QuantError: for a database of another kind, and one of a later version.
    """
    version, application = _versions(connection)
    if version == 0 and application == 0:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables:
            raise QuantError(f"{path} is a database of another program; give another path")
    elif application != schema.application:
        raise QuantError(f"{path} is a database of another program; give another path")
    (foreign,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchone()
    if foreign:
        raise QuantError(
            f"{path} has views or triggers, which no file of ours has; give a file that this program has written"
        )
    if version > len(schema.migrations):
        raise QuantError(
            f"{path} was written by a later version (schema {version}, this one reads up to {len(schema.migrations)}); "
            "install that version, or give another path"
        )
    if version == len(schema.migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version, _ = _versions(connection)  # another process may have done it meanwhile
        for step in schema.migrations[version:]:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {schema.application}")
        connection.execute(f"PRAGMA user_version = {len(schema.migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _versions(connection: sqlite3.Connection) -> tuple[int, int]:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return int(version), int(application)
