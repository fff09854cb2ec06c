"""The tables of the file of classes."""

from __future__ import annotations

from quant_engine.store import Schema

CLASSES = Schema(
    0x51454331,  # "QEC1"
    (
        """
        CREATE TABLE class (
            id INTEGER PRIMARY KEY,
            code TEXT NOT NULL UNIQUE,
            key_hash TEXT NOT NULL,
            title TEXT NOT NULL,
            questions TEXT NOT NULL,
            created TEXT NOT NULL,
            position INTEGER NOT NULL,
            phase TEXT NOT NULL,
            revision INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE student (
            id INTEGER PRIMARY KEY,
            class INTEGER NOT NULL REFERENCES class (id) ON DELETE CASCADE,
            token_hash TEXT NOT NULL,
            nickname TEXT NOT NULL,
            joined TEXT NOT NULL,
            UNIQUE (class, token_hash)
        ) STRICT;
        CREATE TABLE answer (
            student INTEGER NOT NULL REFERENCES student (id) ON DELETE CASCADE,
            question INTEGER NOT NULL,
            round INTEGER NOT NULL,
            value REAL NOT NULL,
            given TEXT NOT NULL,
            PRIMARY KEY (student, question, round)
        ) STRICT, WITHOUT ROWID;
        """,
        "ALTER TABLE class ADD COLUMN asked TEXT NOT NULL DEFAULT ''",  # positions, with spaces between
    ),
)
