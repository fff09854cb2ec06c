"""Projects, their plans and what was measured, in one SQLite file."""

from quant_engine.store.database import Database
from quant_engine.store.kept import KeptScores
from quant_engine.store.project import Project, Saved, SavedPlan
from quant_engine.store.schema import Schema
from quant_engine.store.scores import read_score, write_score
from quant_engine.store.store import Store, digest_of, result_key

__all__ = [
    "Database",
    "KeptScores",
    "Project",
    "Saved",
    "SavedPlan",
    "Schema",
    "Store",
    "digest_of",
    "read_score",
    "result_key",
    "write_score",
]
